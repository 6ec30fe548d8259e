"""Whose documents are whose: a document is open to the principals that it lists, else to those of its source, else to
everybody."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import ColumnElement, cast, false, func, or_, select, true
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.types import Text

from semantik_pipeline.ledger.connection import Transaction
from semantik_pipeline.ledger.tables import documents, sources

#: Who may find a document, of a query that joins ``documents`` and ``sources``.
LISTED = func.coalesce(documents.c.principals, sources.c.principals)


def open_to(tx: Transaction, principals: Collection[str] | None) -> ColumnElement[bool]:
    """Condition: the document is open to one of these principals, or to everybody. None sees all documents."""
    if principals is None:
        return true()
    names = sorted(principals)
    return or_(LISTED.is_(None), _names_one(tx, names) if names else false())


def _names_one(tx: Transaction, names: list[str]) -> ColumnElement[bool]:
    if tx.dialect.name == "sqlite":
        one: Any = func.json_each(LISTED).table_valued("value")
        return select(one.c.value).where(one.c.value.in_(names)).correlate(documents, sources).exists()
    return cast(LISTED, JSONB).has_any(cast(names, ARRAY(Text)))
