"""New revisions of documents: how syncs, retries and deletions change a document and its units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import and_, bindparam, case, select, update

from semantik_pipeline.ledger.access.document_access import openness
from semantik_pipeline.ledger.catalog.cursors import Cursor
from semantik_pipeline.ledger.catalog.lineage import NOT_RETIRED
from semantik_pipeline.ledger.database.bulk import among, insert_rows, update_rows
from semantik_pipeline.ledger.database.connection import Transaction, now
from semantik_pipeline.ledger.ingestion.absence import vanished
from semantik_pipeline.ledger.ingestion.sync import Arrival, Known, SourceClaim
from semantik_pipeline.ledger.operations import holds
from semantik_pipeline.ledger.operations.lifecycle import note_items
from semantik_pipeline.ledger.queue import fair_queue
from semantik_pipeline.ledger.queue.work import FREED, UNREAD
from semantik_pipeline.ledger.tables import (
    collections,
    documents,
    generations,
    sources,
    work,
)


def live_generations(tx: Transaction, collection_id: int) -> list[int]:
    """Ids of the collection's generations that are not retired. Locks the collection, so that this set stays the same
    until the transaction, which writes revisions, ends."""
    tx.execute(select(collections.c.id).where(collections.c.id == collection_id).with_for_update(read=True))
    query = select(generations.c.id).where(
        generations.c.collection_id == collection_id, generations.c.state != "retired"
    )
    return list(tx.execute(query.order_by(generations.c.id)).scalars())


def _active(tx: Transaction, collection_id: int) -> int | None:
    query = select(collections.c.active_generation).where(collections.c.id == collection_id)
    return tx.execute(query).scalar_one()


def arrive(tx: Transaction, claim: SourceClaim, arrivals: Sequence[Arrival], before: dict[str, Known]) -> None:
    """Write new revisions of documents and queue their units at ``chunk``; :func:`revise` says where others begin."""
    arrivals = sorted(arrivals, key=lambda one: one.unique_id)
    identities = _write_documents(tx, claim, arrivals, before)
    places = fair_queue.take(tx, claim.source_id, len(arrivals))
    generation_ids = live_generations(tx, claim.collection_id)
    held_by = holds.holder(tx, claim.operation_id)
    held_in = _active(tx, claim.collection_id) if held_by is not None else None  # builds are not held
    items, revisions = [], []
    for arrival, turn in zip(arrivals, places, strict=True):
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
                held_by=held_by if generation_id == held_in else None,
            )
            for generation_id in generation_ids
        ]
    note_items(tx, claim.operation_id, items)
    revise(tx, revisions)


def _write_documents(
    tx: Transaction, claim: SourceClaim, arrivals: Sequence[Arrival], before: dict[str, Known]
) -> dict[str, tuple[int, int]]:
    """unique id -> (document id, new revision). The new revision follows the one in the ledger, not the one in
    ``before``, since a deletion may have come in between."""
    known = [before[arrival.unique_id].document_id for arrival in arrivals if arrival.unique_id in before]
    locked = select(documents.c.id, documents.c.unique_id, documents.c.revision).where(among(documents.c.id, known))
    identities = {
        name: (document_id, revision + 1)
        for document_id, name, revision in tx.execute(locked.order_by(documents.c.id).with_for_update())
    }
    bare = [one.unique_id for one in arrivals if one.content_hash is None]
    told = openness(tx, [identities[name][0] for name in bare if name in identities]) if bare else {}
    fresh, changed = [], []
    for arrival in arrivals:
        values = {name: getattr(arrival, name) for name in _CONTENT}
        if arrival.content_hash is None:  # its principals come with its content; until then it is open to nobody new
            found = told.get(identities.get(arrival.unique_id, (0, 0))[0])
            values["principals"] = found.own if found else []
        if arrival.unique_id in before:
            document_id, revision = identities[arrival.unique_id]
            changed.append({"d": document_id, "revision": revision, **values})
        else:
            fresh.append({"unique_id": arrival.unique_id, "revision": 1, **values})
    always = {"seen_run": claim.run, "deleted_at": None, "trashed_at": None}
    if changed:
        named: dict[str, Any] = {name: bindparam(name) for name in ("revision", *_CONTENT)}
        tx.execute(
            update(documents).where(documents.c.id == bindparam("d")).values(changed_at=now(), **named, **always),
            changed,
        )
    owner = {"source_id": claim.source_id, "collection_id": claim.collection_id}
    rows = [{**values, **owner, **always} for values in fresh]
    stamped, returning = ("created_at", "changed_at"), ("unique_id", "id")
    made = insert_rows(tx, documents, rows, stamped=stamped, returning=returning)
    identities |= {name: (document_id, 1) for name, document_id in made}
    return identities


#: Fields of an arrival that are stored in the document's row, besides the unique id.
_CONTENT = tuple(name for name in Arrival.__dataclass_fields__ if name not in ("unique_id", "skipped", "error"))


@dataclass(frozen=True, kw_only=True)
class Revision:
    """The new revision of a unit.

    ``goal`` is the unit's stage after ``upsert``: ``indexed``, or ``skipped`` or ``deleted``, which have no text. With
    an ``error`` the unit goes to quarantine at once, and what was indexed stays. ``held_by`` is the paused operation
    that holds the unit, if any.
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
    held_by: int | None = None


def revise(tx: Transaction, revisions: Sequence[Revision]) -> None:
    """Set units to their new revisions: a higher epoch, no lease, no attempts, and the first stage.

    A revision without text starts at ``upsert``, which removes the points from the store. A skipped revision of a unit
    that never was in the store ends at once.
    """
    before = _before(tx, revisions)
    groups: dict[tuple[bool, str], list[dict[str, Any]]] = {}
    for one in sorted(revisions, key=lambda one: (one.document_id, one.generation_id)):
        key = (one.document_id, one.generation_id)
        values = _revised(one, before.get(key, _Before()))
        groups.setdefault((key in before, one.goal), []).append(values)
    by_key = and_(work.c.document_id == bindparam("document_id_"), work.c.generation_id == bindparam("generation_id_"))
    for (exists, _), rows in groups.items():
        if exists:
            names = [name for name in rows[0] if name not in ("document_id", "generation_id")]
            keyed = [{f"{name}_": row[name] for name in row} for row in rows]
            changes: dict[str, Any] = {name: bindparam(f"{name}_") for name in names}
            tx.execute(update(work).where(by_key).values(epoch=work.c.epoch + 1, updated_at=now(), **changes), keyed)
        else:
            insert_rows(tx, work, [{"epoch": 1, **row} for row in rows], stamped=["updated_at"])


@dataclass(frozen=True, kw_only=True)
class _Before:
    """A unit before its new revision. ``touched``: the store may hold points of it. ``unsure``: it is unknown which.
    ``reconcile``: a worker without a lease may have written points, or may still write them."""

    touched: bool = False
    unsure: bool = False
    reconcile: bool = False


def _before(tx: Transaction, revisions: Sequence[Revision]) -> dict[tuple[int, int], _Before]:
    """Lock the units of these documents that exist, and return their state by (document id, generation id)."""
    columns = (work.c.document_id, work.c.generation_id, work.c.touched, work.c.progress, work.c.reconcile)
    query = select(*columns).where(among(work.c.document_id, sorted({one.document_id for one in revisions})))
    in_order = query.order_by(work.c.document_id, work.c.generation_id)
    return {
        (row[0], row[1]): _Before(
            touched=row[2], unsure=_unsure(row[3] or {}), reconcile=row[4] or bool((row[3] or {}).get("begun"))
        )
        for row in tx.execute(in_order.with_for_update())
    }


def _unsure(progress: dict[str, Any]) -> bool:
    """Whether its points were being written, or were due to be written again."""
    return bool(progress.get("begun") or progress.get("rewrite"))


def _revised(one: Revision, before: _Before) -> dict[str, Any]:
    empty = one.goal != "indexed"
    stage = "chunk" if not empty else "upsert" if one.goal == "deleted" or before.touched else one.goal
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
        "held_by": one.held_by,
        "reconcile": before.reconcile,  # a worker that writes the old revision may die before it marks the unit
        **FREED,
        **_FRESH,
        "progress": {"rewrite": True} if before.unsure else None,
    }
    if empty:
        values |= {"chunks": 0, "chunks_epoch": None}
    if one.goal == "skipped":
        values |= UNREAD
    return values


_FRESH = {"suspect": False, "attempts": 0, "notes": None, "embedded": 0}


def remove(tx: Transaction, claim: SourceClaim, *, full: bool, limit: int = 500) -> int:
    """Delete up to ``limit`` documents that the run shows to be gone (:func:`absence.vanished`); returns how many."""
    which = vanished(claim, full=full)
    rows = tx.execute(select(documents.c.id).where(which).order_by(documents.c.id).limit(limit)).scalars().all()
    places = fair_queue.take(tx, claim.source_id, len(rows))
    delete_documents(tx, dict(zip(rows, places, strict=True)), operation_id=claim.operation_id, lane=claim.lane)
    return len(rows)


#: Columns that a deletion clears. The content hash is cleared later, when the stored bodies are removed.
_FORGOTTEN: dict[str, Any] = {"change_hint": None, "title": None, "file_path": None, "metadata": {}, "principals": None}


def delete_documents(
    tx: Transaction, places: dict[int, float], *, operation_id: int, lane: int, trashed_at: Any = None
) -> None:
    """Delete the documents that are the keys of ``places``; the values are their turns in the queue.

    A deletion is a revision without chunks, in every generation that has the document and is not retired. With
    ``trashed_at`` (seconds, or an expression for the database's time) live documents go to the trash, with all columns
    kept.
    """
    if not places:
        return
    in_order = select(documents.c.id).where(among(documents.c.id, sorted(places))).order_by(documents.c.id)
    tx.execute(in_order.with_for_update()).all()
    said = {**_FORGOTTEN, "trashed_at": None}
    if trashed_at is not None:
        said = {"trashed_at": case((documents.c.deleted_at.is_(None), trashed_at), else_=documents.c.trashed_at)}
    rows = tx.execute(
        update(documents)
        .where(among(documents.c.id, sorted(places)))
        .values(deleted_at=now(), revision=documents.c.revision + 1, changed_at=now(), **said)
        .returning(documents.c.id, documents.c.source_id, documents.c.revision)
    ).all()
    note_items(tx, operation_id, [(row.id, "deleted", row.revision) for row in rows])
    by_id = {row.id: row for row in rows}
    units = select(work.c.document_id, work.c.generation_id, work.c.reason)
    revise(
        tx,
        [
            Revision(
                document_id=document_id,
                generation_id=generation_id,
                source_id=by_id[document_id].source_id,
                revision=by_id[document_id].revision,
                lane=lane,
                turn=places[document_id],
                goal="deleted",
                reason=reason if trashed_at is not None else None,  # why it was skipped, kept for a restore
            )
            for document_id, generation_id, reason in tx.execute(
                units.where(among(work.c.document_id, sorted(places)), NOT_RETIRED)
            ).all()
        ],
    )


def set_titles(tx: Transaction, titles: Sequence[tuple[int, int, str | None]]) -> None:
    """Store titles that parsers found: ``(document id, revision, title)``. Newer revisions keep theirs."""
    if not titles:
        return
    mine = among(documents.c.id, sorted({document_id for document_id, _, _ in titles}))
    tx.execute(select(documents.c.id).where(mine).order_by(documents.c.id).with_for_update())  # in key order
    rows = [{"id": document_id, "revision": revision, "title": title} for document_id, revision, title in titles]
    update_rows(tx, documents, rows, by=("id", "revision"))


def forget_hint(tx: Transaction, document_id: int, revision: int) -> None:
    """Make the next sync fetch the document, whatever its change hint is, unless it has a newer revision."""
    same = and_(documents.c.id == document_id, documents.c.revision == revision)
    tx.execute(update(documents).where(same).values(change_hint=None, content_hash=None))


def retry_documents(tx: Transaction, document_ids: Sequence[int], *, operation_id: int, lane: int) -> None:
    """Start the units of these documents again, with a higher epoch. A document without a stored body is left to the
    next sync of its source, which fetches it."""
    owned = fair_queue.owners(tx, document_ids)
    rows = tx.execute(
        select(documents.c.id, documents.c.source_id, documents.c.revision, documents.c.content_hash)
        .where(among(documents.c.id, sorted(document_ids)), documents.c.deleted_at.is_(None))
        .order_by(documents.c.id)
        .with_for_update()
    ).all()
    note_items(tx, operation_id, [(row.id, "retried", row.revision) for row in rows])
    for row in rows:
        if row.content_hash is None:
            forget_hint(tx, row.id, row.revision)
    again = {row.id: row for row in rows if row.content_hash is not None}
    places = fair_queue.take_each(tx, owned, again)
    units = select(work.c.document_id, work.c.generation_id).where(
        among(work.c.document_id, sorted(again)), NOT_RETIRED
    )
    revise(
        tx,
        [
            Revision(
                document_id=document_id,
                generation_id=generation_id,
                source_id=again[document_id].source_id,
                revision=again[document_id].revision,
                lane=lane,
                turn=places[document_id],
            )
            for document_id, generation_id in tx.execute(units).all()
        ],
    )


def drop_documents(
    tx: Transaction, document_ids: Sequence[int], *, operation_id: int, lane: int, trash: bool = False
) -> None:
    """Delete these documents, even if their sources still have them, or move them to the ``trash``. The next run of
    each source is a full enumeration; a run in progress continues unchanged."""
    owned = fair_queue.owners(tx, document_ids)
    for source_id, cursor in tx.execute(
        select(sources.c.id, sources.c.cursor).where(sources.c.id.in_(sorted(owned)))
    ).all():
        anew = replace(Cursor.of(cursor), anew=True).stored()
        tx.execute(update(sources).where(sources.c.id == source_id).values(cursor=anew))
    places = fair_queue.take_each(tx, owned)
    delete_documents(tx, places, operation_id=operation_id, lane=lane, trashed_at=now() if trash else None)
