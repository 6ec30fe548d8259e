"""Reruns: operations that send the documents matching a filter through the stages again.

The operation's ``detail`` stores the position, so any process can continue from there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, select, update

from semantik_pipeline.ledger.database.connection import Transaction
from semantik_pipeline.ledger.ingestion.revisions import retry_documents
from semantik_pipeline.ledger.operations import lifecycle, outcomes
from semantik_pipeline.ledger.operations.items import joined
from semantik_pipeline.ledger.queue import fair_queue
from semantik_pipeline.ledger.queue.work import ASKED, STAGES
from semantik_pipeline.ledger.tables import operation_items, sources, work
from semantik_pipeline.ledger.tables import operations as table


@dataclass(frozen=True, kw_only=True)
class Rerun:
    """A rerun that has not looked at all documents of its collection: it has looked at those with ids up to ``after``.

    ``where``: the filter. ``fresh``: stored parses are not reused.
    """

    operation_id: int
    collection_id: int
    where: dict[str, Any]
    fresh: bool
    after: int


def begin(tx: Transaction, collection_id: int, where: dict[str, Any], *, fresh: bool, after: int = 0) -> Rerun:
    """Begin an operation that looks at the documents with ids above ``after``."""
    detail = {"where": where, "fresh": fresh, lifecycle.LOOKED_UPTO: after}
    operation_id = lifecycle.begin(tx, collection_id, "retry", detail=detail)
    return Rerun(operation_id=operation_id, collection_id=collection_id, where=where, fresh=fresh, after=after)


def pending(tx: Transaction) -> list[Rerun]:
    """Running reruns that have documents left to look at; paused and cancelled ones are left out."""
    running = and_(table.c.state == "running", table.c.kind == "retry", table.c.outcome.is_(None))
    return _all(tx, running)


def _all(tx: Transaction, which: ColumnElement[bool]) -> list[Rerun]:
    """The reruns among these operations that have not looked at all documents."""
    columns = (table.c.id, table.c.collection_id, table.c.detail)
    rows = tx.execute(select(*columns).where(which).order_by(table.c.id))
    return [
        Rerun(
            operation_id=row.id,
            collection_id=row.collection_id,
            where=row.detail["where"],
            fresh=row.detail["fresh"],
            after=row.detail[lifecycle.LOOKED_UPTO],
        )
        for row in rows
        if lifecycle.LOOKED_UPTO in (row.detail or {})
    ]


def crowded(tx: Transaction, rerun: Rerun, limit: int) -> bool:
    """Whether at least ``limit`` units that the rerun sent are under way in the active generation.

    Units that an operation holds do not count. The query reads only unfinished units, so its cost does not grow with
    the number of documents that the rerun has finished.
    """
    mine = select(sources.c.id).where(sources.c.collection_id == rerun.collection_id)
    on_its_way = and_(work.c.source_id.in_(mine), work.c.stage.in_(STAGES), work.c.held_by.is_(None))
    item = select(operation_items.c.document_id).where(joined(rerun.operation_id)).correlate(work).scalar_subquery()
    sent = select(work.c.document_id).where(on_its_way, item.is_not(None))
    return tx.execute(sent.offset(limit - 1).limit(1)).first() is not None


def send(tx: Transaction, rerun: Rerun, document_ids: list[int], *, upto: int | None) -> bool:
    """Send these documents through the stages: all that match the filter, up to the id ``upto`` (None: the last one).

    Sends nothing and returns False if another process was faster, or if the operation is no longer running.
    """
    fair_queue.owners(tx, document_ids)  # locks the sources, which must be locked before the operation
    detail = _take(tx, rerun)
    if detail is None:
        return False
    retry_documents(tx, document_ids, operation_id=rerun.operation_id, lane=ASKED)
    if upto is not None:
        detail[lifecycle.LOOKED_UPTO] = upto
    tx.execute(update(table).where(table.c.id == rerun.operation_id).values(detail=detail))
    return True


def fail(tx: Transaction, rerun: Rerun, why: str) -> None:
    """Stop the rerun: it looks at no more documents, and ends as ``failed`` once the documents it sent are finished.

    Does nothing if another process was faster, or if the operation is no longer running.
    """
    detail = _take(tx, rerun)
    if detail is None:
        return
    detail |= {lifecycle.LOOKED_UPTO: rerun.after, outcomes.FAILURE: why}
    mine = table.c.id == rerun.operation_id
    tx.execute(update(table).where(mine).values(detail=detail, outcome="failed"))


def _take(tx: Transaction, rerun: Rerun) -> dict[str, Any] | None:
    """Lock the operation; returns its detail without the position.

    None if the rerun has moved on, is no longer running, or is locked by another process.
    """
    columns = (table.c.state, table.c.outcome, table.c.detail)
    mine = select(*columns).where(table.c.id == rerun.operation_id)
    row = tx.execute(mine.with_for_update(skip_locked=True, key_share=True)).first()
    if row is None or row.state != "running" or row.outcome is not None:
        return None
    detail = dict(row.detail)
    return detail if detail.pop(lifecycle.LOOKED_UPTO, None) == rerun.after else None


# -- reruns that ended before they had looked at all documents --------------------------------------------------------

_GIVEN_UP = and_(table.c.state == "finished", table.c.kind == "retry", table.c.outcome.in_(("cancelled", "failed")))


def given_up(tx: Transaction, operation_id: int) -> Rerun | None:
    """The unfinished rerun of an operation that was cancelled or has failed; None if it looked at all documents."""
    return next(iter(_all(tx, and_(_GIVEN_UP, table.c.id == operation_id))), None)


def stopped(tx: Transaction, collection_id: int, *, since: float) -> list[Rerun]:
    """Unfinished reruns of the collection that were cancelled and ended at or after ``since`` (seconds since 1970)."""
    cancelled = and_(table.c.outcome == "cancelled", table.c.finished_at >= since)
    return _all(tx, and_(_GIVEN_UP, table.c.collection_id == collection_id, cancelled))


def take_over(tx: Transaction, left: Rerun) -> Rerun | None:
    """Begin an operation that continues an ended rerun; None if another operation has taken it over already."""
    mine = table.c.id == left.operation_id
    detail = dict(tx.execute(select(table.c.detail).where(mine).with_for_update(key_share=True)).scalar_one())
    if detail.pop(lifecycle.LOOKED_UPTO, None) is None:
        return None
    tx.execute(update(table).where(mine).values(detail=detail))
    return begin(tx, left.collection_id, left.where, fresh=left.fresh, after=left.after)
