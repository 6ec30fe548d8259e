"""Builds: generations that are being built beside the active one.

A generation is ``building``, then ``active`` (search reads it), then ``kept`` (still written to, so that a rollback
loses nothing), then ``retired`` (its rows and its index are being removed).

A transaction that writes revisions takes a shared lock on the collection (:func:`revisions.live_generations`). One that
changes the set of its generations takes an exclusive lock (:func:`lock`). So every revision is written to all live
generations.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, insert, or_, select, update

from semantik_pipeline.errors import Conflict
from semantik_pipeline.ledger.catalog.collections import Collection, index_name
from semantik_pipeline.ledger.database.connection import Transaction, now
from semantik_pipeline.ledger.queue.work import STAGES
from semantik_pipeline.ledger.tables import chunks, collections, documents, generations, operations, work


@dataclass(frozen=True, kw_only=True)
class Frozen:
    """The frozen settings of a new generation.

    ``wanted``: the collection's configuration. ``config``: the frozen options that shape output. ``fingerprints``:
    stage -> fingerprint. ``plugins``: plugin -> version.
    """

    wanted: dict[str, Any]
    config: dict[str, Any]
    fingerprints: dict[str, Any]
    plugins: dict[str, str]
    dimension: int


@dataclass(frozen=True, kw_only=True)
class Build:
    """A generation that is being built. ``progress``: its ``phase`` (backfilling, building, verifying), and values that
    the phases store."""

    generation_id: int
    collection_id: int
    collection: str
    operation_id: int
    operation_state: str
    active_generation: int
    progress: dict[str, Any] = field(default_factory=dict)

    @property
    def phase(self) -> str:
        return self.progress.get("phase", "backfilling")


def lock(tx: Transaction, collection_id: int) -> None:
    """Lock the collection: no other transaction can write revisions of it or change its generations."""
    mine = select(collections.c.id).where(collections.c.id == collection_id)
    tx.execute(mine.with_for_update(key_share=True)).one()  # key_share: rows that refer to it can still be written


def begin(tx: Transaction, collection: Collection, frozen: Frozen, operation_id: int) -> int:
    """Create a generation in state ``building`` and return its id. From then on, new revisions are written to it, too.

    Raises Conflict, naming the other operation, if the collection is already being rebuilt.
    """
    lock(tx, collection.id)
    there = and_(generations.c.collection_id == collection.id, generations.c.state == "building")
    other = tx.execute(select(generations.c.operation_id).where(there)).scalar_one_or_none()
    if other is not None:
        raise Conflict(
            f"The collection {collection.name!r} is already being reindexed (reindex-{other}).",
            f"Wait for it (`semantik operations show {other} --watch`), or cancel it.",
        )
    values = {
        "collection_id": collection.id,
        "state": "building",
        "index_name": index_name(tx, collection.id, collection.name),
        "operation_id": operation_id,
        "build": {"phase": "backfilling", "config_before": collection.config},
        "created_at": now(),
        **vars(frozen),
    }
    generation_id = tx.execute(insert(generations).values(**values).returning(generations.c.id)).scalar_one()
    tx.execute(update(operations).where(operations.c.id == operation_id).values(generation_id=generation_id))
    return generation_id


_BUILD = (
    select(
        generations.c.id,
        generations.c.collection_id,
        collections.c.name,
        generations.c.operation_id,
        operations.c.state,
        collections.c.active_generation,
        generations.c.build,
    )
    .join(collections, collections.c.id == generations.c.collection_id)
    .join(operations, operations.c.id == generations.c.operation_id)
    .where(generations.c.state == "building")
    .order_by(generations.c.id)
)


def building(tx: Transaction) -> list[Build]:
    """Return all builds in progress, ordered by generation."""
    return [_build(row) for row in tx.execute(_BUILD)]


def of_operation(tx: Transaction, operation_id: int) -> Build | None:
    """Return the build in progress that belongs to the operation, or None."""
    row = tx.execute(_BUILD.where(generations.c.operation_id == operation_id)).first()
    return _build(row) if row else None


def take(tx: Transaction, generation_id: int) -> Build | None:
    """Lock the build and its operation for this transaction and return the build.

    None: another transaction has locked one of them, or the build has ended.
    """
    mine = _BUILD.where(generations.c.id == generation_id)
    # key_share: rows that refer to them can still be written
    mine = mine.with_for_update(of=[generations, operations], key_share=True, skip_locked=True)
    row = tx.execute(mine).first()
    return _build(row) if row else None


def _build(row: Any) -> Build:
    generation_id, collection_id, collection, operation_id, state, active, progress = row
    return Build(
        generation_id=generation_id,
        collection_id=collection_id,
        collection=collection,
        operation_id=operation_id,
        operation_state=state,
        active_generation=active,
        progress=progress or {},
    )


def note(tx: Transaction, generation_id: int, **progress: Any) -> None:
    """Update values in the build's progress."""
    kept = select(generations.c.build).where(generations.c.id == generation_id)
    build = {**(tx.execute(kept.with_for_update(key_share=True)).scalar_one_or_none() or {}), **progress}
    tx.execute(update(generations).where(generations.c.id == generation_id).values(build=build))


def begun_with(tx: Transaction, collection_id: int, before: Any, after: Any) -> None:
    """Record that the collection's configuration changed from ``before`` to ``after`` by a switch, not by a person.

    A build that began with ``before`` counts as begun with ``after``. So a later switch to it still replaces the
    collection's configuration, as nobody has chosen another one since.
    """
    mine = and_(generations.c.collection_id == collection_id, generations.c.state == "building")
    for generation_id, build in tx.execute(select(generations.c.id, generations.c.build).where(mine)).all():
        if (build or {}).get("config_before") == before:
            note(tx, generation_id, config_before=after)


def taken_to_verify(tx: Transaction, build: Build, worker: str, *, seconds: float) -> bool:
    """Reserve the build's verification for this worker for ``seconds``. Call with the build taken.

    Returns False if it is reserved for another worker.
    """
    verifier = build.progress.get("verifier") or {}
    clock = tx.execute(select(now())).scalar_one()
    if verifier.get("worker") not in (None, worker) and verifier.get("until", 0) > clock:
        return False
    since = build.progress.get("verifying_since") or clock
    note(tx, build.generation_id, verifier={"worker": worker, "until": clock + seconds}, verifying_since=since)
    return True


def seconds_verifying(tx: Transaction, build: Build) -> float:
    """Return the seconds since the build's verification first began."""
    clock = tx.execute(select(now())).scalar_one()
    return clock - (build.progress.get("verifying_since") or clock)


def accepts_losses(tx: Transaction, build: Build) -> bool:
    """Whether the request for the build accepted that documents may be missing from it."""
    detail = tx.execute(select(operations.c.detail).where(operations.c.id == build.operation_id)).scalar_one()
    return bool((detail or {}).get("accept_losses"))


# -- remaining work ----------------------------------------------------------------------------------------------------


def _live(build: Build) -> ColumnElement[bool]:
    return and_(documents.c.collection_id == build.collection_id, documents.c.deleted_at.is_(None))


def awaited(build: Build, *, but_arrivals: bool) -> ColumnElement[bool]:
    """Return the condition for units of the build that are still at a stage, deletions included.

    ``but_arrivals`` leaves out units of new revisions that the active generation has not finished either, unless search
    finds an older revision of the document in the active generation and none in the build.
    """
    mine = and_(work.c.generation_id == build.generation_id, work.c.stage.in_(STAGES))
    if not but_arrivals:
        return mine
    beside = work.alias()
    moving = select(beside.c.document_id).where(
        beside.c.document_id == work.c.document_id,
        beside.c.generation_id == build.active_generation,
        beside.c.stage.in_(STAGES),
        or_(beside.c.indexed_epoch.is_(None), work.c.indexed_epoch.is_not(None)),
    )
    return and_(mine, ~moving.correlate(work).exists())


def is_unfinished(tx: Transaction, build: Build, *, but_arrivals: bool = False) -> bool:
    """Whether the build waits for any unit (:func:`awaited`).

    One query per stage, ordered like an index, so that only the first unit is read. With a single query PostgreSQL
    scans the whole table, as long as its statistics say that there are many such units.
    """
    mine = awaited(build, but_arrivals=but_arrivals)
    first = select(work.c.document_id).order_by(work.c.stage).limit(1)
    return any(tx.execute(first.where(mine, work.c.stage.between(one, one))).first() for one in STAGES)


def left(tx: Transaction, generation_id: int) -> int:
    """Return the number of units of a generation that are still at a stage."""
    mine = and_(work.c.generation_id == generation_id, work.c.stage.in_(STAGES))
    return tx.execute(select(func.count()).select_from(work).where(mine)).scalar_one()


def losses(tx: Transaction, build: Build, *, limit: int) -> tuple[int, list[tuple[str, str]]]:
    """Return the documents that search finds now but would not find in the build: their number, and ``(unique id,
    reason)`` of up to ``limit``. Documents that are still at a stage are :func:`awaited`, not lost."""
    mine = work.alias()
    found_now = and_(
        work.c.generation_id == build.active_generation, work.c.goal == "indexed", work.c.indexed_epoch.is_not(None)
    )
    there = and_(mine.c.document_id == work.c.document_id, mine.c.generation_id == build.generation_id)
    ended = and_(mine.c.goal == "indexed", mine.c.indexed_epoch.is_(None), mine.c.stage.not_in(STAGES))
    lost = or_(mine.c.document_id.is_(None), ended)
    query = (
        select(documents.c.unique_id, mine.c.error, mine.c.stage)
        .select_from(documents)
        .join(work, work.c.document_id == documents.c.id)
        .outerjoin(mine, there)
        .where(_live(build), found_now, lost)
    )
    total = tx.execute(select(func.count()).select_from(query.subquery())).scalar_one()
    some = tx.execute(query.order_by(documents.c.id).limit(limit)).all()
    return total, [(row.unique_id, _why(row.error, row.stage)) for row in some]


def _why(error: dict[str, Any] | None, stage: str | None) -> str:
    if error:
        return f"{error.get('stage')}: {error.get('message')}"
    return f"it is at {stage}" if stage else "it was never built"


def probes(tx: Transaction, generation_id: int, count: int) -> list[str]:
    """Return texts of ``count`` random chunks that search can find in the generation (all, if there are fewer)."""
    shown = and_(
        work.c.generation_id == generation_id,
        work.c.goal == "indexed",
        chunks.c.generation_id == generation_id,
        chunks.c.document_id == work.c.document_id,
        chunks.c.epoch == work.c.indexed_chunks_epoch,
    )
    alive = and_(documents.c.id == work.c.document_id, documents.c.deleted_at.is_(None))
    query = select(chunks.c.text).select_from(work.join(chunks, shown).join(documents, alive))
    return list(tx.execute(query.order_by(func.random()).limit(count)).scalars())


def counts(tx: Transaction, generation_id: int) -> dict[str, Any]:
    """Return the numbers of documents and chunks of a generation, in the format of an operation's counts."""

    def number(condition: Any, what: Any = 1) -> Any:
        return func.coalesce(func.sum(case((condition, what), else_=0)), 0)

    alive = documents.c.deleted_at.is_(None)
    query = select(
        number(alive),
        number(and_(alive, work.c.goal == "skipped")),
        number(and_(alive, work.c.stage == "quarantined")),
        number(~alive),
        number(alive, work.c.chunks),
        number(alive, work.c.embedded),
    ).join_from(work, documents, documents.c.id == work.c.document_id)
    row = tx.execute(query.where(work.c.generation_id == generation_id)).one()
    seen, skipped, quarantined, deleted, total, embedded = (int(value) for value in row)
    unchanged = {"new": 0, "changed": 0, "unchanged": seen - skipped}
    return {
        "documents": {
            "seen": seen,
            **unchanged,
            "deleted": deleted,
            "skipped": skipped,
            "quarantined": quarantined,
        },
        "chunks": {"total": total, "embedded": embedded, "reused": total - embedded},
    }
