"""Documents that somebody sends through the stages again by a filter: how far that is. The operation's ``detail`` keeps it,
so anybody may go on where the last one ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, select, update

from semantik_pipeline.ledger import operations
from semantik_pipeline.ledger.connection import Transaction
from semantik_pipeline.ledger.revisions import retry_documents
from semantik_pipeline.ledger.tables import operations as table

#: The lane of documents that somebody sends through the stages again.
LANE = 1


@dataclass(frozen=True, kw_only=True)
class Rerun:
    """An operation that is not through with its collection's documents: those up to the id ``after`` were looked at.
    ``fresh``: parses that are kept are not used again."""

    operation_id: int
    collection_id: int
    where: dict[str, Any]
    fresh: bool
    after: int


def begin(tx: Transaction, collection_id: int, where: dict[str, Any], *, fresh: bool) -> Rerun:
    """An operation that has not looked at any document yet."""
    detail = {"where": where, "fresh": fresh, operations.LOOKED_UPTO: 0}
    operation_id = operations.begin(tx, collection_id, "retry", detail=detail)
    return Rerun(operation_id=operation_id, collection_id=collection_id, where=where, fresh=fresh, after=0)


def pending(tx: Transaction) -> list[Rerun]:
    """Those that go on; paused ones wait, cancelled ones are over."""
    columns = (table.c.id, table.c.collection_id, table.c.detail)
    running = and_(table.c.state == "running", table.c.kind == "retry", table.c.outcome.is_(None))
    rows = tx.execute(select(*columns).where(running).order_by(table.c.id))
    return [
        Rerun(
            operation_id=row.id,
            collection_id=row.collection_id,
            where=row.detail["where"],
            fresh=row.detail["fresh"],
            after=row.detail[operations.LOOKED_UPTO],
        )
        for row in rows
        if operations.LOOKED_UPTO in (row.detail or {})
    ]


def send(tx: Transaction, rerun: Rerun, document_ids: list[int], *, upto: int | None) -> bool:
    """Send these documents on their way: all that meet the filter up to the id ``upto`` (None: up to the last). Returns
    False, and nothing is sent, if somebody else was faster, or the operation does not go on."""
    mine = table.c.id == rerun.operation_id
    columns = (table.c.state, table.c.outcome, table.c.detail)
    row = tx.execute(select(*columns).where(mine).with_for_update(skip_locked=True, key_share=True)).first()
    if row is None or row.state != "running" or row.outcome is not None:
        return False
    detail = dict(row.detail)
    if detail.pop(operations.LOOKED_UPTO, None) != rerun.after:
        return False
    retry_documents(tx, document_ids, operation_id=rerun.operation_id, lane=LANE)
    if upto is not None:
        detail[operations.LOOKED_UPTO] = upto
    tx.execute(update(table).where(mine).values(detail=detail))
    return True
