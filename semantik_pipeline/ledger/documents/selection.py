"""Documents that meet a filter, by what the ledger knows of them.

The filter is Qdrant's JSON over ``document`` (its unique id), ``status``, ``reason``, ``source``, ``source_type``,
``media_type``, ``path``, ``title``, ``size`` (bytes), ``chunks``, ``revision``, ``changed_at``, ``error.stage``, ``error.type``,
``error.message`` and ``metadata.*``.
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

#: Documents that one page looks at, so no more are chosen at a time.
PAGE = 500


@dataclass(frozen=True, kw_only=True)
class Selected:
    """A document that meets the filter, and the keys of its stored parses."""

    id: int
    document: str
    parse_keys: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Part:
    """Documents that meet a filter, maybe none, up to the id ``upto``; None: there are no more behind them."""

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
    """Those of the next PAGE live documents of the collection, behind the id ``after``, that meet the filter: a caller that
    looks for a rare one can look at the clock between two pages. Raises UsageError naming what is wrong in the filter."""
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
    """The status that the filter demands: the database knows which documents have it, and of some there are few."""
    if wanted is None:
        return []
    matches = [one for one in wanted.must if isinstance(one, Match) and (one.key, one.how) == ("status", "value")]
    return [work.c.stage == one.operand for one in matches if isinstance(one.operand, str)]


#: What a filter can ask for, beside all below ``metadata``.
FIELDS = (
    *("document", "status", "reason", "source", "source_type", "media_type", "path", "title", "size", "chunks"),
    *("revision", "changed_at", "error.stage", "error.type", "error.message"),
)


def _check_fields(where: Any) -> None:
    """Raise UsageError for a field that no document has: no document would meet the filter, and nobody would know why."""
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
    """What the filter sees; absent values are left out, as in a point's payload."""
    row["changed_at"] = datetime.fromtimestamp(row["changed_at"], UTC).isoformat()
    row["metadata"] = row.pop("metadata_")
    return {name: value for name, value in row.items() if value is not None and name != "id"}


def _parse_keys(tx: Transaction, document_ids: list[int]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    these = and_(work.c.document_id.in_(document_ids), work.c.parse_key.is_not(None))
    for document_id, key in tx.execute(select(work.c.document_id, work.c.parse_key).where(these)):
        found.setdefault(document_id, []).append(key)
    return found
