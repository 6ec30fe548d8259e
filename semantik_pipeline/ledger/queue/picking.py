"""Which units of a stage a claim takes, and in what order.

Statements are put together once for each stage and set of exceptions, and kept: that takes longer than to run them.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Row, Select, and_, bindparam, func, or_, select

from semantik_pipeline.ledger.database.connection import Transaction, hurry, now
from semantik_pipeline.ledger.queue import pending_holds
from semantik_pipeline.ledger.queue.keys import Key
from semantik_pipeline.ledger.tables import work

#: Suspects go in no order, those that were charged last: so a run of kills from outside hits other documents each time,
#: while the one that kills its worker meets every one of them alone.
_SUSPECTS = (work.c.attempts, func.random())

#: Units that a claim looks at first where their chunks bound it: it locks what it looks at, and others pass that by.
FIRST = 32

#: Statements that are kept: four stages, good units and suspects, with what a fleet's generations are in its time.
KEPT = 256


@dataclass(frozen=True, kw_only=True)
class Without:
    """What a claim leaves to others: units of these generations, and those that wait for one of these ``reasons``."""

    generations: tuple[int, ...] = ()
    reasons: tuple[str, ...] = ()


#: A claim that leaves nothing to others.
ALL = Without()


def claimable(stage: str, without: Without, stopped: Collection[int] = ()) -> ColumnElement[bool]:
    """Condition: units of the stage that may be claimed now, ``without`` what is left to others and those of the operations
    ``stopped``."""
    free = and_(work.c.lease_token.is_(None), work.c.held_by.is_(None))
    due = and_(work.c.stage == stage, free, work.c.not_before <= now())
    if without.generations:
        due = and_(due, work.c.generation_id.not_in(without.generations))
    if without.reasons:
        due = and_(due, or_(work.c.blocked.is_(None), work.c.blocked.not_in(without.reasons)))
    return and_(due, pending_holds.others(stopped)) if stopped else due


def pick(
    tx: Transaction, stage: str, suspect: bool, limit: int, max_chunks: int | None, without: Without
) -> tuple[list[Key], bool]:
    """Keys of units that are claimable, in order of the keys and locked, and whether there may be more: ``limit`` at most,
    of ``max_chunks`` together, but one whatever its size."""
    most = limit if max_chunks is None else min(limit, FIRST)
    while True:
        rows = _first(tx, stage, suspect, without, most)
        picked = _within(rows, max_chunks)
        if len(picked) < len(rows) or len(rows) < most or most == limit:
            return sorted(picked), len(picked) < len(rows) or len(picked) == limit
        seem_needed = 1 + most * (max_chunks or 0) // max(sum(row.chunks for row in rows), 1)
        most = min(limit, max(2 * most, seem_needed))


def _first(tx: Transaction, stage: str, suspect: bool, without: Without, most: int) -> Sequence[Row]:
    rows = tx.execute(_query(stage, suspect, without, ()), {"most": most}).all()
    if not (rows and rows[0].stopped):  # what it saw at once with the units, so none of them is to wait since
        return rows
    stopped = tuple(pending_holds.stopped(tx))
    return tx.execute(_query(stage, suspect, without, stopped), {"most": most}).all()


def _within(rows: Sequence[Row], max_chunks: int | None) -> list[Key]:
    """Keys of the first of these units that have so many chunks together, or of one, whatever its size."""
    picked: list[Key] = []
    total = 0
    for document, generation, chunks, *_ in rows:
        total += chunks
        if picked and max_chunks is not None and total > max_chunks:
            break
        picked.append(Key(document, generation))
    return picked


@functools.lru_cache(KEPT)
def _query(stage: str, suspect: bool, without: Without, stopped: tuple[int, ...]) -> Select:
    """Document, generation and number of chunks of the first ``most`` units, and whether units of operations are to wait
    that don't follow yet. Good units are leased in a hurry: it is said with them, for a statement of its own costs more."""
    told = [pending_holds.STOPPED.label("stopped"), *([] if suspect else [hurry()])]
    return (
        select(work.c.document_id, work.c.generation_id, work.c.chunks, *told)
        .where(claimable(stage, without, stopped), work.c.suspect == suspect)
        .order_by(*(_SUSPECTS if suspect else (work.c.lane, work.c.turn)))
        .limit(bindparam("most"))
        .with_for_update(skip_locked=True, of=work)
    )
