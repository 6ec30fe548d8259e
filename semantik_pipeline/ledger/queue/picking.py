"""Which units of a stage a claim takes, and in what order.

Statements are cached for each stage and set of exceptions, since building one takes longer than running it.
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

#: Suspects are taken in random order, those with fewer attempts first. So a series of kills from outside hits a
#: different document each time, while a document that kills its worker is charged every time that it runs alone.
_SUSPECTS = (work.c.attempts, func.random())

#: Units that a claim reads at first if ``max_chunks`` bounds it. It locks what it reads, and other claims skip those.
FIRST = 32

#: Statements that are cached: for four stages, good units and suspects, and the sets of generations over time.
KEPT = 256


@dataclass(frozen=True, kw_only=True)
class Without:
    """Units that a claim leaves to other workers: those of these generations, and those blocked for these reasons."""

    generations: tuple[int, ...] = ()
    reasons: tuple[str, ...] = ()


#: For a claim that leaves nothing to other workers.
ALL = Without()


def claimable(stage: str, without: Without, stopped: Collection[int] = ()) -> ColumnElement[bool]:
    """Condition: units of the stage that may be claimed now, except ``without`` and those of operations ``stopped``."""
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
    """Lock claimable units; returns their keys, sorted, and whether there may be more units.

    It takes at most ``limit`` units, with at most ``max_chunks`` chunks in total, but always one, whatever its size.
    """
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
    if not (rows and rows[0].stopped):  # read in the same statement as the units, so none of these has to wait
        return rows
    stopped = tuple(pending_holds.stopped(tx))
    return tx.execute(_query(stage, suspect, without, stopped), {"most": most}).all()


def _within(rows: Sequence[Row], max_chunks: int | None) -> list[Key]:
    """Keys of the first units with at most ``max_chunks`` chunks in total, but of at least one, whatever its size."""
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
    """Document, generation and number of chunks of the first ``most`` units, and :data:`pending_holds.STOPPED`.

    For good units the statement also contains :class:`hurry`, so that the lease commits without waiting for the disk;
    a separate statement would cost more.
    """
    told = [pending_holds.STOPPED.label("stopped"), *([] if suspect else [hurry()])]
    return (
        select(work.c.document_id, work.c.generation_id, work.c.chunks, *told)
        .where(claimable(stage, without, stopped), work.c.suspect == suspect)
        .order_by(*(_SUSPECTS if suspect else (work.c.lane, work.c.turn)))
        .limit(bindparam("most"))
        .with_for_update(skip_locked=True, of=work)
    )
