"""Backfilling a build: every live document gets a unit in the new generation, one batch per call, in order of ids."""

from __future__ import annotations

from typing import Any

from sqlalchemy import and_, select

from semantik_pipeline.ledger.database.connection import Transaction
from semantik_pipeline.ledger.generations.builds import Build, note
from semantik_pipeline.ledger.ingestion.revisions import Revision, revise
from semantik_pipeline.ledger.operations.lifecycle import note_items
from semantik_pipeline.ledger.queue.work import REBUILD_LANE
from semantik_pipeline.ledger.tables import documents, work

#: Documents in one batch, which is one transaction.
BATCH = 500

#: The error of a document that is indexed in the active generation, and whose stored body an earlier build did not find
#: (``revisions.forget_hint``).
LOST = {"type": "PermanentError", "message": "Its stored body is missing. The next sync of its source fetches it."}


def step(tx: Transaction, build: Build) -> bool:
    """Create the units of the next batch of documents. Returns whether there may be more. Call with the build taken.

    A document that arrived after the build began already has a unit, which is left as it is. A document without a
    stored body (it could not be fetched, there is nothing to index, or its body was lost) starts in its final state:
    quarantined or skipped.
    """
    after = build.progress.get("after", 0)
    columns = (documents.c.id, documents.c.source_id, documents.c.revision, documents.c.content_hash)
    live = and_(
        documents.c.collection_id == build.collection_id, documents.c.id > after, documents.c.deleted_at.is_(None)
    )
    rows = tx.execute(select(*columns).where(live).order_by(documents.c.id).limit(BATCH).with_for_update()).all()
    if not rows:
        note(tx, build.generation_id, phase="building")
        return False
    ids = [row.id for row in rows]
    of_them = work.c.document_id.in_(ids)
    there = select(work.c.document_id).where(of_them, work.c.generation_id == build.generation_id)
    known = set(tx.execute(there).scalars())
    now_columns = (work.c.document_id, work.c.goal, work.c.reason, work.c.error)
    beside = select(*now_columns).where(of_them, work.c.generation_id == build.active_generation)
    active = {row.document_id: row for row in tx.execute(beside)}
    fresh = [row for row in rows if row.id not in known]
    note_items(tx, build.operation_id, [(row.id, "rebuilt", row.revision) for row in fresh])
    revise(tx, [_unit(build, row, active.get(row.id)) for row in fresh])
    note(tx, build.generation_id, after=ids[-1])
    return True


def _unit(build: Build, document: Any, active: Any) -> Revision:
    values: dict[str, Any] = {}
    if document.content_hash is None:
        if active is not None and active.goal == "skipped":
            values = {"goal": "skipped", "reason": active.reason}
        else:
            values = {"error": (active and active.error) or LOST}
    return Revision(
        document_id=document.id,
        generation_id=build.generation_id,
        source_id=document.source_id,
        revision=document.revision,
        lane=REBUILD_LANE,
        turn=float(document.id),
        **values,
    )
