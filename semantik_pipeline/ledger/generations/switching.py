"""Switching search to another generation, rolling back, and removing generations that are no longer used."""

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

#: Documents of a retired generation whose rows one transaction deletes.
BATCH = 500

#: Units of a retired generation that one transaction takes out of their stages.
ASIDE = 2000

#: Key in the ``build`` of a retired generation: the last document id whose rows are deleted.
_REMOVED_UPTO = "removed_upto"

#: Seconds after which any writer has noticed that its lease is gone.
WRITERS = 30.0

#: Seconds that a generation stays after searches no longer start in it, so that running searches can finish.
GRACE = 60.0


def switch(tx: Transaction, build: Build, *, keep: float) -> None:
    """Make the build active: from this commit on, search reads it, index and model together.

    The previous generation is kept, and written to, for ``keep`` seconds. Call with the build taken and the collection
    locked.
    """
    _activate(tx, build.collection_id, build.generation_id, keep=keep, before=build.progress.get("config_before"))
    builds.note(tx, build.generation_id, phase="done")


def kept(tx: Transaction, collection: Collection) -> int:
    """Return the id of the kept generation to roll back to. Raises UsageError if none is kept."""
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
    """Make a kept generation active again; the active one is kept instead.

    Returns False, and changes nothing, if it is not the one to roll back to. Raises UsageError if none is kept.
    """
    builds.lock(tx, collection.id)
    if kept(tx, collection) != generation_id:
        return False
    mine = generations.c.collection_id == collection.id
    active = select(generations.c.wanted).where(mine, generations.c.state == "active")
    _activate(tx, collection.id, generation_id, keep=keep, before=tx.execute(active).scalar_one_or_none())
    return True


def _activate(tx: Transaction, collection_id: int, generation_id: int, *, keep: float, before: Any) -> None:
    """Make the generation active.

    The collection gets the configuration from which the generation was frozen, but only if its configuration is still
    ``before``: otherwise somebody has changed it meanwhile. Other kept generations are retired, so that there is only
    one to roll back to.
    """
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
    """Return ``(collection, active index)`` where the store's alias is not known to point to that index."""
    owed = and_(generations.c.state == "active", generations.c.build["alias"].as_string() == ALIAS_OWED)
    there = and_(collections.c.id == generations.c.collection_id, collections.c.trashed_at.is_(None))
    query = select(collections.c.name, generations.c.index_name).join_from(collections, generations, there)
    return [(name, index) for name, index in tx.execute(query.where(owed).order_by(generations.c.id))]


def alias_pointed(tx: Transaction, generation_id: int) -> bool:
    """Record that the alias points to this generation's index. Returns False if the generation is not active."""
    mine = and_(generations.c.id == generation_id, generations.c.state == "active")
    if tx.execute(select(generations.c.id).where(mine).with_for_update(key_share=True)).first() is None:
        return False
    builds.note(tx, generation_id, alias=None)
    return True


def end(tx: Transaction, build: Build, outcome: str, **found: Any) -> None:
    """Finish the build's operation. ``found`` is added to its result, besides the counts."""
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
    """Retire the generation that the operation builds. No unit of it is claimed any more, and maintenance removes it,
    with the units that workers still hold (:func:`remove_rows`).

    Returns the generation's id, or None if the operation has no build in progress.
    """
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


# -- removing a generation ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Retired:
    """A retired generation, which is being removed."""

    generation_id: int
    index: str


def _over() -> ColumnElement[bool]:
    return and_(generations.c.state == "kept", generations.c.retire_at <= now())


def any_due(tx: Transaction) -> bool:
    """Whether a kept generation is due to retire. Takes no lock."""
    return tx.execute(select(generations.c.id).where(_over()).limit(1)).first() is not None


def retire_due(tx: Transaction) -> list[int]:
    """Retire the kept generations that are due. Returns their ids."""
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
    """Return the retired generations, whose rows or index still exist."""
    query = select(generations.c.id, generations.c.index_name).where(generations.c.state == "retired")
    return [Retired(generation_id=row[0], index=row[1]) for row in tx.execute(query.order_by(generations.c.id))]


def quiet(tx: Transaction, generation_id: int) -> bool:
    """Whether no worker can still be writing to the index of a generation whose rows are deleted."""
    retire_at = select(func.coalesce(generations.c.retire_at, 0) <= now()).where(generations.c.id == generation_id)
    return bool(tx.execute(retire_at).scalar_one_or_none())


def set_aside(tx: Transaction, generation_id: int, *, after: int) -> int | None:
    """Take up to ASIDE units of a retired generation out of their stages, of documents after the id ``after``.

    Returns the id after which to continue, or None at the end. Deleting the rows takes long, and until then every claim
    would read past them. Claimed units lose their leases: see :func:`remove_rows`.
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
    """Delete the units of the next BATCH documents, their chunks, and stored results that nothing else refers to.

    Returns whether there may be more. It continues after the last document of the previous batch, because a search for
    the first remaining unit would read past those of other generations.

    Claimed units lose their leases with their rows, and their workers drop the results. The index is dropped as soon as
    no worker can be writing to it any more.
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
    """Lock a generation, before its units, and return its ``build`` (progress of the build, or of the removal).

    It keeps two processes from removing the same units at once: the second would wait for the first, find the rows
    gone, and take that for the end.
    """
    mine = select(generations.c.build).where(generations.c.id == generation_id)
    return tx.execute(mine.with_for_update(key_share=True)).scalar_one_or_none() or {}


def _await_writers(tx: Transaction, generation_id: int, rows: Sequence[Any]) -> None:
    """If any of these units is claimed, keep the index until its worker has noticed that the lease is gone."""
    if any(row.lease_token for row in rows):
        tx.execute(update(generations).where(generations.c.id == generation_id).values(retire_at=now() + WRITERS))


def forget(tx: Transaction, generation_id: int) -> None:
    """Delete the row of a generation, after its index was dropped, and the items of its rebuild."""
    built = select(generations.c.operation_id).where(generations.c.id == generation_id).scalar_subquery()
    rebuilt = and_(operation_items.c.operation_id == built, operation_items.c.kind == "rebuilt")
    tx.execute(delete(operation_items).where(rebuilt))
    tx.execute(delete(generations).where(generations.c.id == generation_id))
