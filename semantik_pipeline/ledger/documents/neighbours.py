"""The chunks before and after a hit in its document."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import and_, bindparam, or_, select

from semantik_pipeline.ledger.catalog.collections import visible
from semantik_pipeline.ledger.database.connection import Transaction
from semantik_pipeline.ledger.tables import chunks, work

#: Places that one statement looks up.
AT_ONCE = 100


@dataclass(frozen=True, kw_only=True)
class Place:
    """A chunk that a search found: its point, and its ordinal in the document."""

    document_id: int
    point_id: str
    ordinal: int


@dataclass(frozen=True, kw_only=True)
class Beside:
    """A chunk before or after a place."""

    ordinal: int
    text: str
    start: int
    end: int
    section: tuple[str, ...]


def around(
    tx: Transaction,
    generation_id: int,
    places: Sequence[Place],
    *,
    before: int,
    after: int,
    principals: Collection[str] | None = None,
) -> list[list[Beside]]:
    """Return, for each place, up to ``before`` chunks before and ``after`` chunks after it, in order, without itself.

    The list is empty if the document may not be shown (any more), or not to these principals (None: all may see it). If
    several revisions have chunk rows, the one that the place's point belongs to is used.
    """
    found: list[list[Beside]] = []
    for begin in range(0, len(places), AT_ONCE):
        found += _around(tx, generation_id, places[begin : begin + AT_ONCE], before, after, principals)
    return found


_EPOCHS = select(work.c.document_id, work.c.indexed_chunks_epoch, work.c.chunks_epoch).where(
    work.c.generation_id == bindparam("generation"), work.c.document_id.in_(bindparam("ids", expanding=True))
)


def _around(
    tx: Transaction,
    generation_id: int,
    places: Sequence[Place],
    before: int,
    after: int,
    principals: Collection[str] | None,
) -> list[list[Beside]]:
    shown = visible(tx, generation_id, {place.document_id for place in places}, principals)
    if not shown:
        return [[] for _ in places]
    rows = tx.execute(_EPOCHS, {"generation": generation_id, "ids": sorted(shown)})
    epochs = {row[0]: [epoch for epoch in dict.fromkeys(row[1:]) if epoch is not None] for row in rows}
    wanted = [
        and_(
            chunks.c.document_id == place.document_id,
            chunks.c.ordinal.between(max(0, place.ordinal - before), place.ordinal + after),
        )
        for place in places
        if epochs.get(place.document_id)
    ]
    if not wanted:
        return [[] for _ in places]
    every = sorted({epoch for some in epochs.values() for epoch in some})
    names = ("document_id", "epoch", "ordinal", "point_id", "text", "start", "end", "metadata")
    query = select(*(chunks.c[name] for name in names)).where(
        chunks.c.generation_id == generation_id, chunks.c.epoch.in_(every), or_(*wanted)
    )
    known = {(row[0], row[1], row[2]): row for row in tx.execute(query)}
    return [_beside(known, epochs.get(place.document_id, []), place, before, after) for place in places]


def _beside(known: dict, epochs: Sequence[int], place: Place, before: int, after: int) -> list[Beside]:
    for epoch in epochs:
        mine = known.get((place.document_id, epoch, place.ordinal))
        if mine is not None and mine.point_id == place.point_id:
            near = range(max(0, place.ordinal - before), place.ordinal + after + 1)
            rows = [known.get((place.document_id, epoch, ordinal)) for ordinal in near if ordinal != place.ordinal]
            return [_told(row) for row in rows if row is not None]
    return []


def _told(row) -> Beside:
    section = (row.metadata or {}).get("section") or ()
    return Beside(
        ordinal=row.ordinal,
        text=row.text,
        start=row.start,
        end=row.end,
        section=(section,) if isinstance(section, str) else tuple(section),
    )
