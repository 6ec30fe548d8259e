"""Documents as API callers see them: filtered, in pages ordered by id, without documents the caller may not see."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, and_, or_, select, true

from semantik_pipeline.errors import NotFound
from semantik_pipeline.ledger.access.document_access import LISTED, open_to
from semantik_pipeline.ledger.catalog.collections import get_collection
from semantik_pipeline.ledger.database.connection import Transaction
from semantik_pipeline.ledger.documents.document_reports import INNER, of_status, reason
from semantik_pipeline.ledger.operations.outcomes import unread
from semantik_pipeline.ledger.queue.work import ASIDE, STAGES
from semantik_pipeline.ledger.tables import chunks, collections, documents, embeddings, sources, work

_DOCUMENT = (
    select(
        documents.c.id,
        documents.c.unique_id.label("document"),
        collections.c.name.label("collection"),
        sources.c.id.label("source_id"),
        sources.c.name.label("source"),
        work.c.stage.label("status"),
        work.c.chunks,
        documents.c.revision,
        documents.c.media_type,
        documents.c.size,
        documents.c.title,
        documents.c.content_hash,
        documents.c.created_at,
        documents.c.changed_at,
        documents.c.deleted_at,
        documents.c.trashed_at,
        LISTED.label("principals"),
        work.c.reason,
        work.c.blocked,
        work.c.error,
        unread().label("unread"),
        work.c.parse_key,
    )
    .select_from(documents)
    .join(collections, documents.c.collection_id == collections.c.id)
    .join(sources, documents.c.source_id == sources.c.id)
    .join(work, and_(work.c.document_id == documents.c.id, work.c.generation_id == collections.c.active_generation))
    .where(collections.c.trashed_at.is_(None))
)

#: Columns of a row that callers don't get.
_INNER = (*INNER, "parse_key")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A caller's filter on documents, and its limits.

    ``name``: a part of the unique id, path or title, in any case. ``collections``: names of the collections that the
    caller may see. ``principals``: the caller sees documents that are open to one of them. None: all, for both.
    """

    collection: str | None = None
    document: str | None = None
    source_id: int | None = None
    status: str | None = None
    media_type: str | None = None
    name: str | None = None
    collections: Collection[str] | None = None
    principals: Collection[str] | None = None


def page(tx: Transaction, wanted: Wanted, *, after: int = 0, limit: int) -> list[dict[str, Any]]:
    """Return up to ``limit`` documents with ids above ``after``, ordered by id.

    Deleted documents are included only if the status asks for them. Raises UsageError for an unknown status.
    """
    query = _DOCUMENT.where(documents.c.id > after, of_status(wanted.status), open_to(tx, wanted.principals))
    if wanted.collections is not None:
        query = query.where(collections.c.name.in_(sorted(wanted.collections)))
    for column, value in (
        (collections.c.name, wanted.collection),
        (documents.c.unique_id, wanted.document),
        (documents.c.source_id, wanted.source_id),
        (documents.c.media_type, wanted.media_type),
    ):
        if value is not None:
            query = query.where(column == value)
    if wanted.name is not None:
        columns = (documents.c.unique_id, documents.c.file_path, documents.c.title)
        query = query.where(or_(*(column.icontains(wanted.name, autoescape=True) for column in columns)))
    return [_told(row) for row in _rows(tx, query.order_by(documents.c.id).limit(limit))]


def check(tx: Transaction, collection: str) -> None:
    """Raise NotFound if there is no collection with this name."""
    get_collection(tx, collection)


def get(
    tx: Transaction,
    document_id: int,
    *,
    principals: Collection[str] | None = None,
    among: Collection[str] | None = None,
) -> dict[str, Any]:
    """Return the document, deleted or not.

    Raises NotFound if it does not exist, is not open to these ``principals`` (None: all are), or is in none of the
    collections ``among`` (None: any).
    """
    return _told(_one(tx, document_id, principals, among))


def parse_key(tx: Transaction, document_id: int) -> str | None:
    """Return the name of the blob with the document's parsed text, as the active generation read it."""
    return _one(tx, document_id, None)["parse_key"]


def is_read(tx: Transaction, document_id: int) -> bool:
    """Whether the active generation's text and chunks of the document are those of its current revision.

    Until the current revision is parsed and chunked, they are those of an earlier one, which may have been open to
    others.
    """
    columns = (work.c.stage, work.c.error, work.c.progress)
    active = and_(work.c.document_id == document_id, work.c.generation_id == collections.c.active_generation)
    row = tx.execute(select(*columns).join(collections, active)).first()
    if row is None or ASIDE in (row.progress or {}):
        return False
    stage = (row.error or {}).get("stage") if row.stage == "quarantined" else row.stage
    return stage in (*STAGES[STAGES.index("chunk") + 1 :], "indexed")


def named(
    tx: Transaction, collection: str, unique_ids: Collection[str], *, principals: Collection[str] | None = None
) -> list[dict[str, Any]]:
    """Return the collection's documents with these unique ids, ordered by id.

    Raises NotFound, naming one, if any is missing, deleted or not open to these ``principals``.
    """
    here = and_(collections.c.name == collection, documents.c.deleted_at.is_(None))
    mine = and_(here, documents.c.unique_id.in_(sorted(unique_ids)), open_to(tx, principals))
    rows = [_told(row) for row in _rows(tx, _DOCUMENT.where(mine).order_by(documents.c.id))]
    missing = sorted(set(unique_ids) - {row["document"] for row in rows})
    if missing:
        raise NotFound(f"There is no document {missing[0]!r} in {collection}.", "`GET /documents` lists them.")
    return rows


def chunk_page(tx: Transaction, document_id: int, *, after: int = -1, limit: int) -> list[dict[str, Any]]:
    """Return up to ``limit`` chunks of the document in the active generation, from ordinal ``after`` + 1 on."""
    unit = (
        select(work.c.generation_id, work.c.chunks_epoch, work.c.indexed_chunks_epoch)
        .join(documents, documents.c.id == work.c.document_id)
        .join(collections, collections.c.id == documents.c.collection_id)
        .where(work.c.document_id == document_id, work.c.generation_id == collections.c.active_generation)
    )
    row = tx.execute(unit).first()
    if row is None:
        return []
    mine = and_(
        chunks.c.generation_id == row.generation_id,
        chunks.c.document_id == document_id,
        chunks.c.epoch == (row.chunks_epoch if row.chunks_epoch is not None else row.indexed_chunks_epoch),
        chunks.c.ordinal > after,
    )
    there = select(embeddings.c.id).where(embeddings.c.key == chunks.c.embed_key).exists()
    columns = [chunks.c[name] for name in ("ordinal", "start", "end", "token_count", "metadata", "text")]
    query = select(*columns, there.label("embedded")).where(mine).order_by(chunks.c.ordinal).limit(limit)
    return [dict(row) for row in tx.execute(query).mappings()]


def _one(
    tx: Transaction, document_id: int, principals: Collection[str] | None, among: Collection[str] | None = None
) -> dict[str, Any]:
    here = true() if among is None else collections.c.name.in_(sorted(among))
    found = _rows(tx, _DOCUMENT.where(documents.c.id == document_id, open_to(tx, principals), here))
    if not found:
        raise NotFound(f"There is no document {document_id}.", "`GET /documents` lists them with their ids.")
    return found[0]


def _rows(tx: Transaction, query: Select[Any]) -> list[dict[str, Any]]:
    return [dict(row) for row in tx.execute(query).mappings()]


def _told(row: dict[str, Any]) -> dict[str, Any]:
    """Return the row as callers get it: with ``reason``, without the columns behind it."""
    return {name: value for name, value in row.items() if name not in _INNER} | {"reason": reason(row)}
