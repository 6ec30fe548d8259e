"""The database's query plans for statements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import event

from semantik_pipeline.ledger import Ledger, Transaction


def plans(ledger: Ledger, ask: Callable[[Transaction], Any], *, about: str) -> str:
    """Return the plans of the statements on the table ``about`` that ``ask(tx)`` executes; roll back its changes."""
    asked: list[tuple[str, Any]] = []

    def note(_connection, _cursor, statement, parameters, _context, many) -> None:
        if about in statement and not many:
            asked.append((statement, parameters))

    with ledger.engine.connect().execution_options(writes=True) as tx, tx.begin() as undone:
        event.listen(tx, "before_cursor_execute", note)
        ask(tx)
        event.remove(tx, "before_cursor_execute", note)
        how = "explain query plan " if tx.dialect.name == "sqlite" else "explain "
        rows = [row for statement, parameters in asked for row in tx.exec_driver_sql(how + statement, parameters)]
        undone.rollback()
    return "\n".join(str(row) for row in rows)
