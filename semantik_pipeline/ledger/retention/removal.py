"""Removal of a source: its documents leave every live generation, then its rows are deleted or stay in the trash.

It runs in short transactions that any process can continue.
"""

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
    """Begin to remove a source. It is no longer synced; a sync in progress is taken over.

    Its schedule and its pause are kept, since the removal may be cancelled, or the source may be restored from the
    ``trash``. Without ``trash``, documents of the source that are in the trash are deleted too.
    """
    mine = sources.c.id == source_id
    paused = tx.execute(select(sources.c.paused).where(mine).with_for_update()).scalar_one()
    # an earlier removal that was never carried out starts again
    tx.execute(update(sources).where(mine).values(removed_at=None, trashed_at=None))
    lifecycle.request_sync(tx, operation_id, source_id, lane=ASKED, allow_deletions=False, full=True)
    trashed_at = now() if trash else None
    tx.execute(update(sources).where(mine).values(removed_at=now(), trashed_at=trashed_at, due_at=None, paused=paused))


def forever(tx: Transaction, source_id: int) -> None:
    """Let a source that is being moved to the trash be removed for good instead."""
    tx.execute(update(sources).where(sources.c.id == source_id).values(trashed_at=None))


def pending(tx: Transaction) -> list[int]:
    """Ids of sources that are being removed."""
    removing = and_(sources.c.removed_at.is_not(None), sources.c.operation_id.is_not(None))
    return list(tx.execute(select(sources.c.id).where(removing)).scalars())


def step(tx: Transaction, source_id: int) -> bool:
    """Do one step: delete up to BATCH documents; then remove the rows of BATCH deleted documents; finally the source's.

    If the source is moved to the trash, no rows are removed, and its documents get the source's ``trashed_at``.

    Returns whether another step is possible now. Does nothing if another process has locked the source.
    """
    columns = (sources.c.operation_id, sources.c.trashed_at)
    mine = select(*columns).where(sources.c.id == source_id, sources.c.removed_at.is_not(None))
    row = tx.execute(mine.with_for_update(skip_locked=True)).first()
    if row is None or row.operation_id is None:
        return False
    operation_id, trashed_at = row
    # a pause locks the source first, so the operation is paused before or after this step, not during it
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
    """Whether a document of the source is not yet deleted in some generation, or may still have points in the store."""
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
