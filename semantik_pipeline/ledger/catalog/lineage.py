"""What the generation that search reads was made of, and which ones are on their way out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

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


def active(tx: Transaction, collection_id: int) -> Record:
    """The generation that search reads."""
    query = _RECORD.where(generations.c.collection_id == collection_id, generations.c.state == "active")
    return Record(**tx.execute(query).mappings().one())
