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
    stamped: str | None = None,
) -> None:
    """Insert rows that have the same columns, in their order: that of their keys.

    With ``unless``, rows whose values of these columns are there already are left out. The column ``stamped`` gets the
    database's time.
    """
    if not rows:
        return
    if tx.dialect.name == "sqlite":
        statement = insert_for(tx, table)
        if stamped is not None:
            statement = statement.values({stamped: now()})
        tx.execute(statement if unless is None else statement.on_conflict_do_nothing(index_elements=unless), rows)
        return
    names = tuple(rows[0])
    columns = {name: [row[name] for row in rows] for name in names}
    for name in names:
        if isinstance(table.c[name].type, JSON):
            columns[name] = [json.dumps(value) for value in columns[name]]
    tx.execute(_statement(table, names, None if unless is None else tuple(unless), stamped), columns)


@lru_cache(maxsize=32)
def _statement(table: Table, names: tuple[str, ...], unless: tuple[str, ...] | None, stamped: str | None) -> TextClause:
    dialect = postgresql.dialect()
    quoted = [dialect.identifier_preparer.quote(name) for name in names]
    types = [table.c[name].type.compile(dialect) for name in names]
    arrays = [
        f"cast(:{name} as {'text' if isinstance(table.c[name].type, JSON) else kind}[])"
        for name, kind in zip(names, types, strict=True)
    ]
    values = [f"cast(v{place} as {kind})" for place, kind in enumerate(types)]
    if stamped is not None:
        quoted.append(stamped)
        values.append("extract(epoch from clock_timestamp())")
    given = ", ".join(f"v{place}" for place in range(len(names)))
    conflict = "" if unless is None else f" on conflict ({', '.join(unless)}) do nothing"
    return text(
        f"insert into {table.name} ({', '.join(quoted)}) select {', '.join(values)}"
        f" from unnest({', '.join(arrays)}) as given({given}){conflict}"
    )
