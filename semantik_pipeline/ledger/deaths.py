"""What a dead worker leaves behind, and what of it is held against whom.

A process dies as a whole: with many threads, and many claims whose leases end at different times. None of them says
which one killed it. So what it held in company becomes *suspect*, and nobody is charged. A suspect is claimed by a
process that holds nothing else until it is done (``stages/room.py``); only a death of that process is charged.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, and_

from semantik_pipeline.ledger.connection import Transaction, now
from semantik_pipeline.ledger.tables import work
from semantik_pipeline.ledger.work import FREED, UNIT, change, charge, unit_of


def expire(tx: Transaction, *, max_attempts: int, backoff: float, everything: bool = False) -> int:
    """Free units whose lease is over: those in company become suspects, one alone is charged an attempt.

    ``everything`` ignores the clock: the caller knows that no other worker lives. Returns how many were freed.
    """
    dead: ColumnElement[bool] = work.c.lease_token.is_not(None)
    if not everything:
        dead = and_(dead, work.c.lease_until < now())
    held_by_dead = UNIT.add_columns(work.c.company, work.c.worker).where(dead)
    in_order = held_by_dead.order_by(work.c.document_id, work.c.generation_id)
    rows = tx.execute(in_order.with_for_update(of=work, skip_locked=True)).all()
    for *values, company, worker in rows:
        unit = unit_of(values)
        if company:
            change(tx, unit, **FREED, suspect=True)
            continue
        error = {
            "type": "WorkerDied",
            "message": f"The worker {worker} died or stopped while it worked on this document alone.",
            "traceback": None,
        }
        charge(tx, unit, error, max_attempts=max_attempts, backoff=backoff)
    return len(rows)
