"""Comparing the ledger with a store, point by point, and sending documents through ``upsert`` again."""

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

#: Documents that are compared at a time; no more than those that have about so many chunks together, but one at least.
SLICE, CHUNKS = 2000, 20_000


@dataclass(frozen=True, kw_only=True)
class Expected:
    """A point that the store must hold: of which document, with which signature, and no older epoch than this."""

    document_id: int
    signature: str
    epoch: int


def _shown(generation_id: int):
    """Chunk rows that stand behind the points of a generation."""
    return and_(
        work.c.generation_id == generation_id,
        chunks.c.generation_id == generation_id,
        chunks.c.document_id == work.c.document_id,
        chunks.c.epoch == work.c.indexed_chunks_epoch,
    )


def expected(tx: Transaction, generation_id: int, point_ids: Sequence[str]) -> dict[str, Expected]:
    """What the ledger says of these points; a point that it doesn't know is left out."""
    query = select(chunks.c.point_id, chunks.c.document_id, chunks.c.signature, work.c.indexed_epoch).join_from(
        chunks, work, _shown(generation_id)
    )
    return {
        point: Expected(document_id=document_id, signature=signature, epoch=epoch)
        for point, document_id, signature, epoch in tx.execute(query.where(among(chunks.c.point_id, point_ids)))
    }


def clock(tx: Transaction) -> float:
    """The database's time, from which on a comparison takes what moves as moving."""
    return tx.execute(select(now())).scalar_one()


def in_flight(
    tx: Transaction, generation_id: int, document_ids: Sequence[int], *, since: float | None = None
) -> set[int]:
    """Those of the documents that some stage is still to work on, or that moved ``since`` then: their points are, or were
    meanwhile, in motion."""
    moves = work.c.stage.in_(STAGES) if since is None else or_(work.c.stage.in_(STAGES), work.c.updated_at > since)
    mine = and_(work.c.generation_id == generation_id, among(work.c.document_id, document_ids), moves)
    return set(tx.execute(select(work.c.document_id).where(mine)).scalars())


def points_at_rest(tx: Transaction, generation_id: int) -> int:
    """How many points the store holds at least: those of documents that no stage is to work on. What was indexed of one
    before it went into quarantine stays."""
    at_rest = and_(_shown(generation_id), _AT_REST)
    return tx.execute(select(func.count()).select_from(work.join(chunks, at_rest))).scalar_one()


def slice_end(tx: Transaction, generation_id: int, *, after: int | None) -> int | None:
    """The last of the next SLICE documents of a generation, behind the id ``after``, or of those that have CHUNKS chunks;
    None: there are no more than that."""
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
    """``(document id, unique id, points the store must hold)`` of documents that are in the index, with ids behind ``after``
    and up to ``upto``."""
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
    """Send documents that are at rest through ``upsert`` with a higher epoch: every point is written, older ones go.
    Returns how many. Their sources are locked before the operation: see :func:`fair_queue.owners`.

    One in quarantine gets the points of the revision that was indexed before. It is set aside for that: what it was in
    quarantine with lies in its progress, and ``upsert`` puts it back.
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

#: Units whose points stay as they are until something comes.
_AT_REST = and_(
    or_(work.c.stage == "indexed", and_(work.c.stage == "quarantined", work.c.goal == "indexed")),
    work.c.indexed_chunks_epoch.is_not(None),
)

#: Units whose points were to go when it failed.
_ON_ITS_WAY_OUT = and_(work.c.stage == "quarantined", work.c.goal != "indexed")


def _shown_chunks() -> Any:
    """How many chunk rows stand behind a unit's points."""
    mine = and_(
        chunks.c.generation_id == work.c.generation_id,
        chunks.c.document_id == work.c.document_id,
        chunks.c.epoch == work.c.indexed_chunks_epoch,
    )
    return select(func.count()).select_from(chunks).where(mine).correlate(work).scalar_subquery()
