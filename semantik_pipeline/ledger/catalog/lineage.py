"""The frozen configuration of the active generation, and conditions that leave out retired generations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, select

from semantik_pipeline.ledger.database.connection import Transaction
from semantik_pipeline.ledger.tables import generations, work

#: Ids of retired generations, as a subquery.
RETIRED = select(generations.c.id).where(generations.c.state == "retired").correlate(None)

#: Condition on units: the unit does not belong to a retired generation.
NOT_RETIRED = work.c.generation_id.not_in(RETIRED)


@dataclass(frozen=True, kw_only=True)
class Record:
    """A generation as it was frozen. ``plugins``: plugin -> its version at that time."""

    id: int
    dimension: int
    config: dict[str, Any]
    fingerprints: dict[str, Any]
    plugins: dict[str, str] | None


_RECORD = select(*(generations.c[name] for name in Record.__dataclass_fields__))


def living(tx: Transaction) -> ColumnElement[bool]:
    """Return the same condition as :data:`NOT_RETIRED`, for queries that look for units by stage.

    It lists the ids of the generations, so that the database can use the index on generation and stage.
    """
    ids = tx.execute(select(generations.c.id).where(generations.c.state != "retired").order_by(generations.c.id))
    return work.c.generation_id.in_(list(ids.scalars()))


def active(tx: Transaction, collection_id: int) -> Record:
    """Return the collection's active generation: the one that search reads."""
    query = _RECORD.where(generations.c.collection_id == collection_id, generations.c.state == "active")
    return Record(**tx.execute(query).mappings().one())
