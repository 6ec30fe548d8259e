"""What waits, what is in hand, and what is stuck, over all collections: what operators look at first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import and_, case, func, or_, select

from semantik_pipeline.ledger.catalog.lineage import living
from semantik_pipeline.ledger.database.connection import Transaction, now
from semantik_pipeline.ledger.queue.work import STAGES
from semantik_pipeline.ledger.queue.workers import WorkerRow, refusal
from semantik_pipeline.ledger.tables import collections, documents, generations, operations, sources, work


def by_stage(tx: Transaction) -> dict[str, dict[str, float]]:
    """stage -> units ``waiting``, ``delayed`` (until a time), ``in_progress``, ``paused`` (with their operation),
    ``suspects``, and ``oldest_seconds`` (since the waiting unit that waits longest came to the stage)."""
    free = and_(work.c.lease_token.is_(None), work.c.held_by.is_(None))
    due = and_(free, work.c.not_before <= now())

    def number(condition: Any) -> Any:
        return func.sum(case((condition, 1), else_=0))

    query = (
        select(
            work.c.stage,
            number(due),
            number(and_(free, work.c.not_before > now())),
            number(work.c.lease_token.is_not(None)),
            number(work.c.held_by.is_not(None)),
            number(work.c.suspect),
            func.max(case((due, now() - work.c.updated_at), else_=0)),
        )
        .where(work.c.stage.in_(STAGES), living(tx))
        .group_by(work.c.stage)
    )
    names = ("waiting", "delayed", "in_progress", "paused", "suspects", "oldest_seconds")
    found = {stage: dict(zip(names, values, strict=True)) for stage, *values in tx.execute(query)}
    return {stage: found.get(stage, dict.fromkeys(names, 0)) for stage in STAGES}


def operations_open(tx: Transaction) -> dict[str, int]:
    """Operations that are not finished: ``running`` and ``paused``."""
    open_ones = operations.c.state != "finished"
    found = dict(
        map(tuple, tx.execute(select(operations.c.state, func.count()).where(open_ones).group_by(operations.c.state)))
    )
    return {name: found.get(name, 0) for name in ("running", "paused")}


def blocked(tx: Transaction, workers: Sequence[WorkerRow]) -> list[dict[str, Any]]:
    """Stages of generations that have units which no living worker takes, with the reason:
    ``{"generation", "collection", "stage", "units", "reason"}``; and sources that are to be read and that none reads:
    stage ``sync``, the ``source`` by its name, no generation. They go on by themselves once somebody can."""
    query = (
        select(work.c.generation_id, collections.c.name, work.c.stage, func.count())
        .join(generations, generations.c.id == work.c.generation_id)
        .join(collections, collections.c.id == generations.c.collection_id)
        .where(work.c.stage.in_(STAGES), work.c.lease_token.is_(None), living(tx))
        .group_by(work.c.generation_id, collections.c.name, work.c.stage)
    )
    found = []
    for generation, collection, stage, units in tx.execute(query):
        if (reason := _nobody(workers, stage, generation)) is not None:
            place = {"generation": generation, "collection": collection, "stage": stage}
            found.append({**place, "units": units, "reason": reason})
    return found + _unread(tx, workers)


def _unread(tx: Transaction, workers: Sequence[WorkerRow]) -> list[dict[str, Any]]:
    """Sources of which a sync is asked for, or due, and that no living worker reads."""
    asked = and_(sources.c.operation_id.is_not(None), sources.c.lease_token.is_(None), sources.c.held_by.is_(None))
    due = and_(sources.c.operation_id.is_(None), sources.c.due_at <= now())
    open_to_syncs = and_(sources.c.paused.is_(None), sources.c.removed_at.is_(None), collections.c.trashed_at.is_(None))
    query = (
        select(sources.c.id, sources.c.name, collections.c.name.label("collection"))
        .join(collections, collections.c.id == sources.c.collection_id)
        .where(open_to_syncs, or_(asked, due))
        .order_by(sources.c.id)
    )
    found = []
    for row in tx.execute(query):
        if (reason := _nobody(workers, "sync", row.id)) is not None:
            place = {"generation": None, "collection": row.collection, "stage": "sync", "source": row.name}
            found.append({**place, "units": 1, "reason": reason})
    return found


def _nobody(workers: Sequence[WorkerRow], stage: str, which: int) -> str | None:
    """Why none of the workers takes a stage of a generation, or reads a source; None if one does."""
    found = refusal(workers, stage, which)
    return "no worker is up" if found == "" else found


def stuck(tx: Transaction, *, longer_than: float, limit: int) -> list[dict[str, Any]]:
    """Units that make no way, and why: failing ones that wait for their next try, suspects that wait to run alone, and
    those that a service or a plugin keeps waiting, ``longer_than`` seconds after they last moved."""
    troubled = or_(work.c.attempts > 0, work.c.suspect, work.c.blocked.is_not(None))
    query = (
        select(
            documents.c.unique_id,
            work.c.stage,
            work.c.attempts,
            work.c.suspect,
            work.c.blocked,
            work.c.error,
            (now() - work.c.updated_at).label("seconds"),
        )
        .join(documents, documents.c.id == work.c.document_id)
        .where(work.c.stage.in_(STAGES), living(tx), troubled, work.c.updated_at < now() - longer_than)
        .order_by(work.c.updated_at)
        .limit(limit)
    )
    return [
        {
            "document": row.unique_id,
            "stage": row.stage,
            "attempts": row.attempts,
            "seconds": round(row.seconds, 1),
            "reason": row.blocked or (row.error or {}).get("message") or "it runs alone when its turn comes",
        }
        for row in tx.execute(query)
    ]
