"""The generations of a collection, with what each was made of."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import func, select

from semantik_pipeline.ledger.connection import Transaction
from semantik_pipeline.ledger.tables import generations, work


@dataclass(frozen=True, kw_only=True)
class Record:
    """A generation as the ledger keeps it. ``wanted`` is the configuration that it was frozen from; ``plugins`` maps its
    plugins to their versions then; times are seconds since 1970."""

    id: int
    state: str
    index: str
    dimension: int
    config: dict[str, Any]
    fingerprints: dict[str, Any]
    wanted: dict[str, Any] | None
    plugins: dict[str, str] | None
    build: dict[str, Any] | None
    operation_id: int | None
    created_at: float
    activated_at: float | None
    retire_at: float | None

    def summary(self) -> dict[str, Any]:
        """What people want to know of it; without the configuration and the fingerprints."""
        values = asdict(self)
        for name in ("config", "fingerprints", "wanted", "build"):
            values.pop(name)
        return {**values, "phase": (self.build or {}).get("phase") if self.state == "building" else None}


_RECORD = select(
    *(generations.c[{"index": "index_name"}.get(name, name)].label(name) for name in Record.__dataclass_fields__)
)


def active(tx: Transaction, collection_id: int) -> Record:
    """The generation that search reads."""
    query = _RECORD.where(generations.c.collection_id == collection_id, generations.c.state == "active")
    return Record(**tx.execute(query).mappings().one())


def of_collection(tx: Transaction, collection_id: int) -> list[Record]:
    """All generations that are not removed yet, newest first."""
    query = _RECORD.where(generations.c.collection_id == collection_id).order_by(generations.c.id.desc())
    return [Record(**row) for row in tx.execute(query).mappings()]


def sizes(tx: Transaction, collection_id: int) -> dict[int, tuple[int, int]]:
    """generation -> (documents that its index shows, chunks of them)."""
    shown = select(work.c.generation_id, func.count(), func.coalesce(func.sum(work.c.chunks), 0)).where(
        work.c.generation_id.in_(select(generations.c.id).where(generations.c.collection_id == collection_id)),
        work.c.indexed_epoch.is_not(None),
        work.c.goal == "indexed",
    )
    rows = tx.execute(shown.group_by(work.c.generation_id))
    return {generation_id: (documents, int(chunks)) for generation_id, documents, chunks in rows}
