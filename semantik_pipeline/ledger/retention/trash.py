"""The trash: documents, sources and collections that people deleted, until the trash window is over.

A document in the trash is deleted (``deleted_at``) in every generation, and ``trashed_at`` is the time when it came
there. Its body, metadata and chunk rows stay, and so do the cached results that they refer to. A source in the trash is
removed (``removed_at``), but its rows stay. Its documents have the source's ``trashed_at``, so that a restore returns
them, and does not return documents that were deleted before. A collection in the trash is hidden and otherwise
unchanged. If its ``trashed_at`` is :data:`PURGED`, it is being purged and can't be restored.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import and_, insert, or_, select, update

from semantik_pipeline.errors import Conflict, UsageError
from semantik_pipeline.ledger.database.bulk import among
from semantik_pipeline.ledger.database.connection import Transaction, now
from semantik_pipeline.ledger.ingestion import unfinished
from semantik_pipeline.ledger.ingestion.revisions import Revision, delete_documents, live_generations, revise
from semantik_pipeline.ledger.ingestion.timetable import next_time
from semantik_pipeline.ledger.operations import holds, lifecycle, reruns
from semantik_pipeline.ledger.operations.lifecycle import note_items
from semantik_pipeline.ledger.queue import fair_queue
from semantik_pipeline.ledger.queue.work import ASKED
from semantik_pipeline.ledger.tables import collections, documents, operation_sources, sources, work
from semantik_pipeline.ledger.tables import operations as table

#: The ``trashed_at`` of a collection that is being purged.
PURGED = 0.0

#: Seconds without a sign of life after which an unfinished import counts as dead, and its collection is purged.
DEAD = 600.0

#: Documents that one transaction restores or purges.
BATCH = 500

#: The skip reason of a restored document whose body was never stored, until its source is read.
UNREAD = "it was deleted before it was ever read; the next sync reads it"


def kept(tx: Transaction, document_ids: Sequence[int]) -> set[int]:
    """The ids among these that are in the trash. Their metadata and texts must be kept."""
    if not document_ids:
        return set()
    query = select(documents.c.id).where(
        among(documents.c.id, sorted(document_ids)), documents.c.trashed_at.is_not(None)
    )
    return set(tx.execute(query).scalars())


# -- documents --------------------------------------------------------------------------------------------------------


def restore_documents(tx: Transaction, document_ids: Sequence[int], *, operation_id: int) -> int:
    """Restore documents from the trash in every live generation; returns how many of them were still there.

    They go through the stages again, which reuse stored bodies and cached results.
    """
    if not document_ids:
        return 0
    owned = fair_queue.owners(tx, document_ids)
    there = and_(among(documents.c.id, sorted(document_ids)), documents.c.trashed_at.is_not(None))
    in_order = select(documents.c.id).where(there).order_by(documents.c.id).with_for_update()
    ids = list(tx.execute(in_order).scalars())
    rows = tx.execute(
        update(documents)
        .where(documents.c.id.in_(ids))
        .values(deleted_at=None, trashed_at=None, revision=documents.c.revision + 1, changed_at=now())
        .returning(*(documents.c[name] for name in ("id", "source_id", "collection_id", "revision", "content_hash")))
    ).all()
    note_items(tx, operation_id, [(row.id, "restored", row.revision) for row in rows])
    builds = {one: live_generations(tx, one) for one in sorted({row.collection_id for row in rows})}
    places = fair_queue.take_each(tx, owned, {row.id for row in rows})
    empty = [row.id for row in rows if row.content_hash is None]
    skipped = select(work.c.document_id, work.c.reason).where(work.c.document_id.in_(empty), work.c.reason.is_not(None))
    reasons = dict.fromkeys(empty, UNREAD) | {row.document_id: row.reason for row in tx.execute(skipped)}
    unread = [one for one, reason in reasons.items() if reason == UNREAD]
    tx.execute(update(documents).where(documents.c.id.in_(unread)).values(change_hint=None))
    revisions = []
    for row in sorted(rows, key=lambda row: row.id):
        revisions += [
            Revision(
                document_id=row.id,
                generation_id=generation_id,
                source_id=row.source_id,
                revision=row.revision,
                lane=ASKED,
                turn=places[row.id],
                goal="indexed" if row.content_hash else "skipped",
                reason=reasons.get(row.id),
            )
            for generation_id in builds[row.collection_id]
        ]
    revise(tx, revisions)
    return len(rows)


def purge_documents(tx: Transaction, document_ids: Sequence[int], *, operation_id: int) -> None:
    """Delete documents for good, if they are still in the trash."""
    owned = fair_queue.owners(tx, document_ids)
    there = and_(among(documents.c.id, sorted(document_ids)), documents.c.trashed_at.is_not(None))
    still = set(tx.execute(select(documents.c.id).where(there).order_by(documents.c.id).with_for_update()).scalars())
    places = fair_queue.take_each(tx, owned, still)
    delete_documents(tx, places, operation_id=operation_id, lane=ASKED)


def documents_over(tx: Transaction, *, older_than: float, without: Collection[int] = ()) -> dict[int, list[int]]:
    """collection id -> documents in the trash for more than ``older_than`` seconds, at most BATCH in all.

    Leaves out documents that came there with their source or collection, and documents of the collections ``without``.
    """
    columns = (documents.c.collection_id, documents.c.id)
    mine = and_(documents.c.trashed_at <= now() - older_than, sources.c.removed_at.is_(None))
    if without:
        mine = and_(mine, documents.c.collection_id.not_in(sorted(without)))
    query = (
        select(*columns)
        .join(sources, sources.c.id == documents.c.source_id)
        .join(collections, collections.c.id == documents.c.collection_id)
        .where(mine, collections.c.trashed_at.is_(None))
        .order_by(documents.c.trashed_at, documents.c.id)
        .limit(BATCH)
    )
    found: dict[int, list[int]] = {}
    for collection_id, document_id in tx.execute(query):
        found.setdefault(collection_id, []).append(document_id)
    return found


# -- sources ----------------------------------------------------------------------------------------------------------


def sources_over(tx: Transaction, *, older_than: float) -> list[int]:
    """Ids of sources that have been in the trash for more than ``older_than`` seconds, in order."""
    mine = and_(sources.c.trashed_at <= now() - older_than, sources.c.operation_id.is_(None))
    query = select(sources.c.id).join(collections, collections.c.id == sources.c.collection_id)
    return list(tx.execute(query.where(mine, collections.c.trashed_at.is_(None)).order_by(sources.c.id)).scalars())


def lock_source(tx: Transaction, source_id: int) -> int:
    """Lock a source; returns the id of its collection."""
    mine = select(sources.c.collection_id).where(sources.c.id == source_id)
    return tx.execute(mine.with_for_update()).scalar_one()


def begin_restoring(tx: Transaction, source_id: int) -> int:
    """Take a source out of the trash, and begin to restore the documents that went with it; returns the operation's id.

    The source is synced again when its schedule is due. If the source is still being moved to the trash, that is
    cancelled. Raises UsageError if the source is no longer in the trash.
    """
    columns = [sources.c[name] for name in ("trashed_at", "collection_id", "operation_id", "schedule", "created_at")]
    mine = and_(sources.c.id == source_id, sources.c.trashed_at.is_not(None))
    row = tx.execute(select(*columns, now().label("now")).where(mine).with_for_update()).first()
    if row is None:
        raise UsageError("The source is no longer in the trash.", "`semantik trash` lists its contents.")
    if row.operation_id is not None and lifecycle.state(tx, row.operation_id) != "finished":
        holds.cancel(tx, row.operation_id)
    due_at = next_time(row.schedule, row.now, source_id, row.created_at)
    values = {"removed_at": None, "trashed_at": None, "operation_id": None, "due_at": due_at, "cursor": None}
    tx.execute(update(sources).where(sources.c.id == source_id).values(**values))
    detail = {"source": source_id, "since": row.trashed_at, "until": row.now}
    operation_id = lifecycle.begin(tx, row.collection_id, "restore", detail=detail)
    asked = {"operation_id": operation_id, "source_id": source_id, "state": "running"}
    tx.execute(insert(operation_sources).values(**asked))
    return operation_id


def restoring(tx: Transaction) -> list[int]:
    """Ids of running operations that still restore documents of a source."""
    query = select(table.c.id).join(operation_sources, operation_sources.c.operation_id == table.c.id)
    mine = and_(table.c.kind == "restore", table.c.state == "running", operation_sources.c.state == "running")
    return list(tx.execute(query.where(mine).order_by(table.c.id)).scalars())


def restore_step(tx: Transaction, operation_id: int) -> bool:
    """Restore up to BATCH documents of the operation's source; returns whether another step is possible now."""
    detail = tx.execute(select(table.c.detail).where(table.c.id == operation_id)).scalar_one()
    mine = sources.c.id == detail["source"]
    if tx.execute(select(sources.c.id).where(mine).with_for_update(skip_locked=True)).first() is None:
        return False
    if lifecycle.state(tx, operation_id) != "running":  # a pause or cancellation comes before or after
        return False
    went = and_(
        documents.c.source_id == detail["source"], documents.c.trashed_at.between(detail["since"], detail["until"])
    )
    ids = list(tx.execute(select(documents.c.id).where(went).order_by(documents.c.id).limit(BATCH)).scalars())
    restore_documents(tx, ids, operation_id=operation_id)
    if not ids:
        done = and_(operation_sources.c.operation_id == operation_id, operation_sources.c.state == "running")
        tx.execute(update(operation_sources).where(done).values(state="finished"))
    return bool(ids)


# -- collections ------------------------------------------------------------------------------------------------------


def bin_collection(tx: Transaction, collection_id: int, *, purge: bool) -> None:
    """Move a collection to the trash, or, with ``purge``, mark it for purging. Search no longer sees it."""
    changes = {"trashed_at": PURGED if purge else now(), "importing_at": None}
    tx.execute(update(collections).where(collections.c.id == collection_id).values(**changes))


def restore_collection(tx: Transaction, collection_id: int) -> None:
    """Restore a collection from the trash, unchanged. Raises Conflict if it is being purged."""
    mine = select(collections.c.name, collections.c.trashed_at).where(collections.c.id == collection_id)
    row = tx.execute(mine.with_for_update()).one()
    if row.trashed_at == PURGED:
        raise Conflict(
            f"The collection {row.name!r} is being purged.", "It can't be restored; index its sources again."
        )
    tx.execute(update(collections).where(collections.c.id == collection_id).values(trashed_at=None))


def begin_taking_up(tx: Transaction, collection_id: int) -> int | None:
    """Begin an operation that finishes what cancelled operations of the collection parked; returns its id.

    Returns None if they parked nothing. See ``ledger/ingestion/unfinished.py``.
    """
    if not unfinished.is_left(tx, collection_id):
        return None
    operation_id = lifecycle.begin(tx, collection_id, "restore")
    unfinished.begin(tx, operation_id)
    return operation_id


def take_up_reruns(tx: Transaction, collection_id: int, *, since: float) -> list[int]:
    """Begin operations that continue the reruns cancelled at or after ``since``, when the collection went to the trash.

    Returns the ids of the operations.
    """
    begun = [reruns.take_over(tx, one) for one in reruns.stopped(tx, collection_id, since=since)]
    return [one.operation_id for one in begun if one is not None]


def collections_over(tx: Transaction, *, older_than: float) -> list[int]:
    """Ids of collections that have been in the trash for more than ``older_than`` seconds, or whose import is dead."""
    whole = and_(collections.c.importing_at.is_(None), collections.c.trashed_at <= now() - older_than)
    dead = collections.c.importing_at < now() - DEAD
    return list(tx.execute(select(collections.c.id).where(or_(whole, dead)).order_by(collections.c.id)).scalars())


def begin_purging(tx: Transaction, *, older_than: float) -> list[int]:
    """Mark the collections of :func:`collections_over` for purging; returns their ids."""
    over = collections_over(tx, older_than=older_than)
    hidden = and_(collections.c.id.in_(over), collections.c.trashed_at.is_not(None))
    in_order = select(collections.c.id).where(hidden).order_by(collections.c.id)
    ids = list(tx.execute(in_order.with_for_update()).scalars())  # without those that were restored meanwhile
    gone = {"trashed_at": PURGED, "importing_at": None}
    tx.execute(update(collections).where(collections.c.id.in_(ids)).values(**gone))
    return ids


def running_in_trash(tx: Transaction) -> list[int]:
    """Ids of unfinished, uncancelled operations of collections in the trash; those of imports are left out."""
    query = select(table.c.id).join(collections, collections.c.id == table.c.collection_id)
    still = and_(table.c.state != "finished", table.c.outcome.is_distinct_from("cancelled"))
    hidden = and_(collections.c.trashed_at.is_not(None), collections.c.importing_at.is_(None))
    return list(tx.execute(query.where(still, hidden).order_by(table.c.id)).scalars())
