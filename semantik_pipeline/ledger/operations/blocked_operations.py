"""Why an unfinished operation makes no progress: no worker can claim what is left of it, or none may."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select

from semantik_pipeline.ledger.database.connection import Transaction, now
from semantik_pipeline.ledger.generations import builds
from semantik_pipeline.ledger.generations.builds import Build
from semantik_pipeline.ledger.ingestion.sync import is_blocked
from semantik_pipeline.ledger.operations.items import owned
from semantik_pipeline.ledger.operations.lifecycle import unfinished_items
from semantik_pipeline.ledger.queue.work import STAGES
from semantik_pipeline.ledger.queue.workers import WorkerRow, refusal
from semantik_pipeline.ledger.tables import operation_items, operation_sources, sources, work

#: Seconds for which a unit that waited for a service, or for something that workers lack, still counts as blocked after
#: its wait is over: it may take that long until a worker tries it again (``stages/left.py``).
RECENT = 60.0


def reason(tx: Transaction, operation_id: int, workers: Sequence[WorkerRow] | None) -> str | None:
    """What blocks the operation; None if a worker holds some of its units or sources, or could claim some.

    ``workers``: the living workers of the fleet; None where one process does everything. The call is cheap while the
    operation makes progress, and reads every remaining unit when it does not.
    """
    build = builds.of_operation(tx, operation_id)
    if build is not None and build.phase != "building":
        verifying = build.phase == "verifying" and workers is not None
        return refusal(workers or (), "embed", build.generation_id) if verifying else None
    mine = _mine(operation_id) if build is None else builds.awaited(build, but_arrivals=True)
    if _in_hand(tx, operation_id, mine):
        return None
    reading, obstacle = _sources(tx, operation_id, workers)
    if reading:
        return None
    if workers is None and _free(tx, mine):
        return None
    reasons = {}
    for group in _groups(tx, operation_id, build):
        found = _obstacle(group, workers)
        if found is None:
            return None
        reasons[found] = group.units
    return max(reasons, key=lambda one: reasons[one]) if reasons else obstacle


def _in_hand(tx: Transaction, operation_id: int, mine: ColumnElement[bool]) -> bool:
    leased = work.c.lease_token > ""  # means IS NOT NULL, in a form for which SQLite uses the index
    if tx.execute(select(work.c.document_id).where(leased, mine).limit(1)).first():
        return True
    read = and_(sources.c.operation_id == operation_id, sources.c.lease_token.is_not(None))
    return tx.execute(select(sources.c.id).where(read).limit(1)).first() is not None


def _free(tx: Transaction, mine: ColumnElement[bool]) -> bool:
    free = and_(work.c.blocked.is_(None), work.c.held_by.is_(None))
    return tx.execute(select(work.c.document_id).where(free, mine).limit(1)).first() is not None


def _mine(operation_id: int) -> ColumnElement[bool]:
    """Condition: unfinished units of the operation. A build waits for more: see :func:`builds.awaited`."""
    return and_(work.c.stage.in_(STAGES), owned(operation_id))


def _sources(tx: Transaction, operation_id: int, workers: Sequence[WorkerRow] | None) -> tuple[bool, str | None]:
    """Whether a worker can read on in a source of the operation; if not, why one of its sources is not read."""
    mine = and_(
        operation_sources.c.operation_id == operation_id,
        operation_sources.c.state == "running",
        operation_sources.c.source_id == sources.c.id,
    )
    columns = (sources.c.id, sources.c.name, sources.c.paused, sources.c.held_by, sources.c.error)
    rows = tx.execute(select(*columns).join(operation_sources, mine).order_by(sources.c.id)).all()
    told = [_unread(row, workers) for row in rows if row.held_by is None or row.paused is not None]
    return None in told, next(filter(None, told), None)


def _unread(source: Any, workers: Sequence[WorkerRow] | None) -> str | None:
    """Why no worker reads a source; None if one could."""
    if source.paused is not None:
        return f"the source {source.name} is paused: {source.paused}"
    if workers is not None:
        return refusal(workers, "sync", source.id)
    return f"the source {source.name} can't be read: {source.error['message']}" if is_blocked(source.error) else None


def _groups(tx: Transaction, operation_id: int, build: Build | None) -> Sequence[Any]:
    """Counts of the remaining units, by stage and generation."""
    waits = or_(work.c.blocked.is_not(None), work.c.held_by.is_not(None))
    query = select(
        work.c.stage,
        work.c.generation_id,
        func.count().label("units"),
        func.count().filter(waits).label("waiting"),
        func.max(work.c.blocked).label("blocked"),
        func.max(work.c.held_by).label("held_by"),
        func.count(work.c.held_by).label("held"),
        func.max(work.c.not_before - now()).label("wait"),
    ).group_by(work.c.stage, work.c.generation_id)
    if build is not None:
        return tx.execute(query.where(builds.awaited(build, but_arrivals=True))).all()
    return tx.execute(query.join(operation_items, unfinished_items(operation_id))).all()


def _obstacle(group: Any, workers: Sequence[WorkerRow] | None) -> str | None:
    """Why no worker claims a group of units (one stage and generation); None if one could.

    ``group.blocked`` is the reason of the last worker that looked at them. In a fleet another worker may claim them, so
    the reason counts only while they wait for their next try (a service did not answer), and RECENT seconds longer.
    """
    if workers is not None:
        refused = refusal(workers, group.stage, group.generation_id)
        if refused is not None:
            return refused
    if group.waiting < group.units:
        return None
    if group.held:
        documents = "a document is" if group.held == 1 else f"{group.held} documents are"
        return f"{documents} held by operation {group.held_by}: `semantik operations resume {group.held_by}`"
    return group.blocked if workers is None or group.wait > -RECENT else None
