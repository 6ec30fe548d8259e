"""Comparing the ledger with the vector store point by point, and sending documents through ``upsert`` again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, bindparam, func, not_, or_, select, update

from semantik_pipeline.ledger.database.bulk import among
from semantik_pipeline.ledger.database.connection import Transaction, now
from semantik_pipeline.ledger.operations.lifecycle import note_items
from semantik_pipeline.ledger.queue import fair_queue
from semantik_pipeline.ledger.queue.work import ASIDE, FREED, STAGES
from semantik_pipeline.ledger.tables import chunks, documents, work

#: Size of a slice that is compared at once: SLICE documents, or fewer if they have CHUNKS chunks, but at least one.
SLICE, CHUNKS = 2000, 20_000


@dataclass(frozen=True, kw_only=True)
class Expected:
    """A point that the store must hold. Its epoch must be ``epoch`` or later."""

    document_id: int
    signature: str
    epoch: int


def _shown(generation_id: int):
    """Condition: the chunk rows behind the points of a generation."""
    return and_(
        work.c.generation_id == generation_id,
        chunks.c.generation_id == generation_id,
        chunks.c.document_id == work.c.document_id,
        chunks.c.epoch == work.c.indexed_chunks_epoch,
    )


def expected(tx: Transaction, generation_id: int, point_ids: Sequence[str]) -> dict[str, Expected]:
    """Return point id -> what the ledger expects. Points that the ledger doesn't know are left out."""
    query = select(chunks.c.point_id, chunks.c.document_id, chunks.c.signature, work.c.indexed_epoch).join_from(
        chunks, work, _shown(generation_id)
    )
    return {
        point: Expected(document_id=document_id, signature=signature, epoch=epoch)
        for point, document_id, signature, epoch in tx.execute(query.where(among(chunks.c.point_id, point_ids)))
    }


def clock(tx: Transaction) -> float:
    """Return the database's time. A comparison takes it at its start and passes it to :func:`in_flight`."""
    return tx.execute(select(now())).scalar_one()


def in_flight(
    tx: Transaction, generation_id: int, document_ids: Sequence[int], *, since: float | None = None
) -> set[int]:
    """Return those of the documents whose points may be changing: still at a stage, or moved ``since`` that time."""
    moves = work.c.stage.in_(STAGES) if since is None else or_(work.c.stage.in_(STAGES), work.c.updated_at > since)
    mine = and_(work.c.generation_id == generation_id, among(work.c.document_id, document_ids), moves)
    return set(tx.execute(select(work.c.document_id).where(mine)).scalars())


def points_at_rest(tx: Transaction, generation_id: int) -> int:
    """Return the least number of points that the store must hold: those of documents that are not at any stage.

    A quarantined document keeps the points that were indexed before.
    """
    at_rest = and_(_shown(generation_id), _AT_REST)
    return tx.execute(select(func.count()).select_from(work.join(chunks, at_rest))).scalar_one()


def slice_end(tx: Transaction, generation_id: int, *, after: int | None) -> int | None:
    """Return the last document id of the next slice after the id ``after``: SLICE documents, or fewer that have CHUNKS
    chunks together. None: the slice reaches to the end."""
    mine = and_(work.c.generation_id == generation_id, work.c.document_id > (after or 0))
    query = select(work.c.document_id, work.c.chunks).where(mine).order_by(work.c.document_id).limit(SLICE)
    rows = tx.execute(query).all()
    seen = 0
    for row in rows:
        seen += row.chunks
        if seen >= CHUNKS:
            return row.document_id
    return rows[-1].document_id if len(rows) == SLICE else None


def point_counts(
    tx: Transaction, generation_id: int, *, after: int | None, upto: int | None
) -> list[tuple[int, str, int]]:
    """Return ``(document id, unique id, number of points the store must hold)`` of indexed documents, with ids after
    ``after`` and up to ``upto``."""
    which = and_(
        work.c.generation_id == generation_id,
        work.c.indexed_epoch.is_not(None),
        work.c.document_id > (after or 0),
        not_(_ON_ITS_WAY_OUT),
    )
    if upto is not None:
        which = and_(which, work.c.document_id <= upto)
    counts = (
        select(work.c.document_id, documents.c.unique_id, func.count(chunks.c.id))
        .select_from(work)
        .join(documents, documents.c.id == work.c.document_id)
        .outerjoin(chunks, _shown(generation_id))
        .where(which)
        .group_by(work.c.document_id, documents.c.unique_id)
        .order_by(work.c.document_id)
    )
    return [(row[0], row[1], row[2]) for row in tx.execute(counts)]


def upsert_again(tx: Transaction, generation_id: int, document_ids: Sequence[int], *, operation_id: int) -> int:
    """Send documents that are not at any stage through ``upsert`` again, with a higher epoch. Returns their number.

    All their points are written, and older ones are deleted. Sources are locked before the operation
    (:func:`fair_queue.owners`).

    A quarantined document gets the points of the revision that was indexed before. Meanwhile, the values that it had in
    quarantine are kept in its progress, under ASIDE; ``upsert`` restores them.
    """
    owned = fair_queue.owners(tx, document_ids)
    mine = and_(work.c.generation_id == generation_id, among(work.c.document_id, sorted(document_ids)), _AT_REST)
    columns = (work.c.document_id, work.c.revision, work.c.stage, work.c.progress, *(work.c[name] for name in _KEPT))
    locked = tx.execute(select(*columns).where(mine).order_by(work.c.document_id).with_for_update()).mappings().all()
    places = fair_queue.take_each(tx, owned, {row["document_id"] for row in locked})
    rewritten = {**FREED, "stage": "upsert", "epoch": work.c.epoch + 1, "touched": True, "embedded": 0, "attempts": 0}
    one = and_(work.c.generation_id == generation_id, work.c.document_id == bindparam("d"))
    own: dict[str, Any] = {"progress": bindparam("p"), "turn": bindparam("t")}
    change = update(work).where(one).values(**rewritten, **own, updated_at=now())
    indexed = [row for row in locked if row["stage"] == "indexed"]
    if indexed:
        tx.execute(change, [_rewritten(row, places) for row in indexed])
    aside = [row for row in locked if row["stage"] == "quarantined"]
    if aside:
        before = {"chunks": _shown_chunks(), "chunks_epoch": work.c.indexed_chunks_epoch}
        kept = [(row["progress"] or {}).get(ASIDE) or {name: row[name] for name in _KEPT} for row in aside]
        given = zip(aside, kept, strict=True)
        tx.execute(
            change.values(**before),
            [_rewritten(row, places, {ASIDE: values}) for row, values in given],
        )
    note_items(tx, operation_id, [(row["document_id"], "repaired", row["revision"]) for row in locked])
    return len(locked)


def _rewritten(row: Any, places: dict[int, float], kept: dict[str, Any] | None = None) -> dict[str, Any]:
    document_id = row["document_id"]
    return {"d": document_id, "t": places[document_id], "p": {"rewrite": True, **(kept or {})}}


_KEPT = ("error", "attempts", "chunks", "chunks_epoch", "embedded")

#: Condition: the unit's points don't change until something new arrives.
_AT_REST = and_(
    or_(work.c.stage == "indexed", and_(work.c.stage == "quarantined", work.c.goal == "indexed")),
    work.c.indexed_chunks_epoch.is_not(None),
)

#: Condition: the unit failed while its points were to be removed.
_ON_ITS_WAY_OUT = and_(work.c.stage == "quarantined", work.c.goal != "indexed")


def _shown_chunks() -> Any:
    """Return a subquery: the number of chunk rows behind a unit's points."""
    mine = and_(
        chunks.c.generation_id == work.c.generation_id,
        chunks.c.document_id == work.c.document_id,
        chunks.c.epoch == work.c.indexed_chunks_epoch,
    )
    return select(func.count()).select_from(chunks).where(mine).correlate(work).scalar_subquery()
