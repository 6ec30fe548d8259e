"""Whether a stage has units that can be claimed now. Takes no locks."""

from __future__ import annotations

import functools

from sqlalchemy import Select, and_, bindparam, false, select

from semantik_pipeline.ledger.catalog.lineage import RETIRED
from semantik_pipeline.ledger.database.connection import Transaction
from semantik_pipeline.ledger.queue import pending_holds
from semantik_pipeline.ledger.queue.picking import ALL, KEPT, Without, claimable
from semantik_pipeline.ledger.queue.work import HASTENED, STAGES
from semantik_pipeline.ledger.tables import sources, work


def at(tx: Transaction, stage: str, *, without: Without = ALL) -> tuple[bool, bool]:
    """Whether the stage has good units, and whether it has suspects, to claim now. ``without``: units to ignore."""
    good, suspects, stopped = tx.execute(_question(stage, without, ())).one()
    if stopped and (good or suspects):
        good, suspects, _ = tx.execute(_question(stage, without, tuple(pending_holds.stopped(tx)))).one()
    return bool(good), bool(suspects)


@functools.lru_cache(KEPT)
def _question(stage: str, without: Without, stopped: tuple[int, ...]) -> Select:
    which = claimable(stage, without, stopped)
    # in index order: for EXISTS, PostgreSQL reads the whole table as long as its statistics say that many units wait
    first = select(work.c.document_id).where(which).order_by(work.c.lane, work.c.turn).limit(1)
    good, suspects = (first.where(work.c.suspect == suspect).scalar_subquery() for suspect in (False, True))
    return select(good.is_not(None), suspects.is_not(None), pending_holds.STOPPED)


def hastened(tx: Transaction, stage: str, *, front: int, without: Without = ALL) -> bool:
    """Whether any of the next ``front`` good units of a stage goes ahead as a unit of a small source
    (:func:`fair_queue.hasten`)."""
    return tx.execute(_hastened(stage, without), {"front": front}).first() is not None


@functools.lru_cache(KEPT)
def _hastened(stage: str, without: Without) -> Select:
    ready = and_(claimable(stage, without), work.c.suspect == false())
    goes = select(HASTENED.label("goes")).select_from(work.join(sources, work.c.source_id == sources.c.id))
    first = goes.where(ready).order_by(work.c.lane, work.c.turn).limit(bindparam("front")).subquery()
    return select(first.c.goes).where(first.c.goes).limit(1)


def stages(tx: Transaction) -> list[str]:
    """Stages that have units to claim now, suspects included. Retired generations do not count."""
    live = Without(generations=tuple(sorted(tx.execute(RETIRED).scalars())))
    return [stage for stage in STAGES if any(at(tx, stage, without=live))]
