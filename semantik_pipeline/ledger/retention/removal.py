"""Removing a source: its documents leave every live generation, then its rows go, or rest in the trash. All of it in
short transactions that anybody may go on with."""

from __future__ import annotations

from sqlalchemy import and_, delete, not_, or_, select, update

from semantik_pipeline.ledger.database.connection import Transaction, now
from semantik_pipeline.ledger.ingestion.revisions import delete_documents
from semantik_pipeline.ledger.operations import lifecycle
from semantik_pipeline.ledger.queue import fair_queue
from semantik_pipeline.ledger.queue.work import ASKED
from semantik_pipeline.ledger.retention.purging import chunks_of
from semantik_pipeline.ledger.tables import (
    chunks,
    documents,
    operation_items,
    operation_sources,
    sources,
    work,
)
from semantik_pipeline.ledger.tables import operations as table

#: Documents that one transaction deletes.
BATCH = 500


def begin(tx: Transaction, source_id: int, operation_id: int, *, trash: bool = False) -> None:
    """From here on the source is never synced; a sync in hand ends where it is. Its schedule and its pause stay with
    it, for the removal may be cancelled, or it may come back from the ``trash``. Without that, what is there of it in
    the trash goes too."""
    mine = sources.c.id == source_id
    paused = tx.execute(select(sources.c.paused).where(mine).with_for_update()).scalar_one()
    # one that nobody carries out begins anew
    tx.execute(update(sources).where(mine).values(removed_at=None, trashed_at=None))
    lifecycle.request_sync(tx, operation_id, source_id, lane=ASKED, allow_deletions=False, full=True)
    trashed_at = now() if trash else None
    tx.execute(update(sources).where(mine).values(removed_at=now(), trashed_at=trashed_at, due_at=None, paused=paused))


def forever(tx: Transaction, source_id: int) -> None:
    """What is on its way to the trash goes for good."""
    tx.execute(update(sources).where(sources.c.id == source_id).values(trashed_at=None))


def pending(tx: Transaction) -> list[int]:
    """Sources that are being removed."""
    removing = and_(sources.c.removed_at.is_not(None), sources.c.operation_id.is_not(None))
    return list(tx.execute(select(sources.c.id).where(removing)).scalars())


def step(tx: Transaction, source_id: int) -> bool:
    """Delete up to BATCH documents, or drop the rows of as many that are deleted everywhere; at last the source's. On
    its way to the trash no row is dropped, and its documents get its own time there.

    Returns whether another step could be made now. A source that another process is at is left to it.
    """
    columns = (sources.c.operation_id, sources.c.trashed_at)
    mine = select(*columns).where(sources.c.id == source_id, sources.c.removed_at.is_not(None))
    row = tx.execute(mine.with_for_update(skip_locked=True)).first()
    if row is None or row.operation_id is None:
        return False
    operation_id, trashed_at = row
    # whoever pauses it locks the source first, so it is paused before this step or after it
    state = tx.execute(select(table.c.state).where(table.c.id == operation_id)).scalar_one_or_none()
    if state == "paused":
        return False
    alive, in_trash = documents.c.deleted_at.is_(None), documents.c.trashed_at.is_not(None)
    left = alive if trashed_at is not None else or_(alive, in_trash)
    live = select(documents.c.id).where(documents.c.source_id == source_id, left)
    found = tx.execute(live.order_by(documents.c.id).limit(BATCH)).scalars().all()
    if found:
        places = dict(zip(found, fair_queue.take(tx, source_id, len(found)), strict=True))
        delete_documents(tx, places, operation_id=operation_id, lane=ASKED, trashed_at=trashed_at)
        return True
    ended = and_(operation_sources.c.operation_id == operation_id, operation_sources.c.source_id == source_id)
    tx.execute(update(operation_sources).where(ended).values(state="finished"))
    if state not in (None, "finished") or _on_its_way(tx, source_id):
        return False
    if trashed_at is not None:
        tx.execute(update(sources).where(sources.c.id == source_id).values(operation_id=None))
        return False
    return _drop_rows(tx, source_id)


def _on_its_way(tx: Transaction, source_id: int) -> bool:
    """Whether a document of the source is not at its end in every generation, or may have points in the store."""
    gone = and_(work.c.stage == "deleted", not_(work.c.reconcile))
    left = select(work.c.document_id).where(work.c.source_id == source_id, not_(gone))
    return tx.execute(left.limit(1)).first() is not None


def _drop_rows(tx: Transaction, source_id: int) -> bool:
    columns = (documents.c.id, documents.c.collection_id)
    found = select(*columns).where(documents.c.source_id == source_id).order_by(documents.c.id).limit(BATCH)
    rows = tx.execute(found).all()
    if rows:
        ids = [row.id for row in rows]
        tx.execute(delete(chunks).where(chunks_of(tx, rows[0].collection_id, ids)))
        for table in (operation_items, work):
            tx.execute(delete(table).where(table.c.document_id.in_(ids)))
        tx.execute(delete(documents).where(documents.c.id.in_(ids)))
        return True
    tx.execute(delete(operation_sources).where(operation_sources.c.source_id == source_id))
    tx.execute(delete(sources).where(sources.c.id == source_id))
    return False
