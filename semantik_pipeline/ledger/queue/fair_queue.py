"""Turns in the queue, by start-time fair queueing. A unit costs its source 1/weight of virtual time.

The units of a small source go ahead once its enumeration is complete (:func:`hasten`): they advance :data:`SHARE` times
as fast as their share allows, so the source is finished quickly without a noticeable delay for others. They are charged
like all other units, so a small source that syncs again and again gets no more than its share in the long run. The
number of units that are ahead is bounded for each source and for all sources together, so that a large source makes
progress however many small ones come.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import (
    Float,
    Integer,
    Subquery,
    Text,
    and_,
    column,
    false,
    func,
    select,
    type_coerce,
    update,
    values,
)

from semantik_pipeline.ledger.catalog.lineage import NOT_RETIRED
from semantik_pipeline.ledger.database.bulk import among
from semantik_pipeline.ledger.database.connection import Transaction, now
from semantik_pipeline.ledger.queue.work import LANES, REBUILD_LANE, STAGES
from semantik_pipeline.ledger.tables import documents, sources, work

#: Units that a small source may be ahead of its share: about as many as a claim of each stage takes.
SMALL = 128.0

#: Units that all small sources together may be ahead of their shares.
TOGETHER = 4 * SMALL

#: Units of a small source that are claimed for each unit of another source with the same weight.
SHARE = 8.0

_Turn = TypeVar("_Turn", float, Any)


def take(tx: Transaction, source_id: int, count: int) -> list[float]:
    """Take the next ``count`` turns of a source. Call with the source locked, or before its documents and units are.

    A source that was idle starts at the virtual time, so it can't save up turns.
    """
    if not count:
        return []
    weight, next_turn = _account(tx, source_id)
    start = max(next_turn, virtual_time(tx))
    turns = [start + (place + 1) / weight for place in range(count)]
    tx.execute(update(sources).where(sources.c.id == source_id).values(next_turn=turns[-1]))
    return turns


def owners(tx: Transaction, document_ids: Sequence[int], *, more: Sequence[int] = ()) -> dict[int, list[int]]:
    """Lock the sources of these documents, and the sources ``more``; returns source id -> its documents among these.

    Call it before locking operations, documents or units.
    """
    mine = among(documents.c.id, sorted(document_ids))
    query = select(documents.c.source_id, documents.c.id).where(mine)
    owned: dict[int, list[int]] = {}
    for source_id, document_id in tx.execute(query.order_by(documents.c.source_id, documents.c.id)):
        owned.setdefault(source_id, []).append(document_id)
    locked = select(sources.c.id).where(sources.c.id.in_(sorted({*owned, *more}))).order_by(sources.c.id)
    tx.execute(locked.with_for_update()).all()
    return owned


def take_each(
    tx: Transaction, owned: Mapping[int, Sequence[int]], only: Container[int] | None = None
) -> dict[int, float]:
    """Take turns for the documents that :func:`owners` returned, or ``only`` for some; returns document id -> turn."""
    places: dict[int, float] = {}
    for source_id, ids in owned.items():
        mine = ids if only is None else [one for one in ids if one in only]
        places |= zip(mine, take(tx, source_id, len(mine)), strict=True)
    return places


def hasten(tx: Transaction, source_id: int) -> bool:
    """Let the units of a source go ahead if it is small; returns whether they do.

    Call it at the end of an enumeration, with the source locked. Only then is its size known: the first documents of a
    large enumeration arrive as fast as those of a small one.
    """
    weight, next_turn = _account(tx, source_id)
    time = virtual_time(tx)
    ahead = (next_turn - time) * weight
    if not 0 < ahead <= SMALL or ahead + _others_ahead(tx, source_id, time) > TOGETHER:
        return False
    here = and_(work.c.source_id == source_id, work.c.stage.in_(STAGES), work.c.lane < REBUILD_LANE)
    waits = and_(here, work.c.held_by.is_(None), work.c.turn > time)
    in_order = select(work.c.document_id).where(waits).order_by(work.c.document_id, work.c.generation_id)
    tx.execute(in_order.with_for_update()).all()
    tx.execute(update(work).where(waits).values(turn=sooner(work.c.turn, time)))
    tx.execute(update(sources).where(sources.c.id == source_id).values(hastened_upto=next_turn))
    return True


def sooner(turn: _Turn, time: float) -> _Turn:
    """The earlier turn of a unit that goes ahead: its distance from the virtual time is divided by :data:`SHARE`."""
    return time + (turn - time) / SHARE


def _account(tx: Transaction, source_id: int) -> tuple[float, float]:
    """A source's weight, and the last turn that was given to it."""
    row = select(sources.c.weight, sources.c.next_turn).where(sources.c.id == source_id)
    weight, next_turn = tx.execute(row).one()
    return weight, next_turn


def _others_ahead(tx: Transaction, source_id: int, time: float) -> float:
    """The number of units that the other small sources are ahead of their shares, in total.

    Documents that came to these sources after they went ahead do not count: their turns are normal, and delay nobody.
    """
    ahead = type_coerce((sources.c.hastened_upto - time) * sources.c.weight, Float)
    others = and_(sources.c.id != source_id, sources.c.hastened_upto > time)
    return tx.execute(select(func.coalesce(func.sum(ahead), 0.0)).where(others)).scalar_one()


def virtual_time(tx: Transaction) -> float:
    """The lowest turn of all units that could be worked on; without such a unit, the last turn that was given.

    Units that are blocked, held, suspect or waiting for their next try are left out, since they would stop the virtual
    time. Deletions count: they have turns like other units.
    """
    first = tx.execute(select(func.min(_FIRST_TURNS.c.turn))).scalar_one_or_none()
    if first is None:
        first = tx.execute(select(func.max(sources.c.next_turn))).scalar_one_or_none()
    return first or 0.0


def _first_turns() -> Subquery:
    """The lowest turn of each stage and lane.

    An index answers this. Reading all waiting units would make each arrival of a source more expensive the more of the
    source has arrived. One subquery serves all twelve pairs: PostgreSQL took ten times as long to plan twelve
    subqueries, which was most of the query's time.
    """
    pairs = [(stage, lane) for stage in STAGES for lane in LANES]
    each = values(column("stage", Text), column("lane", Integer), name="each_lane").data(pairs).cte()
    free = and_(work.c.blocked.is_(None), work.c.held_by.is_(None), work.c.suspect == false())
    moving = and_(free, work.c.not_before <= now(), NOT_RETIRED)  # units of a cancelled build are never claimed
    here = and_(work.c.stage == each.c.stage, work.c.lane == each.c.lane, moving)
    first = select(work.c.turn).where(here).order_by(work.c.turn).limit(1).correlate(each)
    return select(first.scalar_subquery().label("turn")).select_from(each).subquery()


_FIRST_TURNS = _first_turns()
