"""Pausing, resuming and cancelling operations: which units and sources wait, and what frees them.

A unit or source that waits because of an operation has the id of this operation in ``held_by``; it is then *held*, and
nobody claims it. A unit that a worker has already claimed finishes the current piece of work, and then waits. None of
this changes what search finds: an unfinished revision leaves the indexed one in place, as after a crash.

*Paused*: everything that the operation has left to do waits. If several operations wait for a unit, it is held while
any of them is paused. A requested sync of the same source takes the unit up; a scheduled sync does not.

*Cancelled*: sources are read no further. Documents that were taken in and are not finished are **parked**: they stay at
their stage, held by the cancelled operation, and count as ``cancelled``. The next sync of their source (requested or
scheduled) or ``operations retry`` takes them up at that stage, so nothing is stuck and nothing is computed twice.
Undoing them instead would require the content that they replaced. Deletions are not parked: their documents are already
gone, and an index must not keep their text. Units that another operation waits for continue for that operation. A
source whose removal is cancelled keeps the documents that were not deleted yet; its next sync enumerates everything, so
the deleted ones come back.

The state of the operation and of its sources changes at once. Its units follow a batch at a time (:func:`apply`); until
all have followed, nobody claims a unit that has to wait (``queue/pending_holds.py``).

Freed units continue at the virtual time of the fair queue, or later. With their old turns they would set the virtual
time back: documents that arrive next would start there, before all units that got their turns in the meantime.

Locks are taken in one order everywhere: sources, then operations, then units by their keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, and_, case, exists, func, select, true, update

from semantik_pipeline.errors import Conflict, NotFound
from semantik_pipeline.ledger.catalog.cursors import Cursor
from semantik_pipeline.ledger.database.bulk import among
from semantik_pipeline.ledger.database.connection import Transaction, now
from semantik_pipeline.ledger.operations.items import about, owned
from semantik_pipeline.ledger.queue import fair_queue, pending_holds
from semantik_pipeline.ledger.queue.pending_holds import PendingHolds
from semantik_pipeline.ledger.queue.work import REBUILD_LANE, STAGES
from semantik_pipeline.ledger.tables import (
    documents,
    operation_items,
    operation_sources,
    operations,
    sources,
    work,
)

#: Documents whose units one transaction holds or frees.
BATCH = 2000


def pause(tx: Transaction, operation_id: int) -> None:
    """Pause the operation: its sources and unfinished units wait. Raises Conflict if it has ended."""
    lock(tx, operation_id)
    tx.execute(update(operations).where(operations.c.id == operation_id).values(state="paused"))
    in_hand = and_(sources.c.operation_id == operation_id, sources.c.held_by.is_(None))
    tx.execute(update(sources).where(in_hand).values(held_by=operation_id))
    pending_holds.begin(tx, operation_id)


def resume(tx: Transaction, operation_id: int) -> None:
    """Let a paused operation continue. Units that another paused operation also waits for are then held by that one.

    Raises Conflict if the operation has ended.
    """
    lock(tx, operation_id)
    tx.execute(update(operations).where(operations.c.id == operation_id).values(state="running"))
    tx.execute(update(sources).where(sources.c.held_by == operation_id).values(held_by=None))
    pending_holds.begin(tx, operation_id)


def cancel(tx: Transaction, operation_id: int) -> None:
    """Cancel the operation: stop reading its sources and park its unfinished units. Raises Conflict if it has ended.

    It finishes (:func:`lifecycle.settle`) once its units are parked, workers have released them, and its deletions are
    done.
    """
    lock(tx, operation_id)
    mine = sources.c.operation_id == operation_id
    kept = and_(mine, sources.c.removed_at.is_not(None))  # its removal ends; its schedule continues
    due_at = case((sources.c.schedule.is_not(None), now()))
    tx.execute(update(sources).where(kept).values(removed_at=None, trashed_at=None, due_at=due_at))
    cursors = select(sources.c.id, sources.c.cursor).where(mine).order_by(sources.c.id)
    for source_id, cursor in tx.execute(cursors).all():
        freed = {"operation_id": None, "held_by": None, "lease_token": None, "lease_until": None, "not_before": 0}
        begin = Cursor.of(cursor).before_run().stored()  # the next run names what this one has not
        tx.execute(update(sources).where(sources.c.id == source_id).values(**freed, attempts=0, cursor=begin))
    reading = and_(operation_sources.c.operation_id == operation_id, operation_sources.c.state == "running")
    tx.execute(update(operation_sources).where(reading).values(state="cancelled"))
    tx.execute(update(operations).where(operations.c.id == operation_id).values(state="running", outcome="cancelled"))
    pending_holds.begin(tx, operation_id)


def look(tx: Transaction, operation_id: int) -> PendingHolds | None:
    """The operation's pending change of holds, with ``behind`` filled in; None if nothing is pending. Takes no lock."""
    found = pending_holds.look(tx, operation_id)
    if found is None or found.behind is not None:
        return found
    if found.state == "paused":  # no unit is freed
        return replace(found, behind=0.0)
    return replace(found, behind=parked_lag(tx, operation_id))


def apply(tx: Transaction, seen: PendingHolds) -> None:
    """Hold or free the units of the operation's next BATCH documents, unless another process was faster.

    Their sources are locked, so that a sync that takes up held units, and a state change of another operation that
    waits for the same units, happen entirely before or after this.
    """
    operation_id = seen.operation_id
    listed = and_(operation_items.c.operation_id == operation_id, operation_items.c.document_id > seen.upto)
    page = select(operation_items.c.document_id).where(listed).order_by(operation_items.c.document_id).limit(BATCH)
    ids = list(tx.execute(page).scalars())
    fair_queue.owners(tx, ids)
    found = pending_holds.look(tx, operation_id, lock=True)
    if found is None or replace(found, behind=seen.behind) != seen:
        return
    if not ids:
        pending_holds.note(tx, seen, ended=True)
        return
    count, these = seen.documents, among(work.c.document_id, ids)
    if seen.state == "paused":
        count += _set(tx, and_(these, owned(operation_id), _UNFINISHED, work.c.held_by.is_(None)), operation_id)
    else:
        freed = _free_of(tx, operation_id, these, behind=seen.behind)
        count += freed if seen.frees else 0
    if seen.outcome == "cancelled":
        parked = and_(these, owned(operation_id), _UNFINISHED, work.c.goal != "deleted")
        count += _set(tx, and_(parked, ~_wanted_elsewhere(operation_id)), operation_id)
    pending_holds.note(tx, replace(seen, upto=ids[-1], documents=count), ended=False)


def free(tx: Transaction, operation_id: int) -> int:
    """Free all units that an operation holds, in this transaction. Used when the operation ends."""
    return _free_of(tx, operation_id, true())


def _free_of(tx: Transaction, operation_id: int, these: ColumnElement[bool], *, behind: float | None = None) -> int:
    """Free the units among ``these`` that the operation holds."""
    mine = and_(operation_items.c.operation_id == operation_id, operation_items.c.document_id == work.c.document_id)
    held = and_(exists().where(mine), work.c.held_by == operation_id)  # in any generation: the active one may change
    return let_go(tx, and_(these, held), behind=behind)


def let_go(tx: Transaction, which: ColumnElement[bool], *, behind: float | None = None) -> int:
    """Free held units. Units that another paused operation waits for are handed to that operation instead."""
    other = operation_items.alias()
    paused = (
        select(func.min(other.c.operation_id))
        .join(operations, operations.c.id == other.c.operation_id)
        .where(
            other.c.document_id == work.c.document_id,
            other.c.revision == work.c.revision,
            other.c.operation_id != work.c.held_by,
            operations.c.state == "paused",
            about() == work.c.generation_id,
        )
    )
    return _free(tx, which, paused.scalar_subquery(), behind=behind)


def take_up(
    tx: Transaction, source_id: int, *, asked: bool, document_ids: Sequence[int], behind: float | None = None
) -> None:
    """Free held units of these documents for a sync of their source.

    Every sync frees what cancelled operations parked. A sync that somebody ``asked`` for, rather than a schedule, also
    frees what paused operations hold. ``behind``: the result of :func:`source_lag`, if the documents are one page of
    several; None if they are all.
    """
    waiting = and_(_waiting_of(source_id), among(work.c.document_id, sorted(document_ids)))
    if not asked:
        paused = select(operations.c.id).where(operations.c.state == "paused")
        waiting = and_(waiting, work.c.held_by.not_in(paused))
    _free(tx, waiting, None, behind=behind)


def source_lag(tx: Transaction, source_id: int) -> float:
    """How far the lowest turn of the source's held units is behind the virtual time."""
    return lag(tx, _waiting_of(source_id))


def _waiting_of(source_id: int) -> ColumnElement[bool]:
    mine = and_(work.c.source_id == source_id, work.c.lane < REBUILD_LANE)
    return and_(mine, _UNFINISHED, work.c.held_by.is_not(None))


def holder(tx: Transaction, operation_id: int) -> int | None:
    """The operation's id if it is paused, else None: the ``held_by`` of the documents that its slice takes in.

    The slice has locked its source, so the operation is paused before or after this transaction, not during it.
    """
    mine = and_(operations.c.id == operation_id, operations.c.state == "paused")
    return tx.execute(select(operations.c.id).where(mine)).scalar_one_or_none()


def settled(operation_id: int) -> ColumnElement[bool]:
    """Condition: units that a cancelled operation no longer waits for.

    It waits only for deletions, and for units that it has parked while a worker still holds their lease.
    """
    in_hand = and_(work.c.held_by == operation_id, work.c.lease_token.is_not(None))
    return ~in_hand & (work.c.goal != "deleted")


_UNFINISHED = work.c.stage.in_(STAGES)


def _wanted_elsewhere(operation_id: int) -> ColumnElement[bool]:
    """Condition: another operation, neither finished nor cancelled, waits for the unit."""
    other = operation_items.alias()
    return exists().where(
        other.c.document_id == work.c.document_id,
        other.c.revision == work.c.revision,
        other.c.operation_id != operation_id,
        operations.c.id == other.c.operation_id,
        operations.c.state != "finished",
        operations.c.outcome.is_distinct_from("cancelled"),
        about() == work.c.generation_id,
    )


def _set(tx: Transaction, which: ColumnElement[bool], held_by: Any) -> int:
    _locked(tx, which)
    return tx.execute(update(work).where(which).values(held_by=held_by)).rowcount


def _free(tx: Transaction, which: ColumnElement[bool], held_by: Any, *, behind: float | None = None) -> int:
    """Free units, or hand them to another holder, in their order, so that the first is at the virtual time or later.

    Their turns are raised by ``behind``; None: by the lag of the first of them.
    """
    waited = _locked(tx, which)
    if not waited:
        return 0
    changes: dict[str, Any] = {"held_by": held_by}
    behind = _lag(tx, min(waited)) if behind is None else behind
    if behind > 0:
        changes["turn"] = work.c.turn + behind
    return tx.execute(update(work).where(which).values(**changes)).rowcount


def parked_lag(tx: Transaction, operation_id: int) -> float:
    """How far the lowest turn of the units that the operation holds is behind the virtual time."""
    first = select(func.min(work.c.turn)).join(operation_items, operation_items.c.document_id == work.c.document_id)
    mine = and_(operation_items.c.operation_id == operation_id, work.c.held_by == operation_id)
    return _lag(tx, tx.execute(first.where(mine)).scalar_one_or_none())


def lag(tx: Transaction, which: ColumnElement[bool]) -> float:
    """How far the lowest turn of these units is behind the virtual time. Takes no lock."""
    return _lag(tx, tx.execute(select(func.min(work.c.turn)).where(which)).scalar_one_or_none())


def _lag(tx: Transaction, turn: float | None) -> float:
    return 0.0 if turn is None else max(0.0, fair_queue.virtual_time(tx) - turn)


def _locked(tx: Transaction, which: ColumnElement[bool]) -> list[float]:
    """Lock units in the order of their keys; returns their turns."""
    query = select(work.c.turn).where(which).order_by(work.c.document_id, work.c.generation_id)
    return list(tx.execute(query.with_for_update(of=work)).scalars())


def lock(tx: Transaction, operation_id: int) -> None:
    """Lock the operation's sources, then the operation. Raises NotFound if there is none, Conflict if it has ended."""
    in_hand = select(sources.c.id).where(sources.c.operation_id == operation_id).order_by(sources.c.id)
    tx.execute(in_hand.with_for_update()).all()
    query = select(operations.c.kind, operations.c.state, operations.c.outcome).where(operations.c.id == operation_id)
    row = tx.execute(query.with_for_update()).first()
    if row is None:
        raise NotFound(f"There is no operation {operation_id}.", "`semantik operations list --all` shows them.")
    if row.state == "finished" or row.outcome == "cancelled":
        ended = "has ended" if row.state == "finished" else "is being cancelled"
        again = "`semantik operations retry` processes again what it left unfinished."
        raise Conflict(f"{row.kind}-{operation_id} {ended} ({row.outcome}).", again)


def lock_units(tx: Transaction, document_ids: Sequence[int], *, parked: Sequence[int]) -> None:
    """Lock documents, then their units together with those of the ``parked`` documents, all in key order."""
    mine = among(documents.c.id, sorted(document_ids))
    tx.execute(select(documents.c.id).where(mine).order_by(documents.c.id).with_for_update()).all()
    _locked(tx, among(work.c.document_id, sorted({*document_ids, *parked})))
