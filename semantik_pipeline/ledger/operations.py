"""Operations: what was asked for, how far it is, how it ended. Every count is derived from rows, none is kept beside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, case, func, insert, select, update

from semantik_pipeline.errors import UsageError
from semantik_pipeline.ledger.connection import Transaction, insert_for, now
from semantik_pipeline.ledger.cursors import Cursor
from semantik_pipeline.ledger.tables import (
    documents,
    generations,
    operation_items,
    operation_sources,
    operations,
    sources,
    work,
)
from semantik_pipeline.ledger.work import STAGES


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far an operation is. ``stages`` counts units by stage; ``chunks`` those of its documents that have any."""

    operation_id: int
    kind: str
    state: str
    outcome: str | None
    result: dict[str, Any] | None
    sources_running: int
    seen: int
    stages: dict[str, int]
    chunks: int
    chunks_embedded: int
    errors: list[str]


def begin(tx: Transaction, collection_id: int, kind: str) -> int:
    """A new operation, running."""
    values = {"collection_id": collection_id, "kind": kind, "state": "running", "created_at": now()}
    return tx.execute(insert(operations).values(**values).returning(operations.c.id)).scalar_one()


def request_sync(
    tx: Transaction, operation_id: int, source_id: int, *, lane: int, allow_deletions: bool, full: bool = False
) -> None:
    """Make a source due as part of the operation. A sync that was in hand is taken over; its run begins anew.

    ``full``: the connector names everything, also where it could tell what changed since the last run.
    """
    columns = (sources.c.operation_id, sources.c.cursor, sources.c.name, sources.c.removed_at)
    in_hand = select(*columns).where(sources.c.id == source_id)
    # sources are locked before what belongs to them
    earlier, cursor, name, removed_at = tx.execute(in_hand.with_for_update()).one()
    if removed_at is not None:
        raise UsageError(
            f"The source {name} is being removed.", "Add it again when it is gone: `semantik sources list`."
        )
    if earlier is not None:
        mine = and_(operation_sources.c.operation_id == earlier, operation_sources.c.source_id == source_id)
        taken = f"taken over by operation {operation_id}"
        tx.execute(update(operation_sources).where(mine).values(state="finished", error=taken))
    tx.execute(
        update(sources)
        .where(sources.c.id == source_id)
        .values(
            operation_id=operation_id,
            cursor=None if full else Cursor.of(cursor).before_run().stored(),
            lane=lane,
            allow_deletions=allow_deletions,
            paused=None,
            not_before=0,
            attempts=0,
            error=None,
            problems=None,
            lease_token=None,
            lease_until=None,
        )
    )
    tx.execute(insert(operation_sources).values(operation_id=operation_id, source_id=source_id, state="running"))


def note_items(tx: Transaction, operation_id: int, items: Sequence[tuple[int, str, int]]) -> None:
    """The operation owns these revisions: ``(document id, kind, revision)``. A document that changes twice within it
    keeps its first kind."""
    rows = [
        {"operation_id": operation_id, "document_id": document_id, "kind": kind, "revision": revision}
        for document_id, kind, revision in sorted(items)
    ]
    if rows:
        statement = insert_for(tx, operation_items)
        changes = {"revision": statement.excluded.revision}
        keys = ["operation_id", "document_id"]
        tx.execute(statement.on_conflict_do_update(index_elements=keys, set_=changes), rows)


def settle(tx: Transaction) -> list[int]:
    """Finish the running operations that have nothing left to do. Call after the commit that may have been the last."""
    running = select(operations.c.id).where(operations.c.state == "running").with_for_update(skip_locked=True)
    finished = []
    for operation_id in tx.execute(running).scalars().all():
        if not _unfinished(tx, operation_id):
            _finish(tx, operation_id)
            finished.append(operation_id)
    return finished


def _unfinished(tx: Transaction, operation_id: int) -> bool:
    by_source = and_(operation_sources.c.operation_id == operation_id, operation_sources.c.state == "running")
    if tx.execute(select(operation_sources.c.source_id).where(by_source).limit(1)).first():
        return True
    mine = and_(
        operation_items.c.operation_id == operation_id,
        operation_items.c.document_id == work.c.document_id,
        operation_items.c.revision == work.c.revision,
        work.c.stage.in_(STAGES),
    )
    return (
        tx.execute(select(work.c.document_id).select_from(work).join(operation_items, mine).limit(1)).first()
        is not None
    )


def _finish(tx: Transaction, operation_id: int) -> None:
    result = counts(tx, operation_id)
    row = tx.execute(select(operations.c.created_at, now()).where(operations.c.id == operation_id)).one()
    result["seconds"] = round(row[1] - row[0], 3)
    outcome = "degraded" if result["documents"]["quarantined"] else "succeeded"
    outcome = "failed" if result["errors"] else outcome
    values = {"state": "finished", "outcome": outcome, "result": result, "finished_at": now()}
    tx.execute(update(operations).where(operations.c.id == operation_id).values(**values))


def _seen(operation_id: int) -> Any:
    """Documents that the operation's runs have seen (not those it deleted)."""
    return and_(
        operation_sources.c.operation_id == operation_id,
        documents.c.source_id == operation_sources.c.source_id,
        documents.c.seen_run == operation_sources.c.run,
        documents.c.deleted_at.is_(None),
    )


def counts(tx: Transaction, operation_id: int) -> dict[str, Any]:
    """Documents and chunks of an operation. ``seen`` = new + changed + unchanged + skipped; quarantined are among them."""
    item = and_(operation_items.c.operation_id == operation_id, operation_items.c.document_id == documents.c.id)
    active = _active_work()
    category = case(
        (work.c.stage == "skipped", "skipped"),
        (work.c.goal == "skipped", "skipped"),
        (operation_items.c.kind.in_(("new", "changed")), operation_items.c.kind),
        else_="unchanged",
    )
    query = (
        select(
            category.label("category"),
            func.count().label("documents"),
            func.sum(case((work.c.stage == "quarantined", 1), else_=0)).label("quarantined"),
            func.coalesce(func.sum(work.c.chunks), 0).label("chunks"),
            func.coalesce(func.sum(case((operation_items.c.kind.is_not(None), work.c.embedded), else_=0)), 0).label(
                "embedded"
            ),
        )
        .select_from(operation_sources)
        .join(documents, _seen(operation_id))
        .join(work, active)
        .outerjoin(operation_items, item)
        .group_by(category)
    )
    found = {row.category: row for row in tx.execute(query)}

    def count(name: str) -> int:
        return found[name].documents if name in found else 0

    deleted = and_(operation_items.c.operation_id == operation_id, operation_items.c.kind == "deleted")
    total = sum(row.chunks for row in found.values())
    embedded = sum(row.embedded for row in found.values())
    return {
        "documents": {
            "seen": sum(row.documents for row in found.values()),
            "new": count("new"),
            "changed": count("changed"),
            "unchanged": count("unchanged"),
            "deleted": tx.execute(select(func.count()).select_from(operation_items).where(deleted)).scalar_one(),
            "skipped": count("skipped"),
            "quarantined": int(sum(row.quarantined for row in found.values())),
        },
        "chunks": {"total": int(total), "embedded": int(embedded), "reused": int(total - embedded)},
        "errors": source_errors(tx, operation_id),
    }


def _active_work() -> Any:
    """The document's unit in its collection's active generation."""
    active = (
        select(generations.c.id)
        .where(generations.c.collection_id == documents.c.collection_id, generations.c.state == "active")
        .scalar_subquery()
    )
    return and_(work.c.document_id == documents.c.id, work.c.generation_id == active)


def source_errors(tx: Transaction, operation_id: int) -> list[str]:
    failed = and_(operation_sources.c.operation_id == operation_id, operation_sources.c.state == "failed")
    return list(tx.execute(select(operation_sources.c.error).where(failed)).scalars())


def progress(tx: Transaction, operation_id: int) -> Progress:
    """How far the operation is; cheap enough to ask several times a second."""
    row = tx.execute(select(operations).where(operations.c.id == operation_id)).mappings().one()
    mine = and_(operation_items.c.operation_id == operation_id, operation_items.c.document_id == work.c.document_id)
    stages = tx.execute(
        select(work.c.stage, func.count(), func.sum(work.c.chunks), func.sum(work.c.embedded))
        .select_from(operation_items)
        .join(work, mine)
        .group_by(work.c.stage)
    ).all()
    running = and_(operation_sources.c.operation_id == operation_id, operation_sources.c.state == "running")
    seen = select(func.count()).select_from(operation_sources).join(documents, _seen(operation_id))
    return Progress(
        operation_id=operation_id,
        kind=row["kind"],
        state=row["state"],
        outcome=row["outcome"],
        result=row["result"],
        sources_running=tx.execute(select(func.count()).select_from(operation_sources).where(running)).scalar_one(),
        seen=tx.execute(seen).scalar_one(),
        stages={stage: count for stage, count, _, _ in stages},
        chunks=int(sum(chunks or 0 for _, _, chunks, _ in stages)),
        chunks_embedded=int(sum(embedded or 0 for _, _, _, embedded in stages)),
        errors=source_errors(tx, operation_id),
    )


def state(tx: Transaction, operation_id: int) -> str:
    return tx.execute(select(operations.c.state).where(operations.c.id == operation_id)).scalar_one()


def ready(tx: Transaction) -> list[int]:
    """Running operations that have nothing left to do; takes no lock."""
    running = tx.execute(select(operations.c.id).where(operations.c.state == "running")).scalars().all()
    return [operation_id for operation_id in running if not _unfinished(tx, operation_id)]


def abandoned(tx: Transaction, collection_id: int | None = None) -> list[int]:
    """Operations that are still running, oldest first: what a killed process left."""
    which = operations.c.state == "running"
    if collection_id is not None:
        which = and_(which, operations.c.collection_id == collection_id)
    return list(tx.execute(select(operations.c.id).where(which).order_by(operations.c.id)).scalars())


def problems(tx: Transaction, operation_id: int) -> list[str]:
    """What the operation's sources could not read."""
    query = (
        select(sources.c.problems)
        .join(operation_sources, operation_sources.c.source_id == sources.c.id)
        .where(operation_sources.c.operation_id == operation_id)
    )
    return [line for lines in tx.execute(query).scalars() for line in lines or []]


def all_blocked(tx: Transaction, operation_id: int) -> str | None:
    """A reason, if every unfinished unit of the operation is blocked."""
    mine = and_(
        operation_items.c.operation_id == operation_id,
        operation_items.c.document_id == work.c.document_id,
        work.c.stage.in_(STAGES),
    )
    query = select(func.count(), func.count(work.c.blocked), func.max(work.c.blocked))
    units, blocked, reason = tx.execute(query.select_from(work).join(operation_items, mine)).one()
    return reason if units and units == blocked else None
