"""Selecting documents by a filter on what the ledger knows about them.

The filter is Qdrant's JSON over ``document`` (its unique id), ``status``, ``reason``, ``source``, ``source_type``,
``media_type``, ``path``, ``title``, ``size`` (bytes), ``chunks``, ``revision``, ``changed_at``, ``error.stage``,
``error.type``, ``error.message`` and ``metadata.*``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, select

from semantik_pipeline.contracts.filter_meaning import matches
from semantik_pipeline.contracts.filters import Clauses, Match, parse_filter
from semantik_pipeline.errors import UsageError
from semantik_pipeline.ledger.database.connection import Transaction
from semantik_pipeline.ledger.tables import collections, documents, sources, work

#: Documents that one page reads, and so the most that it can select.
PAGE = 500


@dataclass(frozen=True, kw_only=True)
class Selected:
    """A document that matches the filter. ``parse_keys``: names of the blobs with its parsed text."""

    id: int
    document: str
    parse_keys: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Part:
    """The matches of one page, maybe none. ``upto``: the last id of the page; None: there are no more pages."""

    documents: tuple[Selected, ...]
    upto: int | None


_ROW = (
    select(
        documents.c.id,
        documents.c.unique_id.label("document"),
        work.c.stage.label("status"),
        work.c.reason,
        sources.c.name.label("source"),
        documents.c.source_type,
        documents.c.media_type,
        documents.c.file_path.label("path"),
        documents.c.title,
        documents.c.size,
        work.c.chunks,
        documents.c.revision,
        documents.c.changed_at,
        work.c.error,
        documents.c.metadata.label("metadata_"),
    )
    .select_from(documents)
    .join(collections, collections.c.id == documents.c.collection_id)
    .join(sources, sources.c.id == documents.c.source_id)
    .join(work, and_(work.c.document_id == documents.c.id, work.c.generation_id == collections.c.active_generation))
)


def following(tx: Transaction, collection_id: int, where: dict[str, Any], *, after: int) -> Part:
    """Read the next PAGE live documents of the collection after the id ``after``; return those that match the filter.

    It reads a single page, so that a caller can check its deadline between pages while matches are rare. Raises
    UsageError, naming the fault, for an invalid filter.
    """
    wanted = parse_filter(where)
    _check_fields(where)
    mine = and_(documents.c.collection_id == collection_id, documents.c.deleted_at.is_(None), *_demanded(wanted))
    page = _ROW.where(mine, documents.c.id > after).order_by(documents.c.id).limit(PAGE)
    rows = tx.execute(page).mappings().all()
    met = [row for row in rows if matches(wanted, None, _payload(dict(row)))]
    upto = rows[-1]["id"] if len(rows) == PAGE else None
    keys = _parse_keys(tx, [row["id"] for row in met])
    chosen = [
        Selected(id=row["id"], document=row["document"], parse_keys=tuple(keys.get(row["id"], ()))) for row in met
    ]
    return Part(documents=tuple(chosen), upto=upto)


def _demanded(wanted: Clauses | None) -> list[ColumnElement[bool]]:
    """Return the filter's ``must`` condition on the status as SQL: the database finds rare statuses faster."""
    if wanted is None:
        return []
    matches = [one for one in wanted.must if isinstance(one, Match) and (one.key, one.how) == ("status", "value")]
    return [work.c.stage == one.operand for one in matches if isinstance(one.operand, str)]


#: Fields that a filter may use, besides those below ``metadata``.
FIELDS = (
    *("document", "status", "reason", "source", "source_type", "media_type", "path", "title", "size", "chunks"),
    *("revision", "changed_at", "error.stage", "error.type", "error.message"),
)


def _check_fields(where: Any) -> None:
    """Raise UsageError for an unknown field: otherwise the filter would silently match no document."""
    if isinstance(where, list):
        for one in where:
            _check_fields(one)
    elif isinstance(where, dict):
        key = where.get("key")
        if isinstance(key, str) and key not in (*FIELDS, "error", "metadata") and not key.startswith("metadata."):
            raise UsageError(
                f"Documents have no field {key!r}.", f"Their fields are {', '.join(FIELDS)}, metadata.NAME."
            )
        for name, one in where.items():
            if name != "nested":  # its keys are relative
                _check_fields(one)


def _payload(row: dict[str, Any]) -> dict[str, Any]:
    """Return the values that the filter is applied to. Absent values are left out, as in a point's payload."""
    row["changed_at"] = datetime.fromtimestamp(row["changed_at"], UTC).isoformat()
    row["metadata"] = row.pop("metadata_")
    return {name: value for name, value in row.items() if value is not None and name != "id"}


def _parse_keys(tx: Transaction, document_ids: list[int]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    these = and_(work.c.document_id.in_(document_ids), work.c.parse_key.is_not(None))
    for document_id, key in tx.execute(select(work.c.document_id, work.c.parse_key).where(these)):
        found.setdefault(document_id, []).append(key)
    return found
