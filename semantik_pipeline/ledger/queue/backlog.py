"""The backlog of all collections, for operators: what waits, what is in progress, and what is stuck."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, or_, select

from semantik_pipeline.ledger.catalog.lineage import living
from semantik_pipeline.ledger.database.connection import Transaction, now
from semantik_pipeline.ledger.queue import waiting_schedules
from semantik_pipeline.ledger.queue.work import STAGES
from semantik_pipeline.ledger.queue.workers import WorkerRow, refusal
from semantik_pipeline.ledger.tables import (
    collections,
    documents,
    generations,
    operation_sources,
    operations,
    sources,
    work,
)

#: The numbers that are reported for each stage.
COUNTS = ("waiting", "delayed", "in_progress", "paused", "suspects", "oldest_seconds")

#: Conditions on sources and their collections. _OPEN: syncs may run. _ASKED: a sync was requested, and no worker holds
#: it. _TIME_HAS_COME: a scheduled sync is due. _DUE: it may begin. _LEFT_OUT: it waits for a paused operation
#: (waiting_schedules.py).
_OPEN = and_(sources.c.paused.is_(None), sources.c.removed_at.is_(None), collections.c.trashed_at.is_(None))
_ASKED = and_(sources.c.operation_id.is_not(None), sources.c.lease_token.is_(None), sources.c.held_by.is_(None))
_TIME_HAS_COME = and_(sources.c.operation_id.is_(None), sources.c.due_at <= now())
_DUE = and_(_TIME_HAS_COME, waiting_schedules.holder().is_(None))
_LEFT_OUT = and_(_OPEN, _TIME_HAS_COME, waiting_schedules.holder().is_not(None))

#: The reason shown for a suspect that has no error.
ALONE = "it is processed alone when its turn comes"


def by_stage(tx: Transaction, *, generation_id: int | None = None) -> dict[str, dict[str, float]]:
    """Stage -> numbers of its units, of one generation or of all.

    ``waiting``: can be claimed now. ``delayed``: can be claimed later. ``in_progress``: leased. ``paused``: held by an
    operation. ``suspects``: all suspects among them. ``oldest_seconds``: how long the oldest waiting unit has been at
    the stage.
    """
    free = and_(work.c.lease_token.is_(None), work.c.held_by.is_(None))
    due = and_(free, work.c.not_before <= now())
    query = (
        select(
            work.c.stage,
            _number(due),
            _number(and_(free, work.c.not_before > now())),
            _number(work.c.lease_token.is_not(None)),
            _number(work.c.held_by.is_not(None)),
            _number(work.c.suspect),
            func.max(case((due, now() - work.c.updated_at), else_=0)),
        )
        .where(work.c.stage.in_(STAGES), living(tx))
        .group_by(work.c.stage)
    )
    if generation_id is not None:
        query = query.where(work.c.generation_id == generation_id)
    found = {stage: dict(zip(COUNTS, values, strict=True)) for stage, *values in tx.execute(query)}
    return {stage: found.get(stage, dict.fromkeys(COUNTS, 0)) for stage in STAGES}


def of_sync(tx: Transaction) -> dict[str, float]:
    """The numbers of :func:`by_stage` for the stage ``sync``, whose units are sources.

    A requested sync waits since its last slice, or since the request if no slice could begin yet. A scheduled sync
    waits since it became due.
    """
    free, ready = and_(_OPEN, _ASKED), sources.c.not_before <= now()
    waits = or_(and_(free, ready), and_(_OPEN, _DUE))
    untouched = or_(
        operation_sources.c.run.is_(None),
        sources.c.error["blocked"].as_boolean(),
        sources.c.not_before < operations.c.created_at,
    )
    since = case(
        (sources.c.operation_id.is_(None), sources.c.due_at),
        (untouched, operations.c.created_at),
        else_=sources.c.not_before,
    )
    in_hand = sources.c.operation_id.is_not(None)
    stopped = or_(and_(in_hand, or_(sources.c.held_by.is_not(None), sources.c.paused.is_not(None))), _LEFT_OUT)
    mine = and_(
        operation_sources.c.operation_id == sources.c.operation_id, operation_sources.c.source_id == sources.c.id
    )
    query = (
        select(
            _number(waits),
            _number(and_(free, ~ready)),
            _number(sources.c.lease_token.is_not(None)),
            _number(stopped),
            _number(sources.c.suspect),
            func.max(case((waits, now() - since), else_=0)),
        )
        .join_from(sources, collections, sources.c.collection_id == collections.c.id)
        .outerjoin(operations, operations.c.id == sources.c.operation_id)
        .outerjoin(operation_sources, mine)
    )
    return {name: found or 0 for name, found in zip(COUNTS, tx.execute(query).one(), strict=True)}


def _number(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.sum(case((condition, 1), else_=0))


def operations_open(tx: Transaction) -> dict[str, int]:
    """Numbers of unfinished operations, by state: ``running`` and ``paused``."""
    open_ones = operations.c.state != "finished"
    found = dict(
        map(tuple, tx.execute(select(operations.c.state, func.count()).where(open_ones).group_by(operations.c.state)))
    )
    return {name: found.get(name, 0) for name in ("running", "paused")}


def blocked(tx: Transaction, workers: Sequence[WorkerRow]) -> list[dict[str, Any]]:
    """Stages of generations with units that no living worker takes, and due sources that none reads, with the reasons.

    Entries: ``{"generation", "collection", "stage", "units", "reason"}``. Those of sources have the stage ``sync``, no
    generation, and the name of the ``source``. They continue by themselves once a worker can take them.
    """
    query = (
        select(work.c.generation_id, collections.c.name, work.c.stage, func.count())
        .join(generations, generations.c.id == work.c.generation_id)
        .join(collections, collections.c.id == generations.c.collection_id)
        .where(work.c.stage.in_(STAGES), work.c.lease_token.is_(None), living(tx))
        .group_by(work.c.generation_id, collections.c.name, work.c.stage)
    )
    found = []
    for generation, collection, stage, units in tx.execute(query):
        if (reason := refusal(workers, stage, generation)) is not None:
            place = {"generation": generation, "collection": collection, "stage": stage}
            found.append({**place, "units": units, "reason": reason})
    return found + _unread(tx, workers)


def _unread(tx: Transaction, workers: Sequence[WorkerRow]) -> list[dict[str, Any]]:
    """Sources with a requested or due sync that no living worker can run."""
    query = (
        select(sources.c.id, sources.c.name, collections.c.name.label("collection"))
        .join(collections, collections.c.id == sources.c.collection_id)
        .where(_OPEN, or_(_ASKED, _DUE))
        .order_by(sources.c.id)
    )
    found = []
    for row in tx.execute(query):
        if (reason := refusal(workers, "sync", row.id)) is not None:
            place = {"generation": None, "collection": row.collection, "stage": "sync", "source": row.name}
            found.append({**place, "units": 1, "reason": reason})
    return found


def stuck(tx: Transaction, *, longer_than: float, limit: int) -> list[dict[str, Any]]:
    """Units that have not moved for ``longer_than`` seconds, with the reason, the oldest first.

    These are failing units that wait for their next try, suspects that wait to run alone, and units that wait for a
    service or a plugin. Entries of the stage ``sync`` have the name of a ``source``, and None as ``document``.
    """
    found = _stuck_documents(tx, longer_than, limit) + _stuck_sources(tx, longer_than)
    return sorted(found, key=lambda one: -one["seconds"])[:limit]


def _stuck_documents(tx: Transaction, longer_than: float, limit: int) -> list[dict[str, Any]]:
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
            "reason": row.blocked or (row.error or {}).get("message") or ALONE,
        }
        for row in tx.execute(query)
    ]


def _stuck_sources(tx: Transaction, longer_than: float) -> list[dict[str, Any]]:
    """Stuck sources. A source last moved when a slice of it failed; without a failure, when its sync was requested."""
    error = sources.c.error
    troubled = or_(sources.c.attempts > 0, sources.c.suspect, error["blocked"].as_boolean())
    seconds = now() - func.coalesce(error["at"].as_float(), operations.c.created_at)
    query = (
        select(sources.c.name, sources.c.attempts, error, seconds.label("seconds"))
        .join_from(sources, collections, sources.c.collection_id == collections.c.id)
        .join(operations, operations.c.id == sources.c.operation_id)
        .where(_OPEN, _ASKED, troubled, seconds > longer_than)
        .order_by(sources.c.id)
    )
    return [
        {
            "document": None,
            "source": row.name,
            "stage": "sync",
            "attempts": row.attempts,
            "seconds": round(row.seconds, 1),
            "reason": (row.error or {}).get("message") or ALONE,
        }
        for row in tx.execute(query)
    ]
