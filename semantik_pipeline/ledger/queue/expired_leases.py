"""Expired leases: frees the units and sources of dead workers, and decides which are charged an attempt.

A process dies as a whole, with many threads and many claims whose leases end at different times. Nothing tells which
unit killed it. So units that it held in company become *suspects*, and none is charged. A process that claims a suspect
holds nothing else until the suspect is finished (``stages/room.py``); only the death of such a process is charged.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Column, ColumnElement, and_, select, tuple_, update

from semantik_pipeline.ledger.database.connection import Transaction, now
from semantik_pipeline.ledger.ingestion.sync import SOURCE_FREED, change_source, end_source
from semantik_pipeline.ledger.queue.work import FREED, UNIT, change, charge, unit_of
from semantik_pipeline.ledger.tables import sources, work

#: The error type of a unit or source whose worker died.
DIED = "WorkerDied"

#: Maximum number of keys in one statement.
MANY = 1000


@dataclass(frozen=True, kw_only=True)
class Death:
    """A unit whose worker died: its stage, and whether it is in quarantine now."""

    stage: str
    quarantined: bool


def expire(tx: Transaction, *, max_attempts: int, backoff: float, everything: bool = False) -> list[Death]:
    """Free units with expired leases: units held in company become suspects, a unit held alone is charged an attempt.

    ``everything`` frees all leases, whatever the clock says: the caller knows that no other worker is alive. Returns
    the units that were freed.
    """
    deaths = []
    dead = _over(work.c.lease_token, work.c.lease_until, everything)
    held_by_dead = UNIT.add_columns(work.c.company, work.c.worker).where(dead)
    in_order = held_by_dead.order_by(work.c.document_id, work.c.generation_id)
    rows = tx.execute(in_order.with_for_update(of=work, skip_locked=True)).all()
    for *values, company, worker in rows:
        unit = unit_of(values)
        if company:
            change(tx, unit, **FREED, suspect=True)
            deaths.append(Death(stage=unit.stage, quarantined=False))
            continue
        error = {
            "type": DIED,
            "message": f"The worker {worker} died or stopped while it worked on this document alone.",
            "traceback": None,
        }
        gone = charge(tx, unit, error, max_attempts=max_attempts, backoff=backoff)
        deaths.append(Death(stage=unit.stage, quarantined=gone))
    return deaths


def expire_sources(tx: Transaction, *, max_attempts: int, everything: bool = False) -> int:
    """Free sources with expired leases; returns their number. The next slice starts at the last checkpoint.

    Each source becomes a suspect. A source that was a suspect already, so that its worker read it alone, is charged an
    attempt. Its sync fails when ``max_attempts`` workers in a row have died on it without saving anything.
    """
    dead = _over(sources.c.lease_token, sources.c.lease_until, everything)
    rows = tx.execute(select(sources).where(dead).order_by(sources.c.id).with_for_update(skip_locked=True)).mappings()
    freed = rows.all()
    for row in freed:
        attempts = row["attempts"] + (1 if row["suspect"] else 0)
        if attempts < max_attempts:
            change_source(tx, row["id"], **SOURCE_FREED, suspect=True, attempts=attempts)
        else:
            message = f"{row['name']}: {attempts} workers died or stopped while they read it and did nothing else."
            end_source(tx, row["id"], row["operation_id"], {"type": DIED, "message": message})
    return len(freed)


def spare(tx: Transaction, *, seconds: float) -> None:
    """Extend expired leases by this many seconds, so that living workers can renew them.

    For use after a time in which no worker could renew: the ledger was unavailable, or the host slept.

    Locked rows are left out, to prevent a deadlock: a slice of a sync locks its source and then waits for its units,
    while this function would lock the units and wait for the source. A worker that holds a row lock is alive anyway.
    """
    for table in (work, sources):
        key = table.primary_key.columns
        over = _over(table.c.lease_token, table.c.lease_until, everything=False)
        locked = select(*key).where(over).order_by(*key).with_for_update(skip_locked=True)
        keys = [tuple(row) for row in tx.execute(locked)]
        for start in range(0, len(keys), MANY):
            mine = tuple_(*key).in_(keys[start : start + MANY])
            tx.execute(update(table).where(mine).values(lease_until=now() + seconds))


def _over(token: Column, until: Column, everything: bool) -> ColumnElement[bool]:
    return token.is_not(None) if everything else and_(token.is_not(None), until < now())
