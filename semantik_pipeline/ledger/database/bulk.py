"""Many rows in one statement. A round trip to a server costs more than a row does.

Postgres takes one array for each column: faster than a statement for each row, and, unlike COPY, it knows ON CONFLICT.
SQLite takes the rows one by one, which costs nothing there.
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
    """The items in order, so many at a time."""
    return (items[start : start + size] for start in range(0, len(items), size))


def pools(sized: Iterable[tuple[_One, int]], size: int, *, most: int | None = None) -> Iterator[list[_One]]:
    """Things in order, each given with its size, grouped: those of a group, if it has several, have this ``size`` together
    at most, and are so many at ``most``."""
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
    """Insert rows that have the same columns, in their order: that of their keys. Answers with the columns ``returning``
    of each.

    With ``unless``, rows whose values of these columns are there already are left out. The columns ``stamped`` get the
    database's time.
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
    """Give rows, each known by its columns ``by``, the other values of its mapping, and all of them the ``fixed`` ones.
    The columns ``stamped`` get the database's time.

    All mappings have the same names. Of the columns ``more`` the value is added to what is there. The rows must be
    locked before: Postgres changes them in any order.
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
    """Kept, for putting it together takes longer than the database needs for a batch."""
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
    """Condition: a column has one of these values, or of those of the parameter with this name. They are one value to the
    database: however many they are, the statement stays the same, and is parsed and planned once."""

    inherit_cache = True  # and no type: a Boolean is compared with 1 on SQLite, which no index serves

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
    """A column's values as the elements of one array: all of one type."""
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
