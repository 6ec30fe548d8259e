"""What the generation that search reads was made of, and which ones are on their way out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, select

from semantik_pipeline.ledger.database.connection import Transaction
from semantik_pipeline.ledger.tables import generations, work

#: The generations that are on their way out.
RETIRED = select(generations.c.id).where(generations.c.state == "retired").correlate(None)

#: Condition on units: theirs are left out.
NOT_RETIRED = work.c.generation_id.not_in(RETIRED)


@dataclass(frozen=True, kw_only=True)
class Record:
    """A generation as it was frozen; ``plugins`` maps its plugins to their versions then."""

    id: int
    dimension: int
    config: dict[str, Any]
    fingerprints: dict[str, Any]
    plugins: dict[str, str] | None


_RECORD = select(*(generations.c[name] for name in Record.__dataclass_fields__))


def living(tx: Transaction) -> ColumnElement[bool]:
    """The condition :data:`NOT_RETIRED`, for what looks for units of some stages: it names the generations, so the database
    finds these units by an index, and reads no others."""
    ids = tx.execute(select(generations.c.id).where(generations.c.state != "retired").order_by(generations.c.id))
    return work.c.generation_id.in_(list(ids.scalars()))


def active(tx: Transaction, collection_id: int) -> Record:
    """The generation that search reads."""
    query = _RECORD.where(generations.c.collection_id == collection_id, generations.c.state == "active")
    return Record(**tx.execute(query).mappings().one())
