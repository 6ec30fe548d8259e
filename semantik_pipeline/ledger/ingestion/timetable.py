"""Scheduled syncs: claiming the sources that are due, and when one is due again.

Two schedulers do no harm: a due source is locked, its next time is written in the transaction that begins its sync,
and whoever comes second finds it no longer due.
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

#: Sources that one transaction begins to sync.
BATCH = 50


def begin_due(tx: Transaction) -> list[int]:
    """Begin a sync of up to BATCH sources whose time has come; returns the operations' ids.

    Each is due next at the first time of its schedule after now, so missed times run once. One whose sync is in hand,
    that is paused, being removed or in the trash is left alone, and so is one whose schedule waits for a paused operation
    (``queue/waiting_schedules.py``): it stays due. One that can't be begun (a schedule that makes no sense
    any more, in a zone that is gone) waits as if its sync had failed, and says why; the others begin.
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
            if is_away(error) or tx.invalidated:  # the ledger, not the source
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
    """None: it has no schedule."""
    if schedule is None:
        return None
    return Schedule.of(schedule).next(after, key=source_id, anchor=created_at)


def after_sync(tx: Transaction, source_id: int, fault: dict[str, str] | None) -> dict[str, Any]:
    """What changes in a source whose sync is over. ``fault``: ``{"type", "message"}`` of one that failed.

    A time that came while it ran is not made up for. After a fault the times of its schedule are left out until its
    wait is over, which doubles with each fault in a row.
    """
    columns = (sources.c.schedule, sources.c.faults, sources.c.created_at, now().label("now"))
    row = tx.execute(select(*columns).where(sources.c.id == source_id)).one()
    faults = row.faults + 1 if fault else 0
    return {
        "faults": faults,
        "error": {**fault, "at": row.now} if fault else None,
        "due_at": next_time(row.schedule, row.now + wait_after_faults(faults), source_id, row.created_at),
    }
