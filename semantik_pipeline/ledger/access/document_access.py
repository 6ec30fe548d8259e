"""Who may see a document: its own list of principals decides; without one, its source's list; without both, everybody.

A search filters by the principals in the points first, and then by these rows. So closing a document hides it from the
next search on; opening a document takes effect when its points have been rewritten.
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

#: The principals who may see a document (NULL: everybody), for a query that joins ``documents`` and ``sources``.
LISTED = func.coalesce(documents.c.principals, sources.c.principals)


def open_to(tx: Transaction, principals: Collection[str] | None) -> ColumnElement[bool]:
    """Return the condition that a document is open to one of these principals or to everybody (None: always true).

    A permanently deleted document is open to no principal: its own principals are gone, so those of its source would
    count instead and could be wider.
    """
    if principals is None:
        return true()
    return and_(_REMEMBERED, _lists_one(tx, principals))


#: Condition: the document still has its own principals, because it is live or in the trash.
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
    """Return the ids of the documents that are open to these principals (None: all are)."""
    here = select(documents.c.id).join(sources, documents.c.source_id == sources.c.id)
    mine = and_(documents.c.id.in_(sorted(document_ids)), open_to(tx, principals))
    return set(tx.execute(here.where(mine)).scalars())


@dataclass(frozen=True)
class Openness:
    """The principals that a document is open to.

    ``own``: its own list (None: it has none). ``listed``: its own list, or else that of its source (None: everybody).
    """

    own: list[str] | None
    listed: list[str] | None

    def wider_than(self, principals: Collection[str]) -> bool:
        """Whether the document is open to anybody except these principals."""
        return self.listed is None or not set(self.listed) <= set(principals)


def openness(tx: Transaction, document_ids: Collection[int]) -> dict[int, Openness]:
    """Return document id -> :class:`Openness`. Permanently deleted documents are left out: their lists are gone."""
    query = select(documents.c.id, documents.c.principals, LISTED).join(sources, documents.c.source_id == sources.c.id)
    mine = and_(documents.c.id.in_(sorted(document_ids)), _REMEMBERED)
    return {row[0]: Openness(row[1], row[2]) for row in tx.execute(query.where(mine))}
