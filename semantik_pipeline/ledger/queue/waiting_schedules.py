"""Sources whose schedule waits for a paused operation.

The paused operation holds documents of the source, and an unfinished sync that has read the source waits for them. A
scheduled sync does not take up held documents, so the next scheduled sync would wait for them too, and so would every
later one. So none begins until the operation is resumed, or until somebody requests a sync, which takes them up.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import and_, select

from semantik_pipeline.ledger.queue.work import STAGES
from semantik_pipeline.ledger.tables import collections, operation_items, operations, sources, work


def holder() -> Any:
    """Subquery for a row of ``sources``: the paused operation for which the source's schedule waits, else NULL.

    It reads the source's held units up to the first one that an unfinished sync waits for.
    """
    paused = select(operations.c.id).where(operations.c.state == "paused").correlate(None)
    active = select(collections.c.active_generation).where(collections.c.id == sources.c.collection_id)
    held = and_(
        work.c.source_id == sources.c.id,
        work.c.stage.in_(STAGES),
        work.c.held_by.in_(paused),
        work.c.generation_id == active.correlate(sources).scalar_subquery(),
    )
    syncs = operations.alias()
    item = and_(
        operation_items.c.document_id == work.c.document_id,
        operation_items.c.revision == work.c.revision,
        operation_items.c.operation_id == syncs.c.id,
    )
    sync = and_(syncs.c.kind == "sync", syncs.c.state != "finished")
    awaited = select(syncs.c.id).where(item, sync).correlate(work).exists()
    return select(work.c.held_by).where(held, awaited).limit(1).correlate(sources).scalar_subquery()
