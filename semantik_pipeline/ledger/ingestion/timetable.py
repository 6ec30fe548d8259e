"""Scheduled syncs: begin the syncs of sources that are due, and compute the next due times.

Several schedulers may run at once. A due source is locked, and its next due time is written in the transaction that
begins its sync, so a second scheduler no longer finds it due.
"""

from __future__ import annotations

import logging
from typing import Any

from sqlalchemy import Row, and_, select, update

from semantik_pipeline.ledger.database.connection import Transaction, is_away, now
from semantik_pipeline.ledger.operations import lifecycle
from semantik_pipeline.ledger.queue import waiting_schedules
from semantik_pipeline.ledger.queue.work import SCHEDULED
from semantik_pipeline.ledger.tables import collections, sources
from semantik_pipeline.schedules import Schedule, wait_after_faults

log = logging.getLogger(__name__)

#: Sources whose syncs one transaction begins.
BATCH = 50


def begin_due(tx: Transaction) -> list[int]:
    """Begin syncs of up to BATCH sources that are due; returns the ids of the operations.

    A source is due next at the first time of its schedule after now, so several missed times cause one sync. Left out
    are sources that are syncing, paused, being removed or in the trash, and those whose schedule waits for a paused
    operation (``queue/waiting_schedules.py``): they stay due. If a sync can't begin (for example because the time zone
    of the schedule no longer exists), the source records the error and waits as after a failed sync; the others begin.
    """
    due = and_(
        sources.c.due_at <= now(),
        sources.c.operation_id.is_(None),
        sources.c.paused.is_(None),
        sources.c.removed_at.is_(None),
        waiting_schedules.holder().is_(None),
    )
    known = (sources.c.id, sources.c.collection_id, sources.c.schedule, sources.c.created_at, sources.c.faults)
    columns = (*known, now().label("now"))
    shown = select(collections.c.id).where(collections.c.trashed_at.is_(None))
    due = and_(due, sources.c.collection_id.in_(shown))
    query = select(*columns).where(due).order_by(sources.c.due_at, sources.c.id).limit(BATCH)
    begun = []
    for row in tx.execute(query.with_for_update(skip_locked=True)).all():
        try:
            with tx.begin_nested():
                begun.append(_begin(tx, row))
        except Exception as error:
            if is_away(error) or tx.invalidated:  # the ledger is unavailable; the source is not at fault
                raise
            log.exception("The sync of the source %d can't be started.", row.id)
            _put_off(tx, row, error)
    return begun


def _begin(tx: Transaction, source: Row) -> int:
    operation_id = lifecycle.begin(tx, source.collection_id, "sync")
    lifecycle.request_sync(tx, operation_id, source.id, lane=SCHEDULED, allow_deletions=False)
    due_at = next_time(source.schedule, source.now, source.id, source.created_at)
    tx.execute(update(sources).where(sources.c.id == source.id).values(due_at=due_at))
    return operation_id


def _put_off(tx: Transaction, source: Row, error: Exception) -> None:
    faults = source.faults + 1
    told = {"type": type(error).__name__, "message": f"Its sync can't be started: {error}", "at": source.now}
    values = {"faults": faults, "error": told, "due_at": source.now + wait_after_faults(faults)}
    tx.execute(update(sources).where(sources.c.id == source.id).values(**values))


def next_time(schedule: dict[str, Any] | None, after: float, source_id: int, created_at: float) -> float | None:
    """The first time of the schedule after ``after``, or None without a schedule. Times are seconds since 1970."""
    if schedule is None:
        return None
    return Schedule.of(schedule).next(after, key=source_id, anchor=created_at)


def after_sync(tx: Transaction, source_id: int, fault: dict[str, str] | None) -> dict[str, Any]:
    """The columns of a source that change at the end of its sync. ``fault``: ``{"type", "message"}`` of a failed sync.

    A scheduled time that passed during the sync is skipped. After a fault, so are the times within a delay that doubles
    with each consecutive fault.
    """
    columns = (sources.c.schedule, sources.c.faults, sources.c.created_at, now().label("now"))
    row = tx.execute(select(*columns).where(sources.c.id == source_id)).one()
    faults = row.faults + 1 if fault else 0
    return {
        "faults": faults,
        "error": {**fault, "at": row.now} if fault else None,
        "due_at": next_time(row.schedule, row.now + wait_after_faults(faults), source_id, row.created_at),
    }
