"""Places in the queue: start-time fair queueing. A unit costs its source 1/weight of virtual time.

A source of which all is here that is to come (:func:`hasten`), and which is small, is through before the others notice:
its units go :data:`SHARE` times as fast as its share lets them. They are charged as all others are, so one that comes
again and again gets no more than its share in the end; and how much may go ahead is bounded for each source and for all
together, so however many small ones come, a large one goes on.
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

#: Units that a small source may be ahead of its share: about what a claim of each stage takes.
SMALL = 128.0

#: Units that all small sources together may be ahead.
TOGETHER = 4 * SMALL

#: How many units of a small source go for one of a source of the same weight that is not.
SHARE = 8.0

_Turn = TypeVar("_Turn", float, Any)


def take(tx: Transaction, source_id: int, count: int) -> list[float]:
    """The next ``count`` turns of a source. Call with the source locked, or before what belongs to it is.

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
    """source id -> which of these documents it has, in order. The sources, and ``more`` of them, are locked from here on:
    call before operations, documents and units are."""
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
    """document id -> its turn, as :func:`take` gives them, of what :func:`owners` found; ``only`` those of these."""
    places: dict[int, float] = {}
    for source_id, ids in owned.items():
        mine = ids if only is None else [one for one in ids if one in only]
        places |= zip(mine, take(tx, source_id, len(mine)), strict=True)
    return places


def hasten(tx: Transaction, source_id: int) -> bool:
    """All is here that is to come of a source for now: if that is little, it goes first. Returns whether it does.

    Call with the source locked. Until its end nobody knows that an enumeration is small, and a large one would be as
    quick with its first documents as a small one that begins at the same moment.
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
    """The turn, behind the virtual time, of a unit that goes :data:`SHARE` times as fast."""
    return time + (turn - time) / SHARE


def _account(tx: Transaction, source_id: int) -> tuple[float, float]:
    """A source's weight and the last turn that it was given."""
    row = select(sources.c.weight, sources.c.next_turn).where(sources.c.id == source_id)
    weight, next_turn = tx.execute(row).one()
    return weight, next_turn


def _others_ahead(tx: Transaction, source_id: int, time: float) -> float:
    """Units that the other sources which went ahead of their shares are ahead together, whatever came to them since:
    those that did not have as many turns behind the time, and keep nobody waiting with them."""
    ahead = type_coerce((sources.c.hastened_upto - time) * sources.c.weight, Float)
    others = and_(sources.c.id != source_id, sources.c.hastened_upto > time)
    return tx.execute(select(func.coalesce(func.sum(ahead), 0.0)).where(others)).scalar_one()


def virtual_time(tx: Transaction) -> float:
    """The turn of the first unit that could be worked on, or, where there is none, the last one that was given.

    One that is blocked, held by an operation, or waits for its next try stands still, and time would with it. Deletions
    count: they have turns as all others have.
    """
    first = tx.execute(select(func.min(_FIRST_TURNS.c.turn))).scalar_one_or_none()
    if first is None:
        first = tx.execute(select(func.max(sources.c.next_turn))).scalar_one_or_none()
    return first or 0.0


def _first_turns() -> Subquery:
    """The lowest turn of each stage and lane. An index has them at hand; looking at every unit that waits would make
    a source's arrival dearer the more of it has arrived. One subquery for all twelve: PostgreSQL plans twelve of them for ten
    times as long, which was most of what this took."""
    pairs = [(stage, lane) for stage in STAGES for lane in LANES]
    each = values(column("stage", Text), column("lane", Integer), name="each_lane").data(pairs).cte()
    free = and_(work.c.blocked.is_(None), work.c.held_by.is_(None), work.c.suspect == false())
    moving = and_(free, work.c.not_before <= now(), NOT_RETIRED)  # nobody claims what a cancelled build has left
    here = and_(work.c.stage == each.c.stage, work.c.lane == each.c.lane, moving)
    first = select(work.c.turn).where(here).order_by(work.c.turn).limit(1).correlate(each)
    return select(first.scalar_subquery().label("turn")).select_from(each).subquery()


_FIRST_TURNS = _first_turns()
