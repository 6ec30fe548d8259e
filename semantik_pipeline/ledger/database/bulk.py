"""Bulk statements: many rows in one statement, because a round trip to a server costs more than a row.

On PostgreSQL each column is passed as one array: faster than one statement per row, and, unlike COPY, it supports ON
CONFLICT. On SQLite rows are passed one by one, which costs nothing there.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, TypeVar

from sqlalchemy import (
    ARRAY,
    JSON,
    Column,
    ColumnElement,
    Double,
    Table,
    Text,
    TextClause,
    Update,
    and_,
    bindparam,
    cast,
    column,
    func,
    literal,
    text,
    update,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from semantik_pipeline.ledger.database.connection import Transaction, insert_for, now

_One = TypeVar("_One")


def slices(items: Sequence[_One], size: int) -> Iterator[Sequence[_One]]:
    """Split the items, in order, into slices of ``size``."""
    return (items[start : start + size] for start in range(0, len(items), size))


def pools(sized: Iterable[tuple[_One, int]], size: int, *, most: int | None = None) -> Iterator[list[_One]]:
    """Group ``(item, size of the item)`` pairs, in order.

    A group has at most ``most`` items, and its items have at most ``size`` together; a single larger item is a group of
    its own.
    """
    pool: list[_One] = []
    total = 0
    for one, of_it in sized:
        if pool and (total + of_it > size or len(pool) == most):
            yield pool
            pool, total = [], 0
        pool.append(one)
        total += of_it
    if pool:
        yield pool


def insert_rows(
    tx: Transaction,
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    *,
    unless: Sequence[str] | None = None,
    stamped: Sequence[str] = (),
    returning: Sequence[str] = (),
) -> list[Any]:
    """Insert rows, all with the same columns, in the given order: callers sort them by their keys, against deadlocks.

    ``unless``: a row whose values of these columns exist already is skipped. ``stamped``: columns that get the
    database's time. ``returning``: columns to return of each inserted row.
    """
    if not rows:
        return []
    if tx.dialect.name == "sqlite":
        statement = insert_for(tx, table)
        if stamped:
            statement = statement.values({name: now() for name in stamped})
        if unless is not None:
            statement = statement.on_conflict_do_nothing(index_elements=unless)
        if returning:
            return list(tx.execute(statement.returning(*(table.c[name] for name in returning)), rows).all())
        tx.execute(statement, rows)
        return []
    names = tuple(rows[0])
    columns = {name: _array(table.c[name], [row[name] for row in rows]) for name in names}
    statement = _statement(table, names, None if unless is None else tuple(unless), tuple(stamped), tuple(returning))
    found = tx.execute(statement, columns)
    return list(found.all()) if returning else []


def update_rows(
    tx: Transaction,
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    *,
    by: Sequence[str],
    fixed: Mapping[str, Any] = MappingProxyType({}),
    stamped: Sequence[str] = (),
    more: Sequence[str] = (),
) -> None:
    """Update rows. In each mapping, the columns ``by`` identify a row; the others are its new values.

    All mappings have the same names. ``fixed``: values set in all rows. ``stamped``: columns that get the database's
    time. ``more``: columns whose value is added to the present one. The rows must be locked before: PostgreSQL updates
    them in any order.
    """
    if not rows:
        return
    names = tuple(name for name in rows[0] if name not in by)
    fixed = {name: value for name, value in fixed.items() if name not in rows[0]}
    alike = {f"fixed_{name}": value for name, value in fixed.items()}
    sqlite = tx.dialect.name == "sqlite"
    if sqlite:
        params: Any = [{f"new_{name}": value for name, value in row.items()} | alike for row in rows]
    else:
        columns = {f"new_{name}": _array(table.c[name], [row[name] for row in rows]) for name in (*by, *names)}
        params = columns | alike
    tx.execute(_update(sqlite, table, names, tuple(by), tuple(fixed), tuple(stamped), tuple(more)), params)


@lru_cache(maxsize=64)
def _update(
    sqlite: bool,
    table: Table,
    names: tuple[str, ...],
    by: tuple[str, ...],
    fixed: tuple[str, ...],
    stamped: tuple[str, ...],
    more: tuple[str, ...],
) -> Update:
    """Build the UPDATE. Cached, because building it takes longer than the database needs for a batch."""
    if sqlite:
        given: dict[str, Any] = {name: bindparam(f"new_{name}") for name in (*by, *names)}
    else:
        types = {name: Text() if isinstance(table.c[name].type, JSON) else table.c[name].type for name in (*by, *names)}
        arrays = [cast(bindparam(f"new_{name}"), ARRAY(kind)) for name, kind in types.items()]
        columns = (column(name, kind) for name, kind in types.items())
        listed = func.unnest(*arrays).table_valued(*columns, name="given").render_derived()
        given = {name: cast(listed.c[name], table.c[name].type) for name in names} | {n: listed.c[n] for n in by}
    which = and_(*(table.c[name] == given[name] for name in by))
    values = {name: bindparam(f"fixed_{name}", type_=table.c[name].type) for name in fixed}
    values |= {name: now() for name in stamped}
    values |= {name: table.c[name] + given[name] if name in more else given[name] for name in names}
    return update(table).where(which).values(values)


class among(FunctionElement):  # noqa: N801 - reads as the SQL it becomes
    """Condition: a column has one of these values, or one of the values of the parameter with this name.

    The list is passed as a single parameter. So the statement is the same for any number of values, and is parsed and
    planned once.
    """

    inherit_cache = True  # no Boolean type: SQLAlchemy would compare it with 1 on SQLite, and no index could be used

    def __init__(self, where: ColumnElement[Any], values: Collection[Any] | str) -> None:
        kind = JSON().with_variant(ARRAY(where.type), "postgresql")
        if isinstance(values, str):
            super().__init__(where, bindparam(values, type_=kind))
        else:
            super().__init__(where, literal(list(values), kind))


@compiles(among, "sqlite")
def _sqlite_among(element, compiler, **options) -> str:
    where, values = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{where} IN (SELECT value FROM json_each({values}))"


@compiles(among, "postgresql")
def _postgres_among(element, compiler, **options) -> str:
    where, values = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{where} = ANY ({values})"


def _array(where: Column[Any], values: list[Any]) -> list[Any]:
    """Return a column's values as elements of one array, all of the same type."""
    if isinstance(where.type, JSON):
        return [None if value is None else json.dumps(value) for value in values]
    if isinstance(where.type, Double):
        return [None if value is None else float(value) for value in values]
    return values


@lru_cache(maxsize=32)
def _statement(
    table: Table,
    names: tuple[str, ...],
    unless: tuple[str, ...] | None,
    stamped: tuple[str, ...],
    returning: tuple[str, ...],
) -> TextClause:
    dialect = postgresql.dialect()
    quoted = [dialect.identifier_preparer.quote(name) for name in names]
    types = [table.c[name].type.compile(dialect) for name in names]
    arrays = [
        f"cast(:{name} as {'text' if isinstance(table.c[name].type, JSON) else kind}[])"
        for name, kind in zip(names, types, strict=True)
    ]
    values = [f"cast(v{place} as {kind})" for place, kind in enumerate(types)]
    quoted += stamped
    values += ["extract(epoch from clock_timestamp())"] * len(stamped)
    given = ", ".join(f"v{place}" for place in range(len(names)))
    conflict = "" if unless is None else f" on conflict ({', '.join(unless)}) do nothing"
    answer = f" returning {', '.join(returning)}" if returning else ""
    return text(
        f"insert into {table.name} ({', '.join(quoted)}) select {', '.join(values)}"
        f" from unnest({', '.join(arrays)}) as given({given}){conflict}{answer}"
    )
