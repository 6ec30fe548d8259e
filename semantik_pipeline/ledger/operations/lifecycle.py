"""Operations: their beginning, items, progress and end. Counts are derived from rows; none is maintained separately."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, insert, select, true, update

from semantik_pipeline.errors import UsageError
from semantik_pipeline.ledger.catalog.cursors import Cursor
from semantik_pipeline.ledger.database.bulk import among
from semantik_pipeline.ledger.database.connection import Transaction, insert_for, now, translating
from semantik_pipeline.ledger.operations import holds, outcomes
from semantik_pipeline.ledger.operations.items import concerned, joined
from semantik_pipeline.ledger.queue import pending_holds
from semantik_pipeline.ledger.queue.work import STAGES
from semantik_pipeline.ledger.tables import (
    collections,
    documents,
    generations,
    operation_items,
    operation_sources,
    operations,
    sources,
    work,
)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The progress of an operation.

    ``state``: running, paused, cancelling or finished. ``stages``: stage -> number of units. ``chunks``: the number of
    chunks of its documents so far. ``age``: seconds since it began, or its duration if it has ended. ``reason``: what
    blocks it. ``phase`` of a build: backfilling, building or verifying.
    """

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
    age: float = 0.0
    reason: str | None = None
    phase: str | None = None


#: Key in the ``detail`` of a rerun, which looks for its documents: the highest document id it has looked at. Absent
#: once it has looked at all (ledger/operations/reruns.py).
LOOKED_UPTO = "looked_upto"

#: Key in the ``detail`` of an operation that takes up what others left unfinished: its position. Absent once all is
#: taken up (ledger/ingestion/unfinished.py).
TAKING_UP = "taking_up"


def begin(tx: Transaction, collection_id: int, kind: str, *, detail: dict[str, Any] | None = None) -> int:
    """Create a running operation; returns its id. ``detail``: the parameters of the request, without secrets."""
    values = {"collection_id": collection_id, "kind": kind, "state": "running", "created_at": now(), "detail": detail}
    return tx.execute(insert(operations).values(**values).returning(operations.c.id)).scalar_one()


def request_sync(
    tx: Transaction, operation_id: int, source_id: int, *, lane: int, allow_deletions: bool, full: bool = False
) -> None:
    """Make a source due as part of the operation. Takes over a sync in progress, whose run starts again.

    ``full``: the connector enumerates everything, even if it could name only the changes since the last run.

    Raises UsageError if the source is being removed.
    """
    columns = (sources.c.operation_id, sources.c.cursor, sources.c.name, sources.c.removed_at, sources.c.trashed_at)
    in_hand = select(*columns).where(sources.c.id == source_id)
    # lock order: sources come before operations, documents and units
    earlier, cursor, name, removed_at, trashed_at = tx.execute(in_hand.with_for_update()).one()
    if earlier is None and trashed_at is not None:  # in the trash: documents return as they are named
        again = {"removed_at": None, "trashed_at": None, "due_at": case((sources.c.schedule.is_not(None), now()))}
        tx.execute(update(sources).where(sources.c.id == source_id).values(**again))
        full = True
    elif removed_at is not None:
        raise UsageError(
            f"The source {name} is being removed.", "Add it again once `semantik sources list` no longer shows it."
        )
    if earlier is not None:
        mine = and_(operation_sources.c.operation_id == earlier, operation_sources.c.source_id == source_id)
        taken = f"{name}: taken over by operation {operation_id}"
        tx.execute(update(operation_sources).where(mine).values(state="cancelled", error=taken))
    tx.execute(
        update(sources)
        .where(sources.c.id == source_id)
        .values(
            operation_id=operation_id,
            held_by=None,
            cursor=None if full else Cursor.of(cursor).before_run().stored(),
            lane=lane,
            allow_deletions=allow_deletions,
            paused=None,
            not_before=0,
            attempts=0,
            error=None,
            lease_token=None,
            lease_until=None,
        )
    )
    tx.execute(insert(operation_sources).values(operation_id=operation_id, source_id=source_id, state="running"))


def note_items(tx: Transaction, operation_id: int, items: Sequence[tuple[int, str, int]]) -> None:
    """Make the operation own revisions, given as ``(document id, kind, revision)``.

    A document that changes twice within the operation keeps its first kind.
    """
    rows = [
        {"operation_id": operation_id, "document_id": document_id, "kind": kind, "revision": revision}
        for document_id, kind, revision in sorted(items)
    ]
    if rows:
        statement = insert_for(tx, operation_items)
        changes = {"revision": statement.excluded.revision}
        keys = ["operation_id", "document_id"]
        tx.execute(statement.on_conflict_do_update(index_elements=keys, set_=changes), rows)


def of_documents(tx: Transaction, document_ids: Sequence[int]) -> dict[int, int]:
    """document id -> the newest unfinished operation that owns it. Documents without such an operation are left out."""
    mine = operation_items.c.document_id.in_(sorted(set(document_ids)))
    query = (
        select(operation_items.c.document_id, func.max(operations.c.id))
        .join(operations, operations.c.id == operation_items.c.operation_id)
        .where(mine, operations.c.state != "finished")
        .group_by(operation_items.c.document_id)
    )
    return dict(map(tuple, tx.execute(query).all()))


#: Makes the context in which an operation is examined, given its id. The context decides how an error is handled.
Each = Callable[[int], AbstractContextManager[None]]


def settle(tx: Transaction, operation_id: int) -> bool:
    """Finish the operation if it has nothing left to do; returns whether it is finished by this call.

    Call it in a separate transaction, after the commit of the work: if two workers counted inside the transactions of
    their work, each would see the other's unit as unfinished. Skips an operation that another process has locked.
    """
    mine = and_(operations.c.id == operation_id, operations.c.state != "finished")
    locked = tx.execute(select(operations.c.id).where(mine).with_for_update(skip_locked=True)).first()
    if locked is None or _unfinished(tx, operation_id):
        return False
    _finish(tx, operation_id)
    return True


def ready(tx: Transaction, *, each: Each) -> list[int]:
    """Ids of unfinished operations that have nothing left to do. Takes no lock."""
    left = tx.execute(select(operations.c.id).where(operations.c.state != "finished")).scalars().all()
    found = []
    for operation_id in left:
        with each(operation_id), translating(tx.engine):
            if not _unfinished(tx, operation_id):
                found.append(operation_id)
    return found


def _unfinished(tx: Transaction, operation_id: int) -> bool:
    parts = select(operation_sources.c.source_id, operation_sources.c.state)
    of_sources = tx.execute(parts.where(operation_sources.c.operation_id == operation_id)).all()
    if any(state == "running" for _, state in of_sources):
        return True
    columns = (operations.c.outcome, operations.c.generation_id, operations.c.detail)
    outcome, builds, detail = tx.execute(select(*columns).where(operations.c.id == operation_id)).one()
    if builds is not None:
        return True  # it finishes with its build (ledger/generations/builds.py)
    if pending_holds.PENDING in (detail or {}) or _is_gathering(outcome, detail):
        return True
    counts = ~holds.settled(operation_id) if outcome == "cancelled" else true()
    if of_sources and _on_its_way(tx, operation_id, [source_id for source_id, _ in of_sources], counts):
        return True
    left = and_(unfinished_items(operation_id), counts)
    found = select(work.c.document_id).select_from(work.join(operation_items, left))
    return tx.execute(found.limit(1)).first() is not None


def _is_gathering(outcome: str | None, detail: dict[str, Any] | None) -> bool:
    """Whether documents may still be added to the operation's items."""
    return outcome is None and not {LOOKED_UPTO, TAKING_UP}.isdisjoint(detail or {})


def _on_its_way(tx: Transaction, operation_id: int, source_ids: list[int], counts: ColumnElement[bool]) -> bool:
    """Whether the operation owns an unfinished unit of these sources.

    This is called often, so it reads only unfinished units. Their number is bounded, however large the operation is.
    """
    item = select(operation_items.c.document_id).where(joined(operation_id)).correlate(work).scalar_subquery()
    on_its_way = and_(among(work.c.source_id, sorted(source_ids)), work.c.stage.in_(STAGES))
    mine = select(work.c.document_id).where(on_its_way, counts, item.is_not(None))
    return tx.execute(mine.limit(1)).first() is not None


def unfinished_items(operation_id: int) -> ColumnElement[bool]:
    """Condition that joins the operation's items to their unfinished units."""
    return and_(joined(operation_id), work.c.stage.in_(STAGES))


def _finish(tx: Transaction, operation_id: int) -> None:
    counted = outcomes.counts(tx, operation_id)
    outcome = outcomes.outcome(tx, operation_id, counted)
    if outcome != "cancelled":
        holds.free(tx, operation_id)  # it may have been paused while workers finished its last units
    row = tx.execute(select(operations.c.created_at, now()).where(operations.c.id == operation_id)).one()
    result = {**counted, "seconds": round(row[1] - row[0], 3)}
    values = {"state": "finished", "outcome": outcome, "result": result, "finished_at": now()}
    tx.execute(update(operations).where(operations.c.id == operation_id).values(**values))


def progress(tx: Transaction, operation_id: int) -> Progress:
    """The progress of the operation. Cheap enough to call several times a second."""
    row = tx.execute(_PROGRESS.where(operations.c.id == operation_id)).one()
    mine = and_(
        operation_items.c.operation_id == operation_id,
        operation_items.c.document_id == work.c.document_id,
        work.c.generation_id == concerned(operation_id),
    )
    stages = tx.execute(
        select(work.c.stage, func.count(), func.sum(work.c.chunks), func.sum(work.c.embedded))
        .select_from(operation_items)
        .join(work, mine)
        .group_by(work.c.stage)
    ).all()
    running = and_(operation_sources.c.operation_id == operation_id, operation_sources.c.state == "running")
    phase = None if row.build is None or row.state == "finished" else row.build.get("phase")
    sources_running = tx.execute(select(func.count()).select_from(operation_sources).where(running)).scalar_one()
    return Progress(
        operation_id=operation_id,
        phase=phase,
        kind=row.kind,
        state="cancelling" if row.state != "finished" and row.outcome == "cancelled" else row.state,
        outcome=row.outcome if row.state == "finished" else None,
        result=row.result if row.state == "finished" else None,
        age=row.age,
        sources_running=sources_running + (phase == "backfilling" or _is_gathering(row.outcome, row.detail)),
        seen=_seen(tx, operation_id) + (_given(tx, operation_id) if row.kind in ("push", "permit") else 0),
        stages={stage: count for stage, count, _, _ in stages},
        chunks=int(sum(chunks or 0 for _, _, chunks, _ in stages)),
        chunks_embedded=int(sum(embedded or 0 for _, _, _, embedded in stages)),
        errors=outcomes.source_errors(tx, operation_id),
    )


_PROGRESS = select(
    operations.c.kind,
    operations.c.state,
    operations.c.outcome,
    operations.c.result,
    operations.c.detail,
    (func.coalesce(operations.c.finished_at, now()) - operations.c.created_at).label("age"),
    generations.c.build,
).outerjoin_from(operations, generations, generations.c.id == operations.c.generation_id)


def _given(tx: Transaction, operation_id: int) -> int:
    """Number of documents among the operation's items. A push or a change of principals has no run that names them."""
    mine = operation_items.c.operation_id == operation_id
    return tx.execute(select(func.count()).select_from(operation_items).where(mine)).scalar_one()


def _seen(tx: Transaction, operation_id: int) -> int:
    """Number of documents that the operation's runs have named so far. An index alone answers the query."""
    named = and_(
        operation_sources.c.operation_id == operation_id,
        documents.c.source_id == operation_sources.c.source_id,
        documents.c.seen_run >= operation_sources.c.run,
    )
    return tx.execute(select(func.count()).select_from(operation_sources.join(documents, named))).scalar_one()


def is_open(tx: Transaction, operation_id: int) -> bool:
    """Whether the operation has not ended. Locks it, so that it can't end before this transaction."""
    mine = and_(operations.c.id == operation_id, operations.c.state != "finished")
    return tx.execute(select(operations.c.id).where(mine).with_for_update()).first() is not None


def state(tx: Transaction, operation_id: int) -> str:
    return tx.execute(select(operations.c.state).where(operations.c.id == operation_id)).scalar_one()


@dataclass(frozen=True, kw_only=True)
class Searched:
    """The active index of a collection.

    ``busy``: an operation of the collection is running. ``touched``: one is running, or has begun since the last look.
    """

    index: str
    busy: bool
    touched: bool


def searched_indexes(tx: Transaction, *, since: int | None) -> tuple[list[Searched], int]:
    """The active index of each collection, and the id of the newest operation.

    ``since``: that id, as the last call returned it; None: every index counts as touched. The query reads only
    operations that are running or newer than ``since``.
    """
    newest = select(func.coalesce(func.max(operations.c.id), 0)).scalar_subquery()
    mine = operations.c.collection_id == collections.c.id
    # a range: for a single value SQLite knows only the average frequency, and would read all operations
    running = operations.c.state.between("running", "running")
    busy = select(operations.c.id).where(mine, running).exists()
    touched = true() if since is None else select(operations.c.id).where(mine, operations.c.id > since).exists()
    query = (
        select(generations.c.index_name, busy, touched, newest)
        .join_from(collections, generations, collections.c.active_generation == generations.c.id)
        .where(collections.c.trashed_at.is_(None), collections.c.importing_at.is_(None))
        .order_by(generations.c.index_name)
    )
    rows = tx.execute(query).all()
    found = [Searched(index=row[0], busy=bool(row[1]), touched=bool(row[1] or row[2])) for row in rows]
    return found, rows[0][3] if rows else since or 0
