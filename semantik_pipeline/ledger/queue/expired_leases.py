"""What a dead worker leaves behind, and what of it is held against whom.

A process dies as a whole: with many threads, and many claims whose leases end at different times. None of them says
which one killed it. So what it held in company becomes *suspect*, and nobody is charged. A suspect is claimed by a
process that holds nothing else until it is done (``stages/room.py``); only a death of that process is charged.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Column, ColumnElement, and_, select, tuple_, update

from semantik_pipeline.ledger.database.connection import Transaction, now
from semantik_pipeline.ledger.ingestion.sync import SOURCE_FREED, change_source, end_source
from semantik_pipeline.ledger.queue.work import FREED, UNIT, change, charge, unit_of
from semantik_pipeline.ledger.tables import sources, work

#: The type of error of what a worker died of.
DIED = "WorkerDied"

#: Keys that one statement names.
MANY = 1000


@dataclass(frozen=True, kw_only=True)
class Death:
    """A unit whose worker died: the stage where it was, and whether that was its last attempt."""

    stage: str
    quarantined: bool


def expire(tx: Transaction, *, max_attempts: int, backoff: float, everything: bool = False) -> list[Death]:
    """Free units whose lease is over: those in company become suspects, one alone is charged an attempt.

    ``everything`` ignores the clock: the caller knows that no other worker lives. Returns those that were freed.
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
    """Free sources whose lease is over; the slice starts over at its last checkpoint. One that was in company becomes a
    suspect. One on which worker after worker dies while it reads this alone, without saving anything, has failed."""
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
    """Prolong what is over by so many seconds: those who live renew it meanwhile. For a time in which nobody could: the
    ledger was away, or the host slept.

    What another transaction has locked is left out: a slice of a sync has its source and waits for its units, which this
    would hold while it waits for the source. Whoever locks it is alive.
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
