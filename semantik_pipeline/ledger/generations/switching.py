"""Which generation search reads: the switch, the way back, and the end of those that nobody reads any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, func, select, update

from semantik_pipeline.errors import UsageError
from semantik_pipeline.ledger.catalog.collections import ALIAS_OWED, Collection
from semantik_pipeline.ledger.database.bulk import among
from semantik_pipeline.ledger.database.connection import Transaction, now
from semantik_pipeline.ledger.documents import forgetting, words
from semantik_pipeline.ledger.generations import builds
from semantik_pipeline.ledger.generations.builds import Build
from semantik_pipeline.ledger.queue.work import FREED, STAGES, UNIT, unit_of
from semantik_pipeline.ledger.tables import collections, generations, operation_items, operations, work

#: Documents of a retired generation whose rows one transaction removes.
BATCH = 500

#: Its units that one transaction sets aside.
ASIDE = 2000

#: In the ``build`` of a retired generation: up to which document its rows are removed.
_REMOVED_UPTO = "removed_upto"

#: Seconds within which a writer notices that its lease is gone.
WRITERS = 30.0

#: Seconds that a generation stays after nobody is sent to it any more: searches that began before end in it.
GRACE = 60.0


def switch(tx: Transaction, build: Build, *, keep: float) -> None:
    """Search reads the build from this commit on, index and model together. The generation before it is kept, and
    written to, for ``keep`` seconds. Call with the build taken and the collection locked."""
    _activate(tx, build.collection_id, build.generation_id, keep=keep, before=build.progress.get("config_before"))
    builds.note(tx, build.generation_id, phase="done")


def kept(tx: Transaction, collection: Collection) -> int:
    """The generation that there is a way back to. Raises UsageError if none is kept any more."""
    mine = and_(generations.c.collection_id == collection.id, generations.c.state == "kept")
    newest = select(generations.c.id).where(mine).order_by(generations.c.activated_at.desc()).limit(1)
    generation_id = tx.execute(newest).scalar_one_or_none()
    if generation_id is None:
        raise UsageError(
            f"The collection {collection.name!r} has no generation to go back to.",
            "`semantik reindex` builds one; reindex.rollback_window sets how long the previous one is kept.",
        )
    return generation_id


def rollback(tx: Transaction, collection: Collection, generation_id: int, *, keep: float) -> bool:
    """Search reads this kept generation again, and what was active is kept in its place. Returns False, and changes
    nothing, if it is not the one to go back to; raises UsageError if none is kept any more."""
    builds.lock(tx, collection.id)
    if kept(tx, collection) != generation_id:
        return False
    mine = generations.c.collection_id == collection.id
    active = select(generations.c.wanted).where(mine, generations.c.state == "active")
    _activate(tx, collection.id, generation_id, keep=keep, before=tx.execute(active).scalar_one_or_none())
    return True


def _activate(tx: Transaction, collection_id: int, generation_id: int, *, keep: float, before: Any) -> None:
    """Make it the collection's active generation. The configuration that it was wanted with becomes the collection's,
    unless that is another one than ``before`` by now: then somebody wants something else meanwhile. Kept ones other than
    the one that it replaces retire: there is one way back."""
    mine = generations.c.collection_id == collection_id
    older = and_(mine, generations.c.state == "kept", generations.c.id != generation_id)
    tx.execute(update(generations).where(older).values(retire_at=now() + GRACE))
    replaced = and_(mine, generations.c.state == "active", generations.c.id != generation_id)
    tx.execute(update(generations).where(replaced).values(state="kept", retire_at=now() + max(keep, GRACE)))
    this = generations.c.id == generation_id
    tx.execute(update(generations).where(this).values(state="active", activated_at=now(), retire_at=None))
    builds.note(tx, generation_id, alias=ALIAS_OWED)
    wanted = tx.execute(select(generations.c.wanted).where(this)).scalar_one()
    collection = collections.c.id == collection_id
    config = tx.execute(select(collections.c.config).where(collection)).scalar_one()
    changes: dict[str, Any] = {"active_generation": generation_id}
    if wanted is not None and config == before:
        changes["config"] = wanted
        builds.begun_with(tx, collection_id, config, wanted)
    tx.execute(update(collections).where(collection).values(**changes))


def aliases_owed(tx: Transaction) -> list[tuple[str, str]]:
    """``(collection, index that search reads)`` where nobody has said that the store's alias names that index."""
    owed = and_(generations.c.state == "active", generations.c.build["alias"].as_string() == ALIAS_OWED)
    there = and_(collections.c.id == generations.c.collection_id, collections.c.trashed_at.is_(None))
    query = select(collections.c.name, generations.c.index_name).join_from(collections, generations, there)
    return [(name, index) for name, index in tx.execute(query.where(owed).order_by(generations.c.id))]


def alias_pointed(tx: Transaction, generation_id: int) -> bool:
    """The alias names this generation's index; returns whether that is the one that search reads."""
    mine = and_(generations.c.id == generation_id, generations.c.state == "active")
    if tx.execute(select(generations.c.id).where(mine).with_for_update(key_share=True)).first() is None:
        return False
    builds.note(tx, generation_id, alias=None)
    return True


def end(tx: Transaction, build: Build, outcome: str, **found: Any) -> None:
    """The build's operation is over. ``found`` goes into its result, beside the counts."""
    row = tx.execute(select(operations.c.created_at, now()).where(operations.c.id == build.operation_id)).one()
    errors = [found.pop("error")] if found.get("error") else []
    result = {
        **builds.counts(tx, build.generation_id),
        "superseded": 0,
        "cancelled": 0,
        "taken_over": [],
        "errors": errors,
        **found,
        "seconds": round(row[1] - row[0], 3),
    }
    values = {"state": "finished", "outcome": outcome, "result": result, "finished_at": now()}
    tx.execute(update(operations).where(operations.c.id == build.operation_id).values(**values))


def abandon(tx: Transaction, operation_id: int) -> int | None:
    """Give up what the operation builds: nothing is begun for it any more, and maintenance removes it, with the units in
    hand (:func:`remove_rows`). Returns the generation; None if the operation builds none, or not any more."""
    about = select(generations.c.id, generations.c.collection_id).where(
        generations.c.operation_id == operation_id, generations.c.state == "building"
    )
    row = tx.execute(about).first()
    if row is None:
        return None
    builds.lock(tx, row.collection_id)
    still = and_(generations.c.id == row.id, generations.c.state == "building")
    if not tx.execute(update(generations).where(still).values(state="retired")).rowcount:
        return None
    return row.id


# -- the end of a generation ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Retired:
    """A generation on its way out."""

    generation_id: int
    index: str


def _over() -> ColumnElement[bool]:
    return and_(generations.c.state == "kept", generations.c.retire_at <= now())


def any_due(tx: Transaction) -> bool:
    """Whether a kept generation's time is over; takes no lock."""
    return tx.execute(select(generations.c.id).where(_over()).limit(1)).first() is not None


def retire_due(tx: Transaction) -> list[int]:
    """Retire the kept generations whose time is over; returns them."""
    over = _over()
    query = select(generations.c.id, generations.c.collection_id).where(over).order_by(generations.c.collection_id)
    retired = []
    for generation_id, collection_id in tx.execute(query).all():
        builds.lock(tx, collection_id)
        still = and_(generations.c.id == generation_id, over)  # a rollback may have come first
        if tx.execute(update(generations).where(still).values(state="retired")).rowcount:
            retired.append(generation_id)
    return retired


def retired(tx: Transaction) -> list[Retired]:
    """Generations whose rows or index are still there."""
    query = select(generations.c.id, generations.c.index_name).where(generations.c.state == "retired")
    return [Retired(generation_id=row[0], index=row[1]) for row in tx.execute(query.order_by(generations.c.id))]


def quiet(tx: Transaction, generation_id: int) -> bool:
    """Whether nobody writes to the index of a generation that has no rows any more."""
    retire_at = select(func.coalesce(generations.c.retire_at, 0) <= now()).where(generations.c.id == generation_id)
    return bool(tx.execute(retire_at).scalar_one_or_none())


def set_aside(tx: Transaction, generation_id: int, *, after: int) -> int | None:
    """Take up to ASIDE units of a retired generation, of documents behind the id ``after``, out of their stages; returns
    the id behind which to go on, or None. Whoever claims reads past what waits at a stage, and the rows take long to go.

    Units in hand lose their leases: see :func:`remove_rows`.
    """
    _lock(tx, generation_id)
    mine = and_(work.c.generation_id == generation_id, work.c.stage.in_(STAGES), work.c.document_id > after)
    in_order = select(work.c.document_id, work.c.lease_token).where(mine).order_by(work.c.document_id).limit(ASIDE)
    rows = tx.execute(in_order.with_for_update()).all()
    _await_writers(tx, generation_id, rows)
    these = and_(work.c.generation_id == generation_id, among(work.c.document_id, [row.document_id for row in rows]))
    tx.execute(update(work).where(these).values(stage="retired", **FREED))
    return rows[-1].document_id if len(rows) == ASIDE else None


def remove_rows(tx: Transaction, generation_id: int) -> bool:
    """Remove the units of up to BATCH documents, their chunks, and the results that nothing else refers to. Returns
    whether there may be more. It goes on behind the documents of the batch before: to look for the first unit that is left
    is to read past those of the other generations.

    Units in hand lose their leases with their rows, and what is made of them is dropped. Its index goes as soon as nobody
    can be writing to it any more.
    """
    after = _lock(tx, generation_id).get(_REMOVED_UPTO, 0)
    mine = work.c.generation_id == generation_id
    query = select(work.c.document_id, work.c.lease_token).where(mine, work.c.document_id > after)
    rows = tx.execute(query.order_by(work.c.document_id).limit(BATCH).with_for_update()).all()
    if not rows:
        return words.forget(tx, generation_id)
    _await_writers(tx, generation_id, rows)
    these = and_(mine, work.c.document_id.in_([row.document_id for row in rows]))
    units = [unit_of(row) for row in tx.execute(UNIT.where(these))]
    forgetting.forget_units(tx, units)
    tx.execute(delete(work).where(these))
    builds.note(tx, generation_id, **{_REMOVED_UPTO: rows[-1].document_id})
    return True


def _lock(tx: Transaction, generation_id: int) -> dict[str, Any]:
    """Lock a generation, before its units; returns how far its build, or its end, is. Two processes that remove the same
    units come one after the other: the second would find those gone that it waited for, and take that for the end."""
    mine = select(generations.c.build).where(generations.c.id == generation_id)
    return tx.execute(mine.with_for_update(key_share=True)).scalar_one_or_none() or {}


def _await_writers(tx: Transaction, generation_id: int, rows: Sequence[Any]) -> None:
    """If any of these units is in hand, the index stays until its worker has noticed that the lease is gone."""
    if any(row.lease_token for row in rows):
        tx.execute(update(generations).where(generations.c.id == generation_id).values(retire_at=now() + WRITERS))


def forget(tx: Transaction, generation_id: int) -> None:
    """The last row of a generation, after its index."""
    built = select(generations.c.operation_id).where(generations.c.id == generation_id).scalar_subquery()
    rebuilt = and_(operation_items.c.operation_id == built, operation_items.c.kind == "rebuilt")
    tx.execute(delete(operation_items).where(rebuilt))
    tx.execute(delete(generations).where(generations.c.id == generation_id))
