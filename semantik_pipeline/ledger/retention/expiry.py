"""Expiry of old rows, in small batches: finished operations, audit entries, and workers that are gone."""

from __future__ import annotations

from sqlalchemy import and_, delete, exists, not_, select

from semantik_pipeline.ledger.database.connection import Transaction, now
from semantik_pipeline.ledger.tables import (
    audit,
    operation_items,
    operation_sources,
    operations,
    sources,
    work,
    workers,
)

#: Rows of one table, and operations, that one transaction removes.
BATCH = 5000
OPERATIONS = 200


def sweep_operations(tx: Transaction, *, older_than: float) -> bool:
    """Remove operations that finished more than ``older_than`` seconds ago. Returns whether some may be left.

    Keeps cancelled operations that still hold units: whatever takes these units up finds them by their operation. Also
    keeps operations that a source still refers to.
    """
    removing = exists().where(sources.c.operation_id == operations.c.id)
    holds = exists().where(work.c.held_by == operations.c.id)
    finished = and_(operations.c.state == "finished", operations.c.finished_at < now() - older_than)
    old = and_(finished, not_(removing), not_(holds))
    ids = tx.execute(select(operations.c.id).where(old).order_by(operations.c.id).limit(OPERATIONS)).scalars().all()
    items = operation_items.c
    listed = select(items.operation_id).where(items.operation_id.in_(ids)).distinct()
    full = set(tx.execute(listed).scalars()) if ids else set()
    empty = [operation_id for operation_id in ids if operation_id not in full]
    for table, column in ((operation_sources, operation_sources.c.operation_id), (operations, operations.c.id)):
        tx.execute(delete(table).where(column.in_(empty)))
    if full:
        first = items.operation_id == min(full)
        some = select(items.document_id).where(first).limit(BATCH).scalar_subquery()
        tx.execute(delete(operation_items).where(first, items.document_id.in_(some)))
    return bool(full) or len(ids) == OPERATIONS


def sweep_audit(tx: Transaction, *, older_than: float) -> bool:
    """Remove audit entries older than ``older_than`` seconds. Returns whether some may be left."""
    old = select(audit.c.id).where(audit.c.at < now() - older_than).order_by(audit.c.at).limit(BATCH)
    return tx.execute(delete(audit).where(audit.c.id.in_(old.scalar_subquery()))).rowcount == BATCH


def sweep_workers(tx: Transaction, *, older_than: float) -> bool:
    """Remove workers without a heartbeat for ``older_than`` seconds. Returns False: none are left."""
    tx.execute(delete(workers).where(workers.c.heartbeat < now() - older_than))
    return False
