"""Claims and leases of units (a unit is a document in a generation), and their moves from stage to stage.

Every change of a claimed unit first checks the claim's token (:func:`held`). A unit without the token belongs to
another worker or to a newer revision, and the caller drops its result.
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
#: The lane of work that a person or an application requested, and the lane of scheduled work or work nobody waits for.
ASKED, SCHEDULED = 1, 2
#: The lane of a build beside the active generation: claimed after everything else, outside the sources' fair shares.
REBUILD_LANE = 3

#: Key in a unit's progress: the unit is in quarantine, but the points of its previous revision are being written again.
#: The value has the columns to restore when it returns to quarantine.
ASIDE = "aside"

#: Columns that refer to a unit's parsed text, for a unit without text.
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
    created_at: float = 0.0  # when its document was first stored
    changed_at: float = 0.0  # when its document's current revision was stored
    updated_at: float = 0.0  # when it was last claimed or moved
    hastened: bool = False  # a unit of a small source that goes ahead (fair_queue.py)
    progress: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> tuple[int, int]:
        return self.document_id, self.generation_id


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Units that one worker holds under one token. ``more``: other units were due that the claim had no room for."""

    token: str
    stage: str
    units: tuple[Unit, ...]
    more: bool = False


#: Whether a unit goes ahead as a unit of a small source (fair_queue.py). Turns of builds are not virtual times
#: (generations/backfill.py), so a build's units never do.
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


#: Condition: units of some documents in one generation. Every claim runs the following statements, so they are built
#: once.
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
    """Claim due units: good ones, or, with ``alone``, a single suspect. Returns None if nothing is due.

    ``alone`` is a promise: the worker's process holds nothing else, and claims nothing else until the unit is finished.
    So if the process dies, this unit is taken to be the cause. ``max_chunks`` bounds the total number of chunks (the
    first unit is taken whatever its size). ``without``: units left to other workers. These belong to generations that
    this worker can't serve or that are retired, or they wait for something that this worker lacks.
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
    """Lock the units that this token still holds until the transaction ends; returns their keys."""
    return {tuple(row) for row in tx.execute(_HELD, {"token": token})}


def move(tx: Transaction, unit: Unit, stage: str, **values: Any) -> None:
    """Move the unit to ``stage``: clears its lease, attempts, suspicion and error. Call under :func:`held`."""
    change(tx, unit, **at(stage), **FREED, attempts=0, suspect=False, error=None, **values)


def at(stage: str) -> dict[str, Any]:
    """Columns of a unit that moves to a stage. In a terminal stage no operation holds it any longer."""
    return {"stage": stage, "held_by": None} if stage in TERMINAL else {"stage": stage}


FREED: Mapping[str, Any] = {
    "lease_token": None,
    "lease_until": None,
    "company": False,
    "not_before": 0,
    "blocked": None,
}


def save_progress(tx: Transaction, unit: Unit, **values: Any) -> None:
    """Save part of a stage's result: attempts and suspicion are reset, the lease stays. Call under :func:`held`."""
    change(tx, unit, attempts=0, suspect=False, **values)


def give_back(tx: Transaction, token: str) -> set[tuple[int, int]]:
    """Release all units that the token still holds, without charging an attempt; returns their keys."""
    mine = held(tx, token)
    if mine:
        changes = {**FREED, "not_before": 0}
        tx.execute(update(work).where(work.c.lease_token == token).values(**changes, updated_at=now()))
    return mine


def passed(tx: Transaction, claim: Claim) -> tuple[list[int], bool]:
    """The number of chunks of each unit that has passed the claim's stage, and whether the claim still holds any unit.

    A unit has passed if its claimed revision is at a later stage or finished, but not in quarantine. Takes no lock.
    """
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
    """Release some of a claim's units without charging an attempt; they are due after ``delay`` seconds."""
    rows = [{"d": document, "g": generation} for document, generation in sorted(keys)]
    if rows:
        by_key = and_(work.c.document_id == bindparam("d"), work.c.generation_id == bindparam("g"))
        changes = {**FREED, "not_before": now() + delay if delay else 0, "updated_at": now(), **values}
        tx.execute(update(work).where(work.c.lease_token == token, by_key).values(**changes), rows)


def suspect(tx: Transaction, token: str, keys: Iterable[tuple[int, int]]) -> None:
    """Release units that failed together: each is a suspect, and runs alone next. No attempt is charged."""
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
    """Charge an attempt for a failure of the unit alone. Returns whether the unit is in quarantine now.

    After the last attempt the unit is quarantined. A unit that leaves the index (goal ``deleted`` or ``skipped``) is
    not, since it has no content to blame: it is tried again until it succeeds, and ``blocked`` has the error message.
    """
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
    """Quarantine the unit until its content, or the pipeline that failed on it, changes.

    If the store may hold points of the failed revision, the unit is marked so that they are withdrawn
    (``stages/withdrawal.py``).
    """
    values: dict[str, Any] = {} if attempts is None else {"attempts": attempts}
    if unit.stage == "upsert" or unit.progress.get("begun"):  # begun: half written, then sent back
        values["reconcile"] = True
    change(tx, unit, **FREED, **at("quarantined"), suspect=False, error=_described(unit, error), **values)


def block(tx: Transaction, stage: str, generation_id: int, reason: str) -> int:
    """Note on a generation's units at a stage why this worker can't claim them; a claim by another worker clears it.

    Returns the number of units whose reason is new.
    """
    waiting = and_(work.c.stage == stage, work.c.generation_id == generation_id, work.c.lease_token.is_(None))
    news = work.c.blocked.is_distinct_from(reason)
    return tx.execute(update(work).where(waiting, news).values(blocked=reason)).rowcount


def _described(unit: Unit, error: dict[str, Any]) -> dict[str, Any]:
    return {"stage": unit.stage, **error}


def change(tx: Transaction, unit: Unit, **values: Any) -> None:
    """Set columns of a unit's row, and its time of change."""
    by_key = and_(work.c.document_id == unit.document_id, work.c.generation_id == unit.generation_id)
    tx.execute(update(work).where(by_key).values(**values, updated_at=now()))


def embedded_more(count: int) -> Any:
    return work.c.embedded + count


def later(turns: float) -> Any:
    """Expression for a turn that is ``turns`` later than the unit's current one."""
    return work.c.turn + turns
