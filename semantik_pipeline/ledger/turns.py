"""Places in the queue: start-time fair queueing. A unit costs its source 1/weight of virtual time.

A source that was idle is given its first units ahead of that share: what is small is through before much of what is large,
and has been busy for long, is taken. They are charged as all others are, so nobody gets more than its share in the end.
"""

from __future__ import annotations

from sqlalchemy import CompoundSelect, and_, false, func, select, union_all, update

from semantik_pipeline.ledger.connection import Transaction, now
from semantik_pipeline.ledger.tables import sources, work
from semantik_pipeline.ledger.work import LANES, STAGES

#: Virtual time that a source may be ahead of its share: so many units of weight 1.
AHEAD = 64.0


def take(tx: Transaction, source_id: int, count: int) -> list[float]:
    """The next ``count`` turns of a source. Call with the source locked, or before what belongs to it is.

    A source that was idle starts at the virtual time, so it can't save up turns.
    """
    if not count:
        return []
    row = select(sources.c.weight, sources.c.next_turn).where(sources.c.id == source_id)
    weight, next_turn = tx.execute(row).one()
    time = virtual_time(tx)
    start = max(next_turn, time)
    charged = [start + (place + 1) / weight for place in range(count)]
    tx.execute(update(sources).where(sources.c.id == source_id).values(next_turn=charged[-1]))
    return [time + ahead(turn - time) for turn in charged]


def ahead(due: float) -> float:
    """How far from now the turn is of what would be due, by its source's share, so far from now. It never falls as
    ``due`` rises, so whoever shares by weight does so ahead as well."""
    return due / AHEAD if due <= AHEAD else due - AHEAD + 1


def virtual_time(tx: Transaction) -> float:
    """The turn of the first unit that could be worked on, or, where there is none, the last one that was given.

    One that is blocked, held by an operation, or waits for its next try stands still, and time would with it. Deletions
    count: they have turns as all others have.
    """
    first = tx.execute(select(func.min(_FIRST_TURNS.c.turn))).scalar_one_or_none()
    if first is None:
        first = tx.execute(select(func.max(sources.c.next_turn))).scalar_one_or_none()
    return first or 0.0


def _first_turns() -> CompoundSelect:
    """The lowest turn of each stage and lane. An index has them at hand; looking at every unit that waits would make
    a source's arrival dearer the more of it has arrived."""
    free = and_(work.c.blocked.is_(None), work.c.held_by.is_(None), work.c.suspect == false())
    moving = and_(free, work.c.not_before <= now())
    firsts = [
        select(work.c.turn).where(work.c.stage == stage, work.c.lane == lane, moving).order_by(work.c.turn).limit(1)
        for stage in STAGES
        for lane in LANES
    ]
    return union_all(*(select(first.subquery().c.turn) for first in firsts))


_FIRST_TURNS = _first_turns().subquery()
