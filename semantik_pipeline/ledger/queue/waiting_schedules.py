"""Sources whose schedule waits for a paused operation.

The operation holds documents of the source, and a sync that has read the source waits for them. A scheduled sync leaves
them where they are, so another one would come to wait for them as well, and so would each one after it: none is begun
until the operation goes on, or somebody asks for a sync, which takes the documents up.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import and_, select

from semantik_pipeline.ledger.queue.work import STAGES
from semantik_pipeline.ledger.tables import collections, operation_items, operations, sources, work


def holder() -> Any:
    """The paused operation for which the schedule of a source waits, NULL if it waits for none: of the source of the query
    around it. It looks at what operations hold of the source, up to the first unit that a sync waits for."""
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
