"""Many rows in one statement. A round trip to a server costs more than a row does.

Postgres takes one array for each column: faster than a statement for each row, and, unlike COPY, it knows ON CONFLICT.
SQLite takes the rows one by one, which costs nothing there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import JSON, Table, TextClause, text
from sqlalchemy.dialects import postgresql

from semantik_pipeline.ledger.connection import Transaction, insert_for, now


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
    columns = {name: [row[name] for row in rows] for name in names}
    for name in names:
        if isinstance(table.c[name].type, JSON):
            columns[name] = [None if value is None else json.dumps(value) for value in columns[name]]
    statement = _statement(table, names, None if unless is None else tuple(unless), tuple(stamped), tuple(returning))
    found = tx.execute(statement, columns)
    return list(found.all()) if returning else []


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
