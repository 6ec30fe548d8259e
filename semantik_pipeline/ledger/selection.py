"""Documents that meet a filter, by what the ledger knows of them.

The filter is Qdrant's JSON over ``document`` (its unique id), ``status``, ``reason``, ``source``, ``source_type``,
``media_type``, ``path``, ``title``, ``size`` (bytes), ``chunks``, ``revision``, ``changed_at``, ``error.stage``, ``error.type``,
``error.message`` and ``metadata.*``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import and_, select

from semantik_pipeline.contracts.filter_meaning import matches
from semantik_pipeline.contracts.filters import parse_filter
from semantik_pipeline.ledger.connection import Transaction
from semantik_pipeline.ledger.tables import collections, documents, sources, work

#: Documents that one page reads.
PAGE = 1000


@dataclass(frozen=True, kw_only=True)
class Selected:
    """A document that meets the filter, and the keys of its stored parses."""

    id: int
    document: str
    parse_keys: tuple[str, ...]


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


def select_documents(tx: Transaction, collection_id: int, where: dict[str, Any]) -> list[Selected]:
    """The collection's live documents that meet the filter, by id. Raises UsageError naming what is wrong in it."""
    wanted = parse_filter(where)
    found: list[int] = []
    names: dict[int, str] = {}
    after = 0
    while True:
        mine = and_(
            documents.c.collection_id == collection_id, documents.c.deleted_at.is_(None), documents.c.id > after
        )
        rows = tx.execute(_ROW.where(mine).order_by(documents.c.id).limit(PAGE)).mappings().all()
        if not rows:
            break
        met = [row for row in rows if matches(wanted, None, _payload(dict(row)))]
        found += [row["id"] for row in met]
        names |= {row["id"]: row["document"] for row in met}
        after = rows[-1]["id"]
    keys = _parse_keys(tx, found)
    return [Selected(id=one, document=names[one], parse_keys=tuple(keys.get(one, ()))) for one in found]


def _payload(row: dict[str, Any]) -> dict[str, Any]:
    """What the filter sees; absent values are left out, as in a point's payload."""
    row["changed_at"] = datetime.fromtimestamp(row["changed_at"], UTC).isoformat()
    row["metadata"] = row.pop("metadata_")
    return {name: value for name, value in row.items() if value is not None and name != "id"}


def _parse_keys(tx: Transaction, document_ids: list[int]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for start in range(0, len(document_ids), PAGE):
        these = work.c.document_id.in_(document_ids[start : start + PAGE])
        query = select(work.c.document_id, work.c.parse_key).where(these, work.c.parse_key.is_not(None))
        for document_id, key in tx.execute(query):
            found.setdefault(document_id, []).append(key)
    return found
