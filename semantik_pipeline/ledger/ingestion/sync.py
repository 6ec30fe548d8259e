"""Ledger queries of the sync stage: claims of sources, and reads and updates of the documents of a source."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import ColumnElement, and_, bindparam, literal, or_, select, true, update

from semantik_pipeline.ledger.catalog.cursors import Cursor
from semantik_pipeline.ledger.catalog.lineage import NOT_RETIRED
from semantik_pipeline.ledger.database.bulk import among, update_rows
from semantik_pipeline.ledger.database.connection import Transaction, now
from semantik_pipeline.ledger.ingestion.timetable import after_sync
from semantik_pipeline.ledger.operations import outcomes
from semantik_pipeline.ledger.queue.work import STAGES
from semantik_pipeline.ledger.tables import (
    collections,
    documents,
    operation_sources,
    sources,
    work,
)
from semantik_pipeline.ledger.tables.ingestion import NOT_READ

SOURCE_FREED = {"lease_token": None, "lease_until": None}


@dataclass(frozen=True, kw_only=True)
class SourceClaim:
    """One slice of one source, claimed under a lease token."""

    token: str
    source_id: int
    collection_id: int
    operation_id: int
    connector: str
    name: str
    config: dict[str, Any]
    run: int
    cursor: Cursor
    lane: int
    problems: list[str]


@dataclass(frozen=True, kw_only=True)
class Known:
    """What the ledger stores about a document that a connector names."""

    document_id: int
    content_hash: str | None
    change_hint: str | None
    revision: int
    deleted: bool
    trashed: bool
    failed_at: str | None  # the stage in which the document was quarantined
    failed_with: str | None  # ids and versions of the plugins of that stage

    @property
    def owed(self) -> bool:
        """Whether every run fetches the document, even if the connector does not name it: its last read failed, or its
        body was lost."""
        return self.change_hint == NOT_READ or (self.content_hash is None and self.change_hint is None)


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """A document as a sync found it, its body stored. Without a body, ``skipped`` or ``error`` says why."""

    unique_id: str
    content_hash: str | None
    change_hint: str | None = None
    source_type: str | None = None
    media_type: str | None = None
    file_path: str | None = None
    title: str | None = None
    size: int | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    principals: list[str] | None = None
    skipped: str | None = None
    error: dict[str, Any] | None = None


def _due(*, suspect: bool, without: Collection[int]) -> ColumnElement[bool]:
    ready = and_(sources.c.operation_id.is_not(None), sources.c.paused.is_(None), sources.c.removed_at.is_(None))
    free = and_(sources.c.lease_token.is_(None), sources.c.held_by.is_(None), sources.c.not_before <= now())
    others = sources.c.id.not_in(list(without)) if without else true()
    return and_(ready, free, sources.c.suspect == suspect, others)


def sources_due(tx: Transaction, *, without: Collection[int] = ()) -> tuple[bool, bool]:
    """Whether good sources, and suspect sources, have a sync due now. ``without``: ids of sources to ignore."""
    due = (_due(suspect=suspect, without=without) for suspect in (False, True))
    good, suspects = (select(sources.c.id).where(which).exists() for which in due)
    row = tx.execute(select(good, suspects)).one()
    return row[0], row[1]


def others_wait(tx: Transaction, claim: SourceClaim, *, max_in_flight: int, without: Collection[int] = ()) -> bool:
    """Whether another source of this lane, or of a more urgent one, has an unclaimed sync due now. Crowded sources do
    not count: they become due again and again, only to be paused."""
    waits = and_(_due(suspect=False, without=without), sources.c.lane <= claim.lane, sources.c.id != claim.source_id)
    query = select(sources.c.id).where(waits, ~_crowded(max_in_flight))
    return tx.execute(query.limit(1)).first() is not None


def claim_source(
    tx: Transaction, *, worker: str, lease: float, alone: bool = False, without: Collection[int] = ()
) -> SourceClaim | None:
    """Claim the next source with a sync due; None if there is none. The first slice of an operation begins a new run.

    ``alone`` claims a suspect source: the process must hold nothing else until the slice is over. ``without``: ids of
    sources that this worker can't serve.
    """
    # a slice ends with a new not_before, so the source moves behind those that wait: reading it for hours blocks nobody
    in_turn = (sources.c.lane, sources.c.not_before, sources.c.next_turn)
    query = select(sources).where(_due(suspect=alone, without=without)).order_by(*in_turn).limit(1)
    row = tx.execute(query.with_for_update(skip_locked=True)).mappings().first()
    if row is None:
        return None
    token, problems = uuid.uuid4().hex, row["problems"]
    held = and_(operation_sources.c.operation_id == row["operation_id"], operation_sources.c.source_id == row["id"])
    run, cursor = tx.execute(select(operation_sources.c.run).where(held)).scalar_one_or_none(), Cursor.of(row["cursor"])
    if run is None:
        cursor = cursor.at_run()
        outcomes.keep_seen(tx, row["id"], row["run"])
        run = row["run"] + 1
        tx.execute(update(operation_sources).where(held).values(run=run))
        problems = None
    changes = {"lease_token": token, "lease_until": now() + lease, "worker": worker, "run": run}
    changes["problems"] = problems
    if cursor != Cursor.of(row["cursor"]):
        changes["cursor"] = cursor.stored()
    if is_blocked(row["error"]):
        changes["error"] = None  # the last worker could not begin with the source; this one may be able to
    tx.execute(update(sources).where(sources.c.id == row["id"]).values(**changes))
    return SourceClaim(
        token=token,
        source_id=row["id"],
        run=run,
        cursor=cursor,
        problems=problems or [],
        **{name: row[name] for name in _CLAIMED},
    )


def blocked(error: dict[str, Any]) -> dict[str, Any]:
    """Mark an error for ``sources.error``: the worker could not begin with the source, and no attempt is charged."""
    return {**error, "blocked": True}


def is_blocked(error: dict[str, Any] | None) -> bool:
    return error is not None and error.get("blocked", False)


_CLAIMED = (
    "collection_id",
    "operation_id",
    "connector",
    "name",
    "config",
    "lane",
)


def begin_anew(tx: Transaction, claim: SourceClaim, cursor: Cursor) -> SourceClaim:
    """Abandon the current run, and what it has seen, and begin a new one at ``cursor``."""
    run = claim.run + 1
    mine = and_(
        operation_sources.c.operation_id == claim.operation_id, operation_sources.c.source_id == claim.source_id
    )
    tx.execute(update(operation_sources).where(mine).values(run=run))
    change_source(tx, claim.source_id, run=run, cursor=cursor.stored(), problems=None)
    return replace(claim, run=run, cursor=cursor, problems=[])


def source_held(tx: Transaction, claim: SourceClaim) -> bool:
    mine = and_(sources.c.id == claim.source_id, sources.c.lease_token == claim.token)
    return tx.execute(select(sources.c.id).where(mine).with_for_update()).first() is not None


def attempts(tx: Transaction, claim: SourceClaim) -> int:
    """The source's attempts now, not at the claim: progress resets them. Call under :func:`source_held`."""
    return tx.execute(select(sources.c.attempts).where(sources.c.id == claim.source_id)).scalar_one()


def cursor_of(tx: Transaction, claim: SourceClaim) -> Cursor:
    """The cursor now, not at the claim: ``anew`` may have been set meanwhile. Call under :func:`source_held`."""
    return Cursor.of(tx.execute(select(sources.c.cursor).where(sources.c.id == claim.source_id)).scalar_one())


def on_hold(tx: Transaction, claim: SourceClaim) -> bool:
    """Whether the source's operation has been paused since the claim. Call under :func:`source_held`."""
    held = select(sources.c.held_by).where(sources.c.id == claim.source_id)
    return tx.execute(held).scalar_one() is not None


def give_back_source(tx: Transaction, token: str) -> int:
    """End the slice held under the token, without charging an attempt. The next slice begins at the last checkpoint.
    Returns the number of sources that were freed."""
    return tx.execute(update(sources).where(sources.c.lease_token == token).values(**SOURCE_FREED)).rowcount


def change_source(tx: Transaction, source_id: int, **values: Any) -> None:
    tx.execute(update(sources).where(sources.c.id == source_id).values(**values))


def pause_slice(
    tx: Transaction, claim: SourceClaim, *, delay: float = 0, error: dict[str, Any] | None = None, **values: Any
) -> None:
    """End a slice. The source is due again after ``delay`` seconds. An ``error`` is stored with the current time."""
    if error is not None:
        values["error"] = {**error, "at": tx.execute(select(now())).scalar_one()}
    change_source(tx, claim.source_id, **SOURCE_FREED, not_before=now() + delay, **values)


def finish_source(
    tx: Transaction,
    claim: SourceClaim,
    *,
    error: str | None = None,
    error_type: str = "SyncFailed",
    next_run: Any = None,
    **values: Any,
) -> None:
    """End the source's part of its operation. After a success the next run begins at ``next_run``; with an ``error``
    it begins where this run began."""
    if error is None:
        cursor = Cursor(shape=claim.cursor.shape, since=next_run, anew=cursor_of(tx, claim).anew)
        change_source(tx, claim.source_id, cursor=cursor.stored())
    fault = {"type": error_type, "message": error} if error is not None else None
    end_source(tx, claim.source_id, claim.operation_id, fault, **values)


def end_source(tx: Transaction, source_id: int, operation_id: int, fault: dict[str, str] | None, **values: Any) -> None:
    """End the source's part of its operation, whoever holds the lease. ``fault``: type and message, None on success."""
    stored = tx.execute(select(sources.c.cursor).where(sources.c.id == source_id)).scalar_one()
    change_source(
        tx,
        source_id,
        **SOURCE_FREED,
        operation_id=None,
        cursor=Cursor.of(stored).before_run().stored(),
        attempts=0,
        suspect=False,
        not_before=0,
        synced_at=now(),
        **after_sync(tx, source_id, fault),
        **values,
    )
    mine = and_(operation_sources.c.operation_id == operation_id, operation_sources.c.source_id == source_id)
    ended = {"state": "failed", "error": fault["message"]} if fault else {"state": "finished", "error": None}
    tx.execute(update(operation_sources).where(mine).values(**ended))


def known(tx: Transaction, source_id: int, unique_ids: Sequence[str]) -> dict[str, Known]:
    """The source's documents with these unique ids, by unique id. Includes deleted documents."""
    failed = (
        select(work.c.error)
        .where(work.c.document_id == documents.c.id, work.c.stage == "quarantined", NOT_RETIRED)
        .order_by(work.c.generation_id)
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
        columns.trashed_at,
        failed,
    ).where(columns.source_id == source_id, columns.unique_id.in_(unique_ids))
    return {
        row[0]: Known(
            document_id=row[1],
            content_hash=row[2],
            change_hint=row[3],
            revision=row[4],
            deleted=row[5] is not None,
            trashed=row[6] is not None,
            failed_at=(row[7] or {}).get("stage"),
            failed_with=(row[7] or {}).get("plugins"),
        )
        for row in tx.execute(query)
    }


def owed(tx: Transaction, claim: SourceClaim, *, after: int, limit: int) -> list[tuple[int, str]]:
    """``(document id, unique id)`` by id, of live documents that the run neither saw nor reported as gone, and that a
    fetch may repair: they could not be read, are in quarantine, or have no body and no hint (the body was lost)."""
    columns = documents.c
    lost = and_(columns.content_hash.is_(None), columns.change_hint.is_(None))
    missing = or_(columns.change_hint == literal(NOT_READ, literal_execute=True), lost)
    untold = and_(columns.seen_run < claim.run, columns.seen_run != -claim.run)
    unseen = and_(columns.source_id == claim.source_id, untold, columns.deleted_at.is_(None), columns.id > after)
    could_not_be_read = select(columns.id, columns.unique_id).where(unseen, missing).order_by(columns.id)
    quarantined = work.c.stage == literal("quarantined", literal_execute=True)
    stuck = and_(work.c.source_id == claim.source_id, quarantined, work.c.document_id > after, NOT_RETIRED)
    of_units = select(work.c.document_id, columns.unique_id).join(documents, columns.id == work.c.document_id)
    in_quarantine = of_units.where(stuck, unseen).distinct().order_by(work.c.document_id)
    # two queries, since each has its own partial index (ix_documents_owed, ix_work_quarantined) with the same condition
    rows = {row[0]: row[1] for query in (could_not_be_read, in_quarantine) for row in tx.execute(query.limit(limit))}
    return sorted(rows.items())[:limit]


def lock_documents(tx: Transaction, document_ids: Iterable[int]) -> None:
    """Lock the documents of a batch, in the order of their keys as every transaction does, to avoid deadlocks."""
    ids = sorted(document_ids)
    if ids:
        tx.execute(_LOCKED, {"documents": ids}).all()


def mark_seen(tx: Transaction, run: int, document_ids: Sequence[int]) -> None:
    """Mark unchanged documents as seen by this run. Call under :func:`lock_documents`."""
    if document_ids:
        tx.execute(_SEEN, {"documents": list(document_ids), "run": run})


def mark_touched(tx: Transaction, run: int, rows: Sequence[tuple[int, str | None]]) -> None:
    """Store new hints of documents with unchanged content, and mark them as seen by this run. ``rows``:
    ``(document_id, change_hint)``. Call under :func:`lock_documents`."""
    hints = [{"id": identity, "change_hint": hint} for identity, hint in sorted(rows)]
    update_rows(tx, documents, hints, by=("id",), fixed={"seen_run": run})


_THESE = among(documents.c.id, "documents")
_LOCKED = select(documents.c.id).where(_THESE).order_by(documents.c.id).with_for_update()
_SEEN = update(documents).where(_THESE).values(seen_run=bindparam("run"))


def crowded(tx: Transaction, source_id: int, limit: int) -> bool:
    """Whether more than ``limit`` units of a source are under way (after sync, before the end of upsert) in the active
    generation. Units that an operation holds do not count."""
    mine = and_(sources.c.id == source_id, _crowded(limit))
    return tx.execute(select(sources.c.id).where(mine)).first() is not None


def _crowded(limit: int) -> ColumnElement[bool]:
    """The condition of :func:`crowded`, on rows of ``sources``."""
    active = select(collections.c.active_generation).where(collections.c.id == sources.c.collection_id)
    here = work.c.generation_id == active.correlate(sources).scalar_subquery()
    mine = and_(work.c.source_id == sources.c.id, work.c.stage.in_(STAGES), work.c.held_by.is_(None), here)
    behind = select(work.c.document_id).where(mine).offset(limit).limit(1)
    return behind.correlate(sources).scalar_subquery().is_not(None)
