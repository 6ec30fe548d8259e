"""Revisions: what a sync, a retry or a deletion makes of a document and of its units."""

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
    """Generations that are written to, for a transaction that writes revisions: none comes or goes until its end."""
    tx.execute(select(collections.c.id).where(collections.c.id == collection_id).with_for_update(read=True))
    query = select(generations.c.id).where(
        generations.c.collection_id == collection_id, generations.c.state != "retired"
    )
    return list(tx.execute(query.order_by(generations.c.id)).scalars())


def _active(tx: Transaction, collection_id: int) -> int | None:
    query = select(collections.c.active_generation).where(collections.c.id == collection_id)
    return tx.execute(query).scalar_one()


def arrive(tx: Transaction, claim: SourceClaim, arrivals: Sequence[Arrival], before: dict[str, Known]) -> None:
    """Write new revisions and queue them at ``chunk`` (or at their end, where there is nothing to index)."""
    arrivals = sorted(arrivals, key=lambda one: one.unique_id)
    identities = _write_documents(tx, claim, arrivals, before)
    places = fair_queue.take(tx, claim.source_id, len(arrivals))
    generation_ids = live_generations(tx, claim.collection_id)
    held_by = holds.holder(tx, claim.operation_id)
    held_in = _active(tx, claim.collection_id) if held_by is not None else None  # a build goes on with what arrives
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
    """unique id -> (document id, revision). The revision counts on from the ledger's, not from what was ``before``: a
    deletion may have come between."""
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
        if arrival.content_hash is None:  # whom it is open to is told with its content; till then, to nobody new
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


#: What a document's row has of an arrival, beside its name.
_CONTENT = tuple(name for name in Arrival.__dataclass_fields__ if name not in ("unique_id", "skipped", "error"))


@dataclass(frozen=True, kw_only=True)
class Revision:
    """What a unit becomes when its document has a new revision.

    ``goal`` is what its end means: ``indexed``, or ``skipped`` and ``deleted``, which have no text. With ``error`` it
    is in quarantine from the start, and what was indexed stays. ``held_by`` is a paused operation that it belongs to.
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
    """Give units their new revisions: a higher epoch, no lease, no attempts, and the stage where they begin.

    A revision without text begins at ``upsert``, which removes what the store has; one that was skipped before it
    ever was in the store is at its end at once.
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
    """A unit before its revision: whether the store may hold points of it, whether nobody knows which, and whether
    somebody without a lease may write them still."""

    touched: bool = False
    unsure: bool = False
    reconcile: bool = False


def _before(tx: Transaction, revisions: Sequence[Revision]) -> dict[tuple[int, int], _Before]:
    """Units that exist, locked."""
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
    """Its points were being written, or were to be written anew."""
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
        "reconcile": before.reconcile,  # whoever is writing the revision before may die before it can say so
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
    """Delete up to ``limit`` of the documents that the run, ``full`` or not, shows to be gone; returns how many."""
    which = vanished(claim, full=full)
    rows = tx.execute(select(documents.c.id).where(which).order_by(documents.c.id).limit(limit)).scalars().all()
    places = fair_queue.take(tx, claim.source_id, len(rows))
    delete_documents(tx, dict(zip(rows, places, strict=True)), operation_id=claim.operation_id, lane=claim.lane)
    return len(rows)


#: What a deleted document said. Its content hash goes last, with its bodies.
_FORGOTTEN: dict[str, Any] = {"change_hint": None, "title": None, "file_path": None, "metadata": {}, "principals": None}


def delete_documents(
    tx: Transaction, places: dict[int, float], *, operation_id: int, lane: int, trashed_at: Any = None
) -> None:
    """Delete the documents that are the keys of ``places`` (their turns in the queue).

    A deletion is a revision without chunks, in every generation that has the document. With ``trashed_at`` (a time, or
    the database's) those that live go to the trash: nothing of what they said is forgotten.
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
                reason=reason if trashed_at is not None else None,  # why it was skipped, for its return
            )
            for document_id, generation_id, reason in tx.execute(
                units.where(among(work.c.document_id, sorted(places)), NOT_RETIRED)
            ).all()
        ],
    )


def set_titles(tx: Transaction, titles: Sequence[tuple[int, int, str | None]]) -> None:
    """``(document id, revision, title)``: the titles that parsers found in these revisions."""
    if not titles:
        return
    mine = among(documents.c.id, sorted({document_id for document_id, _, _ in titles}))
    tx.execute(select(documents.c.id).where(mine).order_by(documents.c.id).with_for_update())  # as everybody locks
    rows = [{"id": document_id, "revision": revision, "title": title} for document_id, revision, title in titles]
    update_rows(tx, documents, rows, by=("id", "revision"))


def forget_hint(tx: Transaction, document_id: int, revision: int) -> None:
    """Let the next sync fetch the document, whatever its source's hint says, unless it has a newer revision."""
    same = and_(documents.c.id == document_id, documents.c.revision == revision)
    tx.execute(update(documents).where(same).values(change_hint=None, content_hash=None))


def retry_documents(tx: Transaction, document_ids: Sequence[int], *, operation_id: int, lane: int) -> None:
    """Begin these documents' units anew with a higher epoch. One without a stored body is left to the next sync of
    its source, which fetches it."""
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
    """Delete these documents, whatever their sources say, or put them into the ``trash``. The next sync names all that
    there is, not only changes; a run in hand goes on as it is."""
    owned = fair_queue.owners(tx, document_ids)
    for source_id, cursor in tx.execute(
        select(sources.c.id, sources.c.cursor).where(sources.c.id.in_(sorted(owned)))
    ).all():
        anew = replace(Cursor.of(cursor), anew=True).stored()
        tx.execute(update(sources).where(sources.c.id == source_id).values(cursor=anew))
    places = fair_queue.take_each(tx, owned)
    delete_documents(tx, places, operation_id=operation_id, lane=lane, trashed_at=now() if trash else None)
