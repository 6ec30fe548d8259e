"""What a sync writes: sources and their slices, documents and their revisions, what vanished."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import and_, bindparam, func, insert, select, update

from semantik_pipeline.ledger.connection import Transaction, insert_for, now
from semantik_pipeline.ledger.tables import (
    documents,
    generations,
    operation_items,
    operation_sources,
    sources,
    work,
)
from semantik_pipeline.ledger.work import FREED, STAGES

SOURCE_FREED = {"lease_token": None, "lease_until": None}


@dataclass(frozen=True, kw_only=True)
class SourceClaim:
    """One slice of one source, held under a token."""

    token: str
    source_id: int
    collection_id: int
    operation_id: int
    connector: str
    name: str
    config: dict[str, Any]
    run: int
    cursor: Any
    lane: int
    attempts: int
    allow_deletions: bool
    problems: list[str]


@dataclass(frozen=True, kw_only=True)
class Known:
    """What the ledger knows of a document that a connector names."""

    document_id: int
    content_hash: str | None
    change_hint: str | None
    revision: int
    deleted: bool
    failed_with: str | None  # the plugins of the stage that quarantined it


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """A document as a sync found it: content stored, or (``content_hash`` None) a reason why there is none."""

    unique_id: str
    content_hash: str | None
    change_hint: str | None = None
    source_type: str | None = None
    media_type: str | None = None
    file_path: str | None = None
    size: int | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    principals: list[str] | None = None
    skipped: str | None = None
    error: dict[str, Any] | None = None


def claim_source(tx: Transaction, *, lease: float) -> SourceClaim | None:
    """Take the next source that has a sync to do. Its first slice begins a new run."""
    due = and_(
        sources.c.operation_id.is_not(None),
        sources.c.paused.is_(None),
        sources.c.not_before <= now(),
        sources.c.lease_token.is_(None),
    )
    query = select(sources).where(due).order_by(sources.c.lane, sources.c.next_turn).limit(1)
    row = tx.execute(query.with_for_update(skip_locked=True)).mappings().first()
    if row is None:
        return None
    token = uuid.uuid4().hex
    held = and_(operation_sources.c.operation_id == row["operation_id"], operation_sources.c.source_id == row["id"])
    run = tx.execute(select(operation_sources.c.run).where(held)).scalar_one_or_none()
    if run is None:
        run = row["run"] + 1
        tx.execute(update(operation_sources).where(held).values(run=run))
    changes = {"lease_token": token, "lease_until": now() + lease, "run": run}
    tx.execute(update(sources).where(sources.c.id == row["id"]).values(**changes))
    return SourceClaim(
        token=token,
        source_id=row["id"],
        run=run,
        problems=row["problems"] or [],
        **{name: row[name] for name in _CLAIMED},
    )


_CLAIMED = (
    "collection_id",
    "operation_id",
    "connector",
    "name",
    "config",
    "cursor",
    "lane",
    "attempts",
    "allow_deletions",
)


def source_held(tx: Transaction, claim: SourceClaim) -> bool:
    mine = and_(sources.c.id == claim.source_id, sources.c.lease_token == claim.token)
    return tx.execute(select(sources.c.id).where(mine).with_for_update()).first() is not None


def renew_source(tx: Transaction, token: str, lease: float) -> int:
    return tx.execute(update(sources).where(sources.c.lease_token == token).values(lease_until=now() + lease)).rowcount


def change_source(tx: Transaction, source_id: int, **values: Any) -> None:
    tx.execute(update(sources).where(sources.c.id == source_id).values(**values))


def pause_slice(tx: Transaction, claim: SourceClaim, *, delay: float = 0, **values: Any) -> None:
    """End a slice; the source is due again after ``delay`` seconds."""
    change_source(tx, claim.source_id, **SOURCE_FREED, not_before=now() + delay, **values)


def finish_source(tx: Transaction, claim: SourceClaim, *, error: str | None = None, **values: Any) -> None:
    """The source's part of its operation is over."""
    _finish_source(tx, claim.source_id, claim.operation_id, error, **values)


def _finish_source(tx: Transaction, source_id: int, operation_id: int, error: str | None, **values: Any) -> None:
    change_source(
        tx,
        source_id,
        **SOURCE_FREED,
        operation_id=None,
        cursor=None,
        attempts=0,
        not_before=0,
        synced_at=now(),
        **values,
    )
    mine = and_(operation_sources.c.operation_id == operation_id, operation_sources.c.source_id == source_id)
    tx.execute(update(operation_sources).where(mine).values(state="failed" if error else "finished", error=error))


def expire_sources(tx: Transaction, *, max_attempts: int, everything: bool = False) -> int:
    """Free sources whose worker died; the slice starts over at its last checkpoint. One on which worker after worker
    dies without a checkpoint has failed."""
    dead = sources.c.lease_token.is_not(None)
    if not everything:
        dead = and_(dead, sources.c.lease_until < now())
    columns = (sources.c.id, sources.c.name, sources.c.operation_id, sources.c.attempts)
    rows = tx.execute(select(*columns).where(dead).order_by(sources.c.id).with_for_update(skip_locked=True)).all()
    for source_id, name, operation_id, attempts in rows:
        if attempts + 1 < max_attempts:
            change_source(tx, source_id, **SOURCE_FREED, attempts=attempts + 1)
        else:
            error = f"{name}: {attempts + 1} workers died or stopped while they read it."
            _finish_source(tx, source_id, operation_id, error)
    return len(rows)


def sources_due(tx: Transaction) -> bool:
    ready = and_(sources.c.operation_id.is_not(None), sources.c.paused.is_(None), sources.c.not_before <= now())
    return tx.execute(select(sources.c.id).where(ready, sources.c.lease_token.is_(None)).limit(1)).first() is not None


def known(tx: Transaction, source_id: int, unique_ids: Sequence[str]) -> dict[str, Known]:
    """The documents of those names that the source has, or had."""
    failed = (
        select(work.c.error)
        .where(work.c.document_id == documents.c.id, work.c.stage == "quarantined")
        .limit(1)
        .scalar_subquery()
    )
    columns = documents.c
    query = select(
        columns.unique_id,
        columns.id,
        columns.content_hash,
        columns.change_hint,
        columns.revision,
        columns.deleted_at,
        failed,
    ).where(columns.source_id == source_id, columns.unique_id.in_(unique_ids))
    return {
        row[0]: Known(
            document_id=row[1],
            content_hash=row[2],
            change_hint=row[3],
            revision=row[4],
            deleted=row[5] is not None,
            failed_with=(row[6] or {}).get("plugins"),
        )
        for row in tx.execute(query)
    }


def descriptions(tx: Transaction, document_ids: Sequence[int]) -> dict[int, tuple[Any, ...]]:
    """document id -> what :func:`description` says of it."""
    columns = (documents.c.id, documents.c.metadata, documents.c.principals, documents.c.media_type)
    rows = tx.execute(select(*columns).where(documents.c.id.in_(document_ids))) if document_ids else ()
    return {row[0]: _described(*row[1:]) for row in rows}


def description(arrival: Arrival) -> tuple[Any, ...]:
    """What is said of a document beside its content. A new time of modification alone is no change."""
    return _described(arrival.metadata, arrival.principals, arrival.media_type)


def _described(metadata: dict[str, Any], principals: list[str] | None, media_type: str | None) -> tuple[Any, ...]:
    return {name: value for name, value in metadata.items() if name != "modified"}, principals, media_type


def mark_seen(tx: Transaction, run: int, document_ids: Sequence[int]) -> None:
    """Unchanged documents of this run."""
    if document_ids:
        tx.execute(
            update(documents).where(documents.c.id == bindparam("d")).values(seen_run=run),
            [{"d": identity} for identity in sorted(document_ids)],
        )


def mark_touched(tx: Transaction, run: int, rows: Sequence[tuple[int, str | None]]) -> None:
    """Documents whose change hint is new and whose content is not: ``(document_id, change_hint)``."""
    if rows:
        tx.execute(
            update(documents).where(documents.c.id == bindparam("d")).values(seen_run=run, change_hint=bindparam("h")),
            [{"d": identity, "h": hint} for identity, hint in sorted(rows)],
        )


def adopt(tx: Transaction, claim: SourceClaim) -> int:
    """What earlier operations left on its way in this source becomes this operation's to wait for."""
    on_their_way = and_(work.c.source_id == claim.source_id, work.c.stage.in_(STAGES))
    rows = tx.execute(select(work.c.document_id, work.c.revision).where(on_their_way)).all()
    note_items(tx, claim.operation_id, [(row.document_id, "resumed", row.revision) for row in rows])
    return len(rows)


def live_generations(tx: Transaction, collection_id: int) -> list[int]:
    """Generations that are written to."""
    query = select(generations.c.id).where(
        generations.c.collection_id == collection_id, generations.c.state.in_(("active", "building"))
    )
    return list(tx.execute(query.order_by(generations.c.id)).scalars())


def arrive(tx: Transaction, claim: SourceClaim, arrivals: Sequence[Arrival], before: dict[str, Known]) -> None:
    """Write new revisions and queue them at ``chunk`` (or at their end, where there is nothing to index)."""
    arrivals = sorted(arrivals, key=lambda one: one.unique_id)
    identities = _write_documents(tx, claim, arrivals, before)
    turns = _turns(tx, claim, len(arrivals))
    generation_ids = live_generations(tx, claim.collection_id)
    items, revisions = [], []
    for arrival, turn in zip(arrivals, turns, strict=True):
        known_as = before.get(arrival.unique_id)
        document_id, revision = identities[arrival.unique_id]
        kind = "new" if known_as is None or known_as.deleted else "changed"
        items.append((document_id, kind, revision))
        revisions += [
            Revision(
                document_id=document_id,
                generation_id=generation_id,
                source_id=claim.source_id,
                revision=revision,
                lane=claim.lane,
                turn=turn,
                goal="skipped" if arrival.skipped is not None else "indexed",
                reason=arrival.skipped,
                error=arrival.error,
            )
            for generation_id in generation_ids
        ]
    note_items(tx, claim.operation_id, items)
    revise(tx, revisions)


def _write_documents(
    tx: Transaction, claim: SourceClaim, arrivals: Sequence[Arrival], before: dict[str, Known]
) -> dict[str, tuple[int, int]]:
    """unique id -> (document id, revision). The revision counts on from the ledger's, not from what was ``before``: a
    deletion may have come between."""
    locked = select(documents.c.id, documents.c.unique_id, documents.c.revision).where(
        documents.c.id.in_(
            [before[arrival.unique_id].document_id for arrival in arrivals if arrival.unique_id in before]
        )
    )
    identities = {
        name: (document_id, revision + 1)
        for document_id, name, revision in tx.execute(locked.order_by(documents.c.id).with_for_update())
    }
    fresh, changed = [], []
    for arrival in arrivals:
        values = {name: getattr(arrival, name) for name in _CONTENT}
        if arrival.unique_id in before:
            document_id, revision = identities[arrival.unique_id]
            changed.append({"d": document_id, "revision": revision, **values})
        else:
            fresh.append({"unique_id": arrival.unique_id, "revision": 1, **values})
    always = {"title": None, "seen_run": claim.run, "deleted_at": None, "changed_at": now()}
    if changed:
        named = {name: bindparam(name) for name in ("revision", *_CONTENT)}
        tx.execute(update(documents).where(documents.c.id == bindparam("d")).values(**named, **always), changed)
    if fresh:
        owner = {"source_id": claim.source_id, "collection_id": claim.collection_id, "created_at": now()}
        statement = insert(documents).values(**owner, **always).returning(documents.c.unique_id, documents.c.id)
        identities |= {name: (document_id, 1) for name, document_id in tx.execute(statement, fresh)}
    return identities


_CONTENT = (
    "content_hash",
    "change_hint",
    "source_type",
    "media_type",
    "file_path",
    "size",
    "metadata",
    "principals",
)


@dataclass(frozen=True, kw_only=True)
class Revision:
    """What a unit becomes when its document has a new revision.

    ``goal`` is what its end means: ``indexed``, or ``skipped`` and ``deleted``, which have no text. With ``error`` it
    is in quarantine from the start, and what was indexed stays.
    """

    document_id: int
    generation_id: int
    source_id: int
    revision: int
    lane: int
    turn: float
    goal: str = "indexed"
    reason: str | None = None
    error: dict[str, Any] | None = None


def revise(tx: Transaction, revisions: Sequence[Revision]) -> None:
    """Give units their new revisions: a higher epoch, no lease, no attempts, and the stage where they begin.

    A revision without text begins at ``upsert``, which removes what the store has; one that was skipped before it
    ever was in the store is at its end at once.
    """
    before = _before(tx, revisions)
    groups: dict[tuple[bool, bool], list[dict[str, Any]]] = {}
    for one in sorted(revisions, key=lambda one: (one.document_id, one.generation_id)):
        key = (one.document_id, one.generation_id)
        values = _revised(one, before.get(key, _Before()))
        groups.setdefault((key in before, one.goal == "indexed"), []).append(values)
    by_key = and_(work.c.document_id == bindparam("document_id_"), work.c.generation_id == bindparam("generation_id_"))
    for (exists, _), rows in groups.items():
        if exists:
            names = [name for name in rows[0] if name not in ("document_id", "generation_id")]
            keyed = [{f"{name}_": row[name] for name in row} for row in rows]
            changes = {name: bindparam(f"{name}_") for name in names}
            tx.execute(update(work).where(by_key).values(epoch=work.c.epoch + 1, updated_at=now(), **changes), keyed)
        else:
            tx.execute(insert(work).values(epoch=1, updated_at=now()), rows)


@dataclass(frozen=True, kw_only=True)
class _Before:
    """A unit before its revision: whether the store may hold points of it, and whether nobody knows which."""

    touched: bool = False
    unsure: bool = False


def _before(tx: Transaction, revisions: Sequence[Revision]) -> dict[tuple[int, int], _Before]:
    """Units that exist, locked."""
    columns = (work.c.document_id, work.c.generation_id, work.c.touched, work.c.progress)
    query = select(*columns).where(work.c.document_id.in_(sorted({one.document_id for one in revisions})))
    in_order = query.order_by(work.c.document_id, work.c.generation_id)
    return {
        (row[0], row[1]): _Before(touched=row[2], unsure=_unsure(row[3] or {}))
        for row in tx.execute(in_order.with_for_update())
    }


def _unsure(progress: dict[str, Any]) -> bool:
    """Its points were being written, or were to be written anew."""
    return bool(progress.get("begun") or progress.get("rewrite"))


def _revised(one: Revision, before: _Before) -> dict[str, Any]:
    empty = one.goal != "indexed"
    clears = one.goal == "deleted" or before.touched
    stage = ("upsert" if clears else one.goal) if empty else "chunk"
    values = {
        "document_id": one.document_id,
        "generation_id": one.generation_id,
        "source_id": one.source_id,
        "revision": one.revision,
        "stage": "quarantined" if one.error else stage,
        "goal": one.goal,
        "reason": one.reason,
        "lane": one.lane,
        "turn": one.turn,
        "error": {"stage": "sync", **one.error} if one.error else None,
        **FREED,
        **_FRESH,
        "progress": {"rewrite": True} if before.unsure else None,
    }
    return values | {"chunks": 0, "chunks_epoch": None} if empty else values


_FRESH = {"suspect": False, "attempts": 0, "notes": None, "embedded": 0}


def _turns(tx: Transaction, claim: SourceClaim, count: int) -> list[float]:
    """Places in the queue: start-time fair queueing, a unit costs its source 1/weight of virtual time.

    A source that was idle starts at the virtual time of the units that wait, so it can't save up turns.
    """
    weight, next_turn = tx.execute(
        select(sources.c.weight, sources.c.next_turn).where(sources.c.id == claim.source_id)
    ).one()
    waiting = select(func.min(work.c.turn)).where(work.c.stage.in_(STAGES))
    start = max(next_turn, tx.execute(waiting).scalar_one_or_none() or 0.0)
    turns = [start + (place + 1) / weight for place in range(count)]
    if turns:
        change_source(tx, claim.source_id, next_turn=turns[-1])
    return turns


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


def absent(source_id: int, run: int) -> Any:
    """Condition: live documents of a source that a run did not see."""
    return and_(documents.c.source_id == source_id, documents.c.seen_run < run, documents.c.deleted_at.is_(None))


def count_absent(tx: Transaction, source_id: int, run: int) -> tuple[int, int]:
    """(documents that the run did not see, all live documents) of a source."""
    live = and_(documents.c.source_id == source_id, documents.c.deleted_at.is_(None))
    total = tx.execute(select(func.count()).select_from(documents).where(live)).scalar_one()
    gone = tx.execute(select(func.count()).select_from(documents).where(absent(source_id, run))).scalar_one()
    return gone, total


def remove(tx: Transaction, claim: SourceClaim, *, unique_ids: Sequence[str] | None = None, limit: int = 500) -> int:
    """Delete documents: those named, or (None) up to ``limit`` of those that the run did not see."""
    if unique_ids is None:
        which = absent(claim.source_id, claim.run)
    else:
        live = and_(documents.c.source_id == claim.source_id, documents.c.deleted_at.is_(None))
        which = and_(live, documents.c.unique_id.in_(unique_ids))
    rows = tx.execute(select(documents.c.id).where(which).order_by(documents.c.id).limit(limit)).scalars().all()
    turns = _turns(tx, claim, len(rows))
    delete_documents(tx, dict(zip(rows, turns, strict=True)), operation_id=claim.operation_id, lane=claim.lane)
    return len(rows)


#: What a deleted document said. Its content hash goes last, with its bodies.
_FORGOTTEN: dict[str, Any] = {"change_hint": None, "title": None, "file_path": None, "metadata": {}, "principals": None}


def delete_documents(tx: Transaction, turns: dict[int, float], *, operation_id: int, lane: int) -> None:
    """Delete the documents that are the keys of ``turns`` (their places in the queue).

    A deletion is a revision without chunks, in every generation that has the document.
    """
    if not turns:
        return
    in_order = select(documents.c.id).where(documents.c.id.in_(sorted(turns))).order_by(documents.c.id)
    tx.execute(in_order.with_for_update()).all()
    rows = tx.execute(
        update(documents)
        .where(documents.c.id.in_(sorted(turns)))
        .values(deleted_at=now(), revision=documents.c.revision + 1, changed_at=now(), **_FORGOTTEN)
        .returning(documents.c.id, documents.c.source_id, documents.c.revision)
    ).all()
    note_items(tx, operation_id, [(row.id, "deleted", row.revision) for row in rows])
    by_id = {row.id: row for row in rows}
    units = select(work.c.document_id, work.c.generation_id).where(work.c.document_id.in_(sorted(turns)))
    revise(
        tx,
        [
            Revision(
                document_id=document_id,
                generation_id=generation_id,
                source_id=by_id[document_id].source_id,
                revision=by_id[document_id].revision,
                lane=lane,
                turn=turns[document_id],
                goal="deleted",
            )
            for document_id, generation_id in tx.execute(units).all()
        ],
    )


def retry_noted(tx: Transaction, claim: SourceClaim, *, older_than: float) -> int:
    """Send indexed documents on which an extractor failed, at least so many seconds ago, through ``extract`` again."""
    noted = and_(
        work.c.source_id == claim.source_id,
        work.c.stage == "indexed",
        work.c.notes.is_not(None),
        work.c.updated_at < now() - older_than,
    )
    changes = {"stage": "extract", "progress": {"rewrite": True}, "embedded": 0, "updated_at": now()}
    rows = tx.execute(update(work).where(noted).values(**changes).returning(work.c.document_id, work.c.revision)).all()
    note_items(tx, claim.operation_id, [(row.document_id, "retried", row.revision) for row in rows])
    return len(rows)


def set_title(tx: Transaction, document_id: int, revision: int, title: str | None) -> None:
    """The title that a parser found in this revision."""
    same = and_(documents.c.id == document_id, documents.c.revision == revision)
    tx.execute(update(documents).where(same).values(title=title))


def forget_hint(tx: Transaction, document_id: int, revision: int) -> None:
    """Let the next sync fetch the document, whatever its source's hint says, unless it has a newer revision."""
    same = and_(documents.c.id == document_id, documents.c.revision == revision)
    tx.execute(update(documents).where(same).values(change_hint=None, content_hash=None))


def retry_documents(tx: Transaction, document_ids: Sequence[int], *, operation_id: int, lane: int) -> None:
    """Begin these documents' units anew with a higher epoch. One without a stored body is left to the next sync of
    its source, which fetches it."""
    rows = tx.execute(
        select(documents.c.id, documents.c.source_id, documents.c.revision, documents.c.content_hash)
        .where(documents.c.id.in_(sorted(document_ids)), documents.c.deleted_at.is_(None))
        .order_by(documents.c.id)
        .with_for_update()
    ).all()
    note_items(tx, operation_id, [(row.id, "retried", row.revision) for row in rows if row.content_hash])
    for row in rows:
        if row.content_hash is None:
            forget_hint(tx, row.id, row.revision)
    owners = {row.id: row for row in rows if row.content_hash is not None}
    units = select(work.c.document_id, work.c.generation_id, work.c.turn).where(work.c.document_id.in_(sorted(owners)))
    revise(
        tx,
        [
            Revision(
                document_id=document_id,
                generation_id=generation_id,
                source_id=owners[document_id].source_id,
                revision=owners[document_id].revision,
                lane=lane,
                turn=turn,
            )
            for document_id, generation_id, turn in tx.execute(units).all()
        ],
    )


def drop_documents(tx: Transaction, document_ids: Sequence[int], *, operation_id: int, lane: int) -> None:
    """Delete these documents, whatever their sources say."""
    delete_documents(tx, dict.fromkeys(document_ids, 0.0), operation_id=operation_id, lane=lane)
