"""Whose documents are whose. A document is open to the principals that it lists, else to those of its source, else to
everybody.

What a search finds is decided by the points, which carry the principals, and then by these rows. So a document that is
closed is hidden from the next search on, and one that is opened is found when its points have been written anew.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, cast, false, func, or_, select, true
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.types import Text

from semantik_pipeline.ledger.database.connection import Transaction
from semantik_pipeline.ledger.tables import documents, sources

#: Who may find a document, of a query that joins ``documents`` and ``sources``.
LISTED = func.coalesce(documents.c.principals, sources.c.principals)


def open_to(tx: Transaction, principals: Collection[str] | None) -> ColumnElement[bool]:
    """Condition: the document is open to one of these principals, or to everybody. None sees all documents.

    One that was deleted for good has forgotten its own principals, and those of its source would speak for it: it is open
    to nobody."""
    if principals is None:
        return true()
    return and_(_REMEMBERED, _lists_one(tx, principals))


#: Whom the document is open to is still known.
_REMEMBERED = or_(documents.c.deleted_at.is_(None), documents.c.trashed_at.is_not(None))


def _lists_one(tx: Transaction, principals: Collection[str]) -> ColumnElement[bool]:
    names = sorted(principals)
    return or_(LISTED.is_(None), _names_one(tx, names) if names else false())


def _names_one(tx: Transaction, names: list[str]) -> ColumnElement[bool]:
    if tx.dialect.name == "sqlite":
        one: Any = func.json_each(LISTED).table_valued("value")
        return select(one.c.value).where(one.c.value.in_(names)).correlate(documents, sources).exists()
    return cast(LISTED, JSONB).has_any(cast(names, ARRAY(Text)))


def open_ones(tx: Transaction, document_ids: Collection[int], principals: Collection[str] | None) -> set[int]:
    """Those of the documents that are open to these principals (None: all)."""
    here = select(documents.c.id).join(sources, documents.c.source_id == sources.c.id)
    mine = and_(documents.c.id.in_(sorted(document_ids)), open_to(tx, principals))
    return set(tx.execute(here.where(mine)).scalars())


@dataclass(frozen=True)
class Openness:
    """Whom a document is open to (None: everybody): by what it says itself, and by that or else by its source."""

    own: list[str] | None
    listed: list[str] | None

    def wider_than(self, principals: Collection[str]) -> bool:
        """Whether it is open to others than these."""
        return self.listed is None or not set(self.listed) <= set(principals)


def openness(tx: Transaction, document_ids: Collection[int]) -> dict[int, Openness]:
    """Document id -> whom it is open to. Those that were deleted for good have forgotten it, and are left out."""
    query = select(documents.c.id, documents.c.principals, LISTED).join(sources, documents.c.source_id == sources.c.id)
    mine = and_(documents.c.id.in_(sorted(document_ids)), _REMEMBERED)
    return {row[0]: Openness(row[1], row[2]) for row in tx.execute(query.where(mine))}
