"""Claims, leases, and what becomes of a unit (a document in a generation).

Every change of a claimed unit checks the claim's token first (:func:`held`); a unit whose token is gone belongs to
somebody else, and the caller drops what it made.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import and_, bindparam, false, func, select, update

from semantik_pipeline.ledger.access.document_access import LISTED
from semantik_pipeline.ledger.database.bulk import among
from semantik_pipeline.ledger.database.connection import Transaction, now
from semantik_pipeline.ledger.queue.keys import by_generation
from semantik_pipeline.ledger.queue.picking import ALL, Without, pick
from semantik_pipeline.ledger.tables import documents, sources, work

MAX_BACKOFF = 300.0  # seconds

STAGES = ("chunk", "extract", "embed", "upsert")
TERMINAL = ("indexed", "skipped", "deleted", "quarantined")
LANES = (0, 1, 2)  # search, ASKED, SCHEDULED: a lower one is claimed first
#: The lane of what a person or an application asked for, and that of what a schedule did, or nobody waits for.
ASKED, SCHEDULED = 1, 2
#: The lane of a build beside the active generation: behind everything else, and no part of the sources' fair shares.
REBUILD_LANE = 3

#: In a unit's progress: the unit is in quarantine, but the points of the revision before are being written again. Holds the
#: values that it has in quarantine.
ASIDE = "aside"

#: What a unit knows of its text, once it has none.
UNREAD: Mapping[str, Any] = {"parse_key": None, "text_hash": None, "extracted": None}


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A document in a generation, as a stage sees it."""

    document_id: int
    generation_id: int
    source_id: int
    collection_id: int
    unique_id: str
    revision: int
    stage: str
    goal: str
    epoch: int
    attempts: int
    suspect: bool
    content_hash: str | None
    source_type: str | None
    media_type: str | None
    file_path: str | None
    title: str | None
    size: int | None
    metadata: dict[str, Any]
    source: str
    chunks: int
    chunks_epoch: int | None
    indexed_epoch: int | None
    indexed_chunks_epoch: int | None
    touched: bool
    parse_key: str | None
    text_hash: str | None
    extracted: dict[str, Any] | None
    notes: dict[str, Any] | None
    principals: list[str] | None = None
    created_at: float = 0.0  # its document came here
    changed_at: float = 0.0  # its document's present revision did
    updated_at: float = 0.0  # it was claimed, or moved
    hastened: bool = False  # of a small source, and before its time (fair_queue.py)
    progress: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> tuple[int, int]:
        return self.document_id, self.generation_id


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Units that one worker holds under one token. ``more``: others were due that it had no room for."""

    token: str
    stage: str
    units: tuple[Unit, ...]
    more: bool = False


#: Whether a unit is a small source's that goes before its time. A build's turns are of another kind (backfill.py).
HASTENED = and_(work.c.lane < REBUILD_LANE, func.coalesce(work.c.turn <= sources.c.hastened_upto, false()))

UNIT = select(
    work.c.document_id,
    work.c.generation_id,
    work.c.source_id,
    documents.c.collection_id,
    documents.c.unique_id,
    work.c.revision,
    work.c.stage,
    work.c.goal,
    work.c.epoch,
    work.c.attempts,
    work.c.suspect,
    documents.c.content_hash,
    documents.c.source_type,
    documents.c.media_type,
    documents.c.file_path,
    documents.c.title,
    documents.c.size,
    documents.c.metadata.label("metadata_"),
    sources.c.name.label("source_"),
    work.c.chunks,
    work.c.chunks_epoch,
    work.c.indexed_epoch,
    work.c.indexed_chunks_epoch,
    work.c.touched,
    work.c.parse_key,
    work.c.text_hash,
    work.c.extracted,
    work.c.notes,
    LISTED.label("principals_"),
    documents.c.created_at,
    documents.c.changed_at,
    work.c.updated_at,
    HASTENED.label("hastened_"),
    work.c.progress,
).select_from(
    work.join(documents, work.c.document_id == documents.c.id).join(sources, work.c.source_id == sources.c.id)
)


#: Units of some documents in one generation. These statements, which each claim makes, are put together once.
_OF_DOCUMENTS = and_(work.c.generation_id == bindparam("generation"), among(work.c.document_id, "documents"))
_OF_TOKEN = work.c.lease_token == bindparam("token")

_CLAIMED = UNIT.where(_OF_TOKEN).order_by(work.c.lane, work.c.turn)
_HELD = (
    select(work.c.document_id, work.c.generation_id)
    .where(_OF_TOKEN)
    .order_by(work.c.document_id, work.c.generation_id)
    .with_for_update()
)
_LEASE = (
    update(work)
    .where(_OF_DOCUMENTS)
    .values(
        lease_token=bindparam("token"),
        lease_until=now() + bindparam("lease"),
        company=bindparam("with_others"),
        worker=bindparam("by"),
        blocked=None,
        updated_at=now(),
    )
)
_WHERE_THEY_ARE = select(
    work.c.document_id, work.c.generation_id, work.c.revision, work.c.stage, work.c.chunks, work.c.lease_token
).where(_OF_DOCUMENTS)

_FIELDS = [column.name.rstrip("_") for column in UNIT.selected_columns]


def unit_of(row: Sequence[Any]) -> Unit:
    values = dict(zip(_FIELDS, row, strict=True))
    values["progress"] = values["progress"] or {}
    return Unit(**values)


def claim(
    tx: Transaction,
    stage: str,
    *,
    worker: str,
    lease: float,
    limit: int,
    max_chunks: int | None = None,
    alone: bool = False,
    without: Without = ALL,
) -> Claim | None:
    """Take due units: good ones, or, ``alone``, a single suspect.

    ``alone`` is a promise: the worker's process holds nothing else, and takes nothing else until this is finished. So
    if it dies, this unit is to blame as far as anyone can tell. ``max_chunks`` bounds the sum of the units' chunks (the
    first unit is taken whatever its size). ``without`` is what this worker leaves to others: generations that it can't
    serve, or that are on their way out, and units that wait for what it lacks. None: nothing is due.
    """
    keys, more = pick(tx, stage, alone, 1 if alone else limit, max_chunks, without)
    if not keys:
        return None
    token = uuid.uuid4().hex
    leased = {"token": token, "lease": lease, "with_others": not alone, "by": worker}
    for generation_id, of_it in by_generation(keys):
        tx.execute(_LEASE, {**leased, "generation": generation_id, "documents": [key.document_id for key in of_it]})
    rows = tx.execute(_CLAIMED, {"token": token}).all()
    return Claim(token=token, stage=stage, units=tuple(unit_of(row) for row in rows), more=more)


def held(tx: Transaction, token: str) -> set[tuple[int, int]]:
    """Keys of the units that this token still holds; locked until the transaction ends."""
    return {tuple(row) for row in tx.execute(_HELD, {"token": token})}


def move(tx: Transaction, unit: Unit, stage: str, **values: Any) -> None:
    """The unit goes on at ``stage``, free of its lease, its attempts and suspicion forgotten. Call under :func:`held`."""
    change(tx, unit, **at(stage), **FREED, attempts=0, suspect=False, error=None, **values)


def at(stage: str) -> dict[str, Any]:
    """What a unit is at a stage. At its end no operation holds it: if it is sent on its way again, that is another matter."""
    return {"stage": stage, "held_by": None} if stage in TERMINAL else {"stage": stage}


FREED: Mapping[str, Any] = {
    "lease_token": None,
    "lease_until": None,
    "company": False,
    "not_before": 0,
    "blocked": None,
}


def save_progress(tx: Transaction, unit: Unit, **values: Any) -> None:
    """Part of the stage is done and kept: attempts start anew, the lease stays. Call under :func:`held`."""
    change(tx, unit, attempts=0, suspect=False, **values)


def give_back(tx: Transaction, token: str) -> set[tuple[int, int]]:
    """Give back what is still held under a token, with nothing held against it; returns the keys of those units."""
    mine = held(tx, token)
    if mine:
        changes = {**FREED, "not_before": 0}
        tx.execute(update(work).where(work.c.lease_token == token).values(**changes, updated_at=now()))
    return mine


def passed(tx: Transaction, claim: Claim) -> tuple[list[int], bool]:
    """The chunks, as known now, of each unit of the claim that its stage has finished: the unit, with the revision that
    was claimed, is at a later stage, or at its end. And whether some are still held, to be given back; takes no lock."""
    rows = [
        row
        for generation_id, units in by_generation(claim.units)
        for row in tx.execute(
            _WHERE_THEY_ARE, {"generation": generation_id, "documents": [unit.document_id for unit in units]}
        )
    ]
    claimed = {(*unit.key, unit.revision) for unit in claim.units}
    later = {*STAGES[STAGES.index(claim.stage) + 1 :], *TERMINAL} - {"quarantined"}
    done = [row.chunks for row in rows if tuple(row[:3]) in claimed and row.stage in later]
    return done, any(row.lease_token == claim.token for row in rows)


def release(tx: Transaction, token: str, keys: Iterable[tuple[int, int]], *, delay: float = 0, **values: Any) -> None:
    """Give some of a claim's units back, with nothing held against them; they are due after ``delay`` seconds."""
    rows = [{"d": document, "g": generation} for document, generation in sorted(keys)]
    if rows:
        by_key = and_(work.c.document_id == bindparam("d"), work.c.generation_id == bindparam("g"))
        changes = {**FREED, "not_before": now() + delay if delay else 0, "updated_at": now(), **values}
        tx.execute(update(work).where(work.c.lease_token == token, by_key).values(**changes), rows)


def suspect(tx: Transaction, token: str, keys: Iterable[tuple[int, int]]) -> None:
    """Units that failed in company run alone from now on; nobody is charged yet."""
    release(tx, token, keys, suspect=True)


def charge(
    tx: Transaction,
    unit: Unit,
    error: dict[str, Any],
    *,
    max_attempts: int,
    backoff: float,
    retry_after: float | None = None,
) -> bool:
    """Count a failure alone; quarantine after the last attempt. Returns whether it is in quarantine now. What is to leave
    the index has no content to blame: it is tried again until it is gone, and says what keeps it."""
    mine = and_(work.c.document_id == unit.document_id, work.c.generation_id == unit.generation_id)
    before = tx.execute(select(work.c.attempts).where(mine)).scalar_one()  # not the claim's: progress resets them
    attempts = min(before + 1, max_attempts)
    last = attempts == max_attempts
    if last and unit.goal == "indexed":
        quarantine(tx, unit, error, attempts=attempts)
        return True
    delay = MAX_BACKOFF if last else max(min(backoff * 2 ** (attempts - 1), MAX_BACKOFF), retry_after or 0)
    freed = {**FREED, "not_before": now() + delay, "blocked": error["message"] if last else None}
    change(tx, unit, **freed, attempts=attempts, suspect=True, error=_described(unit, error))
    return False


def quarantine(tx: Transaction, unit: Unit, error: dict[str, Any], *, attempts: int | None = None) -> None:
    """Set the unit aside until its content or the pipeline that failed on it changes. What the store may have of it by
    then is owed to be withdrawn (``stages/withdrawal.py``)."""
    values: dict[str, Any] = {} if attempts is None else {"attempts": attempts}
    if unit.stage == "upsert" or unit.progress.get("begun"):  # half written, and sent back to an earlier stage
        values["reconcile"] = True
    change(tx, unit, **FREED, **at("quarantined"), suspect=False, error=_described(unit, error), **values)


def block(tx: Transaction, stage: str, generation_id: int, reason: str) -> int:
    """Say why nobody here takes a generation's units; a claim elsewhere clears it."""
    waiting = and_(work.c.stage == stage, work.c.generation_id == generation_id, work.c.lease_token.is_(None))
    news = work.c.blocked.is_distinct_from(reason)
    return tx.execute(update(work).where(waiting, news).values(blocked=reason)).rowcount


def _described(unit: Unit, error: dict[str, Any]) -> dict[str, Any]:
    return {"stage": unit.stage, **error}


def change(tx: Transaction, unit: Unit, **values: Any) -> None:
    """Set columns of a unit's row."""
    by_key = and_(work.c.document_id == unit.document_id, work.c.generation_id == unit.generation_id)
    tx.execute(update(work).where(by_key).values(**values, updated_at=now()))


def embedded_more(count: int) -> Any:
    return work.c.embedded + count


def later(turns: float) -> Any:
    """A place further back in the queue."""
    return work.c.turn + turns
