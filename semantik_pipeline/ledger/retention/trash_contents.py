"""The contents of the trash: lists, pages, and lookup by name."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, or_, select

from semantik_pipeline.errors import NotFound, UsageError
from semantik_pipeline.ledger.database.connection import Transaction
from semantik_pipeline.ledger.tables import collections, documents, sources


def contents(tx: Transaction, *, limit: int | None = None) -> dict[str, list[dict[str, Any]]]:
    """The ``collections``, ``sources`` and ``documents`` in the trash, oldest first; ``limit`` bounds the documents.

    Sources and documents that came there with their collection or source are not listed; documents are counted there.
    """
    return {
        "collections": _rows(tx, _COLLECTIONS),
        "sources": _rows(tx, _SOURCES),
        "documents": _rows(tx, _DOCUMENTS.limit(limit) if limit else _DOCUMENTS),
    }


def _rows(tx: Transaction, query: Select) -> list[dict[str, Any]]:
    return [dict(row) for row in tx.execute(query).mappings()]


def _count(condition: ColumnElement[bool]) -> Any:
    return select(func.count()).select_from(documents).where(condition).scalar_subquery()


_COLLECTIONS = (
    select(
        collections.c.id,
        collections.c.name,
        collections.c.trashed_at,
        _count(documents.c.collection_id == collections.c.id).label("documents"),
    )
    .where(collections.c.trashed_at.is_not(None), collections.c.importing_at.is_(None))
    .order_by(collections.c.trashed_at, collections.c.id)
)

_SOURCES = (
    select(
        sources.c.id,
        sources.c.name,
        sources.c.connector,
        collections.c.name.label("collection"),
        sources.c.trashed_at,
        _count(and_(documents.c.source_id == sources.c.id, documents.c.trashed_at >= sources.c.trashed_at)).label(
            "documents"
        ),
    )
    .join_from(sources, collections, collections.c.id == sources.c.collection_id)
    .where(sources.c.trashed_at.is_not(None), collections.c.trashed_at.is_(None))
    .order_by(sources.c.trashed_at, sources.c.id)
)

_DOCUMENTS = (
    select(
        documents.c.id,
        documents.c.unique_id.label("document"),
        documents.c.file_path,
        sources.c.name.label("source"),
        collections.c.name.label("collection"),
        documents.c.title,
        documents.c.size,
        documents.c.trashed_at,
    )
    .join_from(documents, sources, sources.c.id == documents.c.source_id)
    .join(collections, collections.c.id == documents.c.collection_id)
    .where(documents.c.trashed_at.is_not(None), sources.c.trashed_at.is_(None), collections.c.trashed_at.is_(None))
    .order_by(documents.c.trashed_at, documents.c.id)
)


#: The kinds of entries, in the order of the list.
KINDS = ("collections", "sources", "documents")

_LISTED = {
    "collections": (_COLLECTIONS, collections),
    "sources": (_SOURCES, sources),
    "documents": (_DOCUMENTS, documents),
}


def page(
    tx: Transaction,
    *,
    limit: int,
    after: tuple[int, float, int] | None = None,
    among: Collection[str] | None = None,
    kinds: Collection[str] = KINDS,
) -> list[tuple[str, dict[str, Any]]]:
    """At most ``limit`` entries of :func:`contents`, as ``(kind, entry)``, in the order of KINDS and oldest first.

    ``among``: names of collections; None: all. ``after``: the last entry of the previous page, as (index of its kind in
    KINDS, ``trashed_at``, id).
    """
    found: list[tuple[str, dict[str, Any]]] = []
    for number, kind in enumerate(KINDS):
        if kind not in kinds or (after is not None and number < after[0]):
            continue
        query, table_ = _LISTED[kind]
        if among is not None:
            query = query.where(collections.c.name.in_(sorted(among)))
        if after is not None and number == after[0]:
            _, at, last = after
            query = query.where(or_(table_.c.trashed_at > at, and_(table_.c.trashed_at == at, table_.c.id > last)))
        found += [(kind, row) for row in _rows(tx, query.limit(limit - len(found)))]
        if len(found) >= limit:
            break
    return found


def get_source(tx: Transaction, source_id: int, *, among: Collection[str] | None = None) -> dict[str, Any]:
    """The source with this id, if it is in the trash.

    Raises NotFound if there is none in the collections ``among`` (None: in all).
    """
    query = _SOURCES.where(sources.c.id == source_id)
    rows = _rows(tx, query if among is None else query.where(collections.c.name.in_(sorted(among))))
    if not rows:
        raise NotFound(f"There is no source {source_id} in the trash.", "`semantik trash` lists its contents.")
    return rows[0]


def find_documents(tx: Transaction, names: list[str], *, collection: str | None = None) -> list[dict[str, Any]]:
    """The documents in the trash with these unique ids, paths or ends of paths.

    Raises NotFound, naming the first name without a match.
    """
    found = []
    for name in names:
        rows = _matching(tx, name, collection)
        if not rows:
            raise NotFound(f"There is no document {name!r} in the trash.", "`semantik trash` lists its contents.")
        found += rows
    return found


def _matching(tx: Transaction, name: str, collection: str | None) -> list[dict[str, Any]]:
    exact = or_(documents.c.unique_id == name, documents.c.file_path == name)
    tail = or_(
        *(column.endswith(f"/{name}", autoescape=True) for column in (documents.c.unique_id, documents.c.file_path))
    )
    for which in (exact, tail):
        query = _DOCUMENTS.where(which)
        rows = _rows(tx, query.where(collections.c.name == collection) if collection is not None else query)
        if rows:
            return rows
    return []


def find_source(tx: Transaction, name: str) -> dict[str, Any]:
    """The source in the trash with this id or name, or with a name that ends in ``/name``.

    Raises NotFound for none, UsageError for several.
    """
    exact = sources.c.name == name
    if name.isdecimal() and int(name) < 2**63:
        exact = or_(exact, sources.c.id == int(name))
    for which in (exact, sources.c.name.endswith(f"/{name}", autoescape=True)):
        rows = _rows(tx, _SOURCES.where(which))
        if len(rows) == 1:
            return rows[0]
        if rows:
            some = ", ".join(f"{row['id']} ({row['connector']}, collection {row['collection']})" for row in rows[:5])
            raise UsageError(f"{name!r} names {len(rows)} sources in the trash: {some}.", "Give the id of one.")
    raise NotFound(f"There is no source {name!r} in the trash.", "`semantik trash` lists its contents.")
