"""A change of a source's principals: its documents' points are written again, without embedding anything.

The work runs in short transactions, and any process can continue it. Until a point is written, searches check its
document against the ledger (``document_access.py``): they may find less than is allowed, never more.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import and_, bindparam, insert, select, update

from semantik_pipeline.ledger.catalog.lineage import NOT_RETIRED
from semantik_pipeline.ledger.database.connection import Transaction, now
from semantik_pipeline.ledger.operations import lifecycle
from semantik_pipeline.ledger.operations.lifecycle import note_items
from semantik_pipeline.ledger.operations.outcomes import PERMITTED
from semantik_pipeline.ledger.queue import fair_queue
from semantik_pipeline.ledger.queue.work import FREED, SCHEDULED, STAGES
from semantik_pipeline.ledger.tables import documents, operation_sources, sources, work
from semantik_pipeline.ledger.tables import operations as table

#: Documents that one transaction sends through ``upsert``.
BATCH = 500


def begin(tx: Transaction, source_id: int, collection_id: int) -> int:
    """Begin the operation that writes the points of the source's documents again; returns its id.

    Documents with principals of their own are left out. Call with the source locked.
    """
    operation_id = lifecycle.begin(tx, collection_id, "permit")
    detail = {"source": source_id, "after": 0}
    tx.execute(update(table).where(table.c.id == operation_id).values(detail=detail))
    asked = {"operation_id": operation_id, "source_id": source_id, "state": "running"}
    tx.execute(insert(operation_sources).values(**asked))
    return operation_id


def pending(tx: Transaction) -> list[int]:
    """Ids of running operations of this kind that still have documents to send."""
    query = select(table.c.id).join(operation_sources, operation_sources.c.operation_id == table.c.id)
    mine = and_(table.c.kind == "permit", table.c.state == "running", operation_sources.c.state == "running")
    return list(tx.execute(query.where(mine).order_by(table.c.id)).scalars())


def step(tx: Transaction, operation_id: int) -> bool:
    """Send up to BATCH documents of the operation's source through ``upsert``; returns whether another step is possible
    now. Does nothing if another process has locked the source."""
    source_id = tx.execute(select(table.c.detail).where(table.c.id == operation_id)).scalar_one()["source"]
    mine = select(sources.c.id).where(sources.c.id == source_id)
    if tx.execute(mine.with_for_update(skip_locked=True)).first() is None:
        return False
    about = select(table.c.state, table.c.detail).where(table.c.id == operation_id).with_for_update()
    row = tx.execute(about).one()
    if row.state != "running":  # the lock orders this step before or after a pause or a cancellation
        return False
    left = and_(
        documents.c.source_id == source_id,
        documents.c.id > row.detail["after"],
        documents.c.principals.is_(None),
        documents.c.deleted_at.is_(None),
    )
    ids = list(tx.execute(select(documents.c.id).where(left).order_by(documents.c.id).limit(BATCH)).scalars())
    if not ids:
        done = and_(operation_sources.c.operation_id == operation_id, operation_sources.c.state == "running")
        tx.execute(update(operation_sources).where(done).values(state="finished"))
        return False
    _rewrite(tx, source_id, ids, operation_id)
    detail = {**row.detail, "after": ids[-1]}
    tx.execute(update(table).where(table.c.id == operation_id).values(detail=detail))
    return True


def _rewrite(tx: Transaction, source_id: int, document_ids: list[int], operation_id: int) -> None:
    """Send indexed units to ``upsert``; units at an earlier stage stay there, and will write every point at ``upsert``.

    Both lose their leases, since a worker that is writing their points has read the old principals.

    Units in quarantine stay unchanged. Their points belong to the previous revision, whose own principals, if it had
    any, are no longer stored. To write the source's principals could show its text to others, and to write none (as a
    repair does) would hide it from everybody who can find it now.
    """
    which = and_(
        work.c.document_id.in_(document_ids),
        NOT_RETIRED,
        work.c.stage.in_(("indexed", *STAGES)),
        work.c.goal == "indexed",
    )
    columns = (work.c.document_id, work.c.generation_id, work.c.revision, work.c.stage, work.c.lane, work.c.progress)
    query = select(*columns).where(which).order_by(work.c.document_id, work.c.generation_id)
    units = tx.execute(query.with_for_update()).all()
    places = fair_queue.take(tx, source_id, sum(unit.stage == "indexed" for unit in units))
    by_key = and_(work.c.document_id == bindparam("d"), work.c.generation_id == bindparam("g"))
    at_rest, moving = [], []
    for unit in units:
        key = {"d": unit.document_id, "g": unit.generation_id}
        if unit.stage == "indexed":
            at_rest.append({**key, "lane_": max(unit.lane, SCHEDULED), "turn_": places.pop(0)})
        else:
            moving.append({**key, "progress_": {**(unit.progress or {}), "rewrite": True}})
    again = {**FREED, "epoch": work.c.epoch + 1, "updated_at": now()}
    anew = {"stage": "upsert", "touched": True, "progress": {"rewrite": True}, "embedded": 0, "attempts": 0}
    if at_rest:
        given: dict[str, Any] = {"lane": bindparam("lane_"), "turn": bindparam("turn_")}
        tx.execute(update(work).where(by_key).values(**again, **anew, **given), at_rest)
    if moving:
        tx.execute(update(work).where(by_key).values(**again, progress=bindparam("progress_")), moving)
    note_items(tx, operation_id, sorted({(unit.document_id, PERMITTED, unit.revision) for unit in units}))
