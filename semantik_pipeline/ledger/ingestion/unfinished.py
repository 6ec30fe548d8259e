"""Work that ended operations left unfinished, and that another operation takes up.

It does so a batch at a time. Its ``detail`` stores the position, so any process can continue from there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, select, update

from semantik_pipeline.ledger.database.bulk import among
from semantik_pipeline.ledger.database.connection import Transaction
from semantik_pipeline.ledger.ingestion.revisions import retry_documents
from semantik_pipeline.ledger.operations import holds, operation_reports
from semantik_pipeline.ledger.operations.lifecycle import TAKING_UP, note_items
from semantik_pipeline.ledger.queue import fair_queue, pending_holds
from semantik_pipeline.ledger.queue.work import ASKED, STAGES
from semantik_pipeline.ledger.tables import operation_items, operations, sources, work

#: Documents that one transaction takes up.
BATCH = 1000


@dataclass(frozen=True, kw_only=True)
class TakingUp:
    """An operation that takes up unfinished documents, with ids above ``after``.

    They are the documents that the operation ``of`` left in quarantine or parked. If ``of`` is None, they are the
    documents that all cancelled operations of the collection parked. The turns of freed units are raised by ``behind``
    (see ``operations/holds.py``).
    """

    operation_id: int
    collection_id: int
    of: int | None
    after: int
    behind: float


def begin(tx: Transaction, operation_id: int, *, of: int | None = None) -> None:
    """Make a new operation take up what ``of`` left, or what all cancelled operations of its collection parked."""
    mine = operations.c.id == operation_id
    row = tx.execute(select(operations.c.collection_id, operations.c.detail).where(mine)).one()
    behind = holds.parked_lag(tx, of) if of is not None else holds.lag(tx, parked_in(row.collection_id))
    detail = {**(row.detail or {}), TAKING_UP: {"of": of, "after": 0, "behind": behind}}
    tx.execute(update(operations).where(mine).values(detail=detail))


def parked_in(collection_id: int) -> ColumnElement[bool]:
    """Condition: units that cancelled operations of the collection have parked."""
    mine = work.c.source_id.in_(select(sources.c.id).where(sources.c.collection_id == collection_id))
    return and_(mine, work.c.stage.in_(STAGES), work.c.held_by.in_(_cancelled(collection_id)))


def _cancelled(collection_id: int) -> Any:
    mine = and_(operations.c.collection_id == collection_id, operations.c.outcome == "cancelled")
    return select(operations.c.id).where(mine)


def is_left(tx: Transaction, collection_id: int) -> bool:
    """Whether cancelled operations of the collection have parked units, or are still parking them."""
    if tx.execute(select(work.c.document_id).where(parked_in(collection_id)).limit(1)).first() is not None:
        return True
    return _is_being_parked(tx, collection_id)


def _is_being_parked(tx: Transaction, collection_id: int) -> bool:
    mine = and_(operations.c.id.in_(pending_holds.operation_ids(tx)), operations.c.collection_id == collection_id)
    cancelled = and_(mine, operations.c.outcome == "cancelled")
    return tx.execute(select(operations.c.id).where(cancelled).limit(1)).first() is not None


def pending(tx: Transaction, *, only: int | None = None) -> list[TakingUp]:
    """Running operations that still take up documents, or ``only`` this one; paused and cancelled ones are left out.

    An operation without ``of`` is also left out while units of its collection are still being parked.
    """
    running = and_(operations.c.state == "running", operations.c.outcome.is_(None))
    if only is not None:
        running = and_(running, operations.c.id == only)
    begun = and_(running, operations.c.detail[(TAKING_UP, "after")].as_integer().is_not(None))
    columns = (operations.c.id, operations.c.collection_id, operations.c.detail)
    rows = tx.execute(select(*columns).where(begun).order_by(operations.c.id)).all()
    found = [TakingUp(operation_id=row.id, collection_id=row.collection_id, **row.detail[TAKING_UP]) for row in rows]
    return [one for one in found if one.of is not None or not _is_being_parked(tx, one.collection_id)]


def following(tx: Transaction, one: TakingUp) -> list[int]:
    """The ids of the next BATCH documents to take up, in order. Takes no lock."""
    if one.of is None:
        return _page(tx, select(work.c.document_id).where(parked_in(one.collection_id)), work.c.document_id, one.after)
    parked = operation_reports.parked(one.of, operation_items.c.document_id)
    parked = parked.where(work.c.document_id > one.after)  # bounds the join whichever table it starts from
    lost = operation_reports.quarantined(tx, one.of, work.c.document_id)
    pages = (
        _page(tx, parked, operation_items.c.document_id, one.after),
        _page(tx, lost, work.c.document_id, one.after),
    )
    return sorted({*pages[0], *pages[1]})[:BATCH]


def _page(tx: Transaction, query: Select[Any], document: ColumnElement[int], after: int) -> list[int]:
    return list(tx.execute(query.where(document > after).distinct().order_by(document).limit(BATCH)).scalars())


def take_up(tx: Transaction, one: TakingUp, document_ids: list[int]) -> bool:
    """Make the operation own these documents, as given by :func:`following`; returns whether there may be more.

    Parked units continue at their stage, and units in quarantine start again. Does nothing and returns False if another
    process was faster, or if the operation is no longer running.
    """
    fair_queue.owners(tx, document_ids)  # locks the sources, which must be locked before the operation
    detail = _lock(tx, one)
    if detail is None:
        return False
    if document_ids:
        _take(tx, one, document_ids)
    more, of, after = len(document_ids) == BATCH, one.of, document_ids[-1] if document_ids else 0
    if not more and (of := operation_reports.taking_up(tx, one.of)) is not None:
        more, after = True, 0
    if more:
        detail[TAKING_UP] = {"of": of, "after": after, "behind": one.behind}
    tx.execute(update(operations).where(operations.c.id == one.operation_id).values(detail=detail))
    return more


def _take(tx: Transaction, one: TakingUp, document_ids: list[int]) -> None:
    lost = []
    if one.of is not None:
        query = operation_reports.quarantined(tx, one.of, work.c.document_id).distinct()
        lost = sorted(tx.execute(query.where(among(work.c.document_id, document_ids))).scalars())
    holds.lock_units(tx, lost, parked=document_ids)
    holder = work.c.held_by == one.of if one.of is not None else work.c.held_by.in_(_cancelled(one.collection_id))
    parked = and_(among(work.c.document_id, document_ids), work.c.stage.in_(STAGES), holder)
    newest = select(work.c.document_id, func.max(work.c.revision)).where(parked).group_by(work.c.document_id)
    resumed = [(document_id, "resumed", revision) for document_id, revision in tx.execute(newest)]
    note_items(tx, one.operation_id, resumed)
    holds.let_go(tx, parked, behind=one.behind)
    retry_documents(tx, lost, operation_id=one.operation_id, lane=ASKED)


def _lock(tx: Transaction, one: TakingUp) -> dict[str, Any] | None:
    """Lock the operation; returns its detail without the position. None if it is past ``one``, or no longer running."""
    columns = (operations.c.state, operations.c.outcome, operations.c.detail)
    mine = select(*columns).where(operations.c.id == one.operation_id)
    row = tx.execute(mine.with_for_update(key_share=True)).one()
    detail = dict(row.detail or {})
    found = detail.pop(TAKING_UP, None)
    goes_on = row.state == "running" and row.outcome is None and found is not None
    return detail if goes_on and (found["of"], found["after"]) == (one.of, one.after) else None
