"""Documents that somebody sends through the stages again by a filter: how far that is. The operation's ``detail`` keeps it,
so anybody may go on where the last one ended."""

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
    """An operation that is not through with its collection's documents: those up to the id ``after`` were looked at.
    ``fresh``: parses that are kept are not used again."""

    operation_id: int
    collection_id: int
    where: dict[str, Any]
    fresh: bool
    after: int


def begin(tx: Transaction, collection_id: int, where: dict[str, Any], *, fresh: bool, after: int = 0) -> Rerun:
    """An operation that is to look at the documents behind the id ``after``."""
    detail = {"where": where, "fresh": fresh, lifecycle.LOOKED_UPTO: after}
    operation_id = lifecycle.begin(tx, collection_id, "retry", detail=detail)
    return Rerun(operation_id=operation_id, collection_id=collection_id, where=where, fresh=fresh, after=after)


def pending(tx: Transaction) -> list[Rerun]:
    """Those that go on; paused ones wait, cancelled ones are over."""
    running = and_(table.c.state == "running", table.c.kind == "retry", table.c.outcome.is_(None))
    return _all(tx, running)


def _all(tx: Transaction, which: ColumnElement[bool]) -> list[Rerun]:
    """Those of the operations that have not looked at all documents."""
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
    """Whether so many of the documents that it sent are on their way, in the generation that search reads; what an operation
    holds is not. It looks at what is on its way alone, however much the rerun has behind it."""
    mine = select(sources.c.id).where(sources.c.collection_id == rerun.collection_id)
    on_its_way = and_(work.c.source_id.in_(mine), work.c.stage.in_(STAGES), work.c.held_by.is_(None))
    item = select(operation_items.c.document_id).where(joined(rerun.operation_id)).correlate(work).scalar_subquery()
    sent = select(work.c.document_id).where(on_its_way, item.is_not(None))
    return tx.execute(sent.offset(limit - 1).limit(1)).first() is not None


def send(tx: Transaction, rerun: Rerun, document_ids: list[int], *, upto: int | None) -> bool:
    """Send these documents on their way: all that meet the filter up to the id ``upto`` (None: up to the last). Returns
    False, and nothing is sent, if somebody else was faster, or the operation does not go on."""
    fair_queue.owners(tx, document_ids)  # before the operation
    detail = _take(tx, rerun)
    if detail is None:
        return False
    retry_documents(tx, document_ids, operation_id=rerun.operation_id, lane=ASKED)
    if upto is not None:
        detail[lifecycle.LOOKED_UPTO] = upto
    tx.execute(update(table).where(table.c.id == rerun.operation_id).values(detail=detail))
    return True


def fail(tx: Transaction, rerun: Rerun, why: str) -> None:
    """It looks at no more documents, and ends as ``failed`` when those that it sent have gone their way; unless somebody
    else was faster, or it does not go on."""
    detail = _take(tx, rerun)
    if detail is None:
        return
    detail |= {lifecycle.LOOKED_UPTO: rerun.after, outcomes.FAILURE: why}
    mine = table.c.id == rerun.operation_id
    tx.execute(update(table).where(mine).values(detail=detail, outcome="failed"))


def _take(tx: Transaction, rerun: Rerun) -> dict[str, Any] | None:
    """Lock the operation; returns its detail but for how far it is. None: it is further by now, or does not go on."""
    columns = (table.c.state, table.c.outcome, table.c.detail)
    mine = select(*columns).where(table.c.id == rerun.operation_id)
    row = tx.execute(mine.with_for_update(skip_locked=True, key_share=True)).first()
    if row is None or row.state != "running" or row.outcome is not None:
        return None
    detail = dict(row.detail)
    return detail if detail.pop(lifecycle.LOOKED_UPTO, None) == rerun.after else None


# -- what ended before it had looked at all documents ---------------------------------------------------------------------

_GIVEN_UP = and_(table.c.state == "finished", table.c.kind == "retry", table.c.outcome.in_(("cancelled", "failed")))


def given_up(tx: Transaction, operation_id: int) -> Rerun | None:
    """What an operation that was cancelled, or has failed, did not look at; None: nothing."""
    return next(iter(_all(tx, and_(_GIVEN_UP, table.c.id == operation_id))), None)


def stopped(tx: Transaction, collection_id: int, *, since: float) -> list[Rerun]:
    """Those of the collection that were cancelled, and ended ``since`` then."""
    cancelled = and_(table.c.outcome == "cancelled", table.c.finished_at >= since)
    return _all(tx, and_(_GIVEN_UP, table.c.collection_id == collection_id, cancelled))


def take_over(tx: Transaction, left: Rerun) -> Rerun | None:
    """An operation that looks at what this one did not; None: another does so already."""
    mine = table.c.id == left.operation_id
    detail = dict(tx.execute(select(table.c.detail).where(mine).with_for_update(key_share=True)).scalar_one())
    if detail.pop(lifecycle.LOOKED_UPTO, None) is None:
        return None
    tx.execute(update(table).where(mine).values(detail=detail))
    return begin(tx, left.collection_id, left.where, fresh=left.fresh, after=left.after)
