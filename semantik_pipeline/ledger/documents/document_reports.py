"""Reports on documents for people: lists, the details of one document, totals and the backlog."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select

from semantik_pipeline.errors import NotFound, UsageError
from semantik_pipeline.ledger.catalog.lineage import NOT_RETIRED, living
from semantik_pipeline.ledger.database.bulk import among
from semantik_pipeline.ledger.database.connection import Transaction, now
from semantik_pipeline.ledger.operations.outcomes import unread
from semantik_pipeline.ledger.queue.work import STAGES
from semantik_pipeline.ledger.tables import chunks, collections, documents, embeddings, operations, sources, work

STATUSES = (*STAGES, "indexed", "skipped", "quarantined", "deleted")

#: Pseudo-status in filters: documents, of any status, that their source could not read the last time.
UNREAD = "unread"

_DOCUMENT = (
    select(
        documents.c.id,
        documents.c.unique_id.label("document"),
        collections.c.name.label("collection"),
        sources.c.name.label("source"),
        work.c.stage.label("status"),
        work.c.chunks,
        documents.c.revision,
        documents.c.media_type,
        documents.c.size,
        documents.c.title,
        documents.c.changed_at,
        work.c.reason,
        work.c.blocked,
        work.c.error,
        unread().label("unread"),
    )
    .select_from(documents)
    .join(collections, documents.c.collection_id == collections.c.id)
    .join(sources, documents.c.source_id == sources.c.id)
    .join(work, and_(work.c.document_id == documents.c.id, work.c.generation_id == collections.c.active_generation))
    .where(collections.c.trashed_at.is_(None))
)


def list_documents(
    tx: Transaction, *, collection: str | None = None, status: str | None = None, limit: int | None = None
) -> list[dict[str, Any]]:
    """Return documents with their status and its reason, ordered by unique id.

    Deleted documents are included only if ``status`` asks for them.
    """
    query = _DOCUMENT.order_by(documents.c.unique_id)
    if collection is not None:
        query = query.where(collections.c.name == collection)
    rows = tx.execute((query.limit(limit) if limit else query).where(of_status(status))).mappings()
    return [_with_reason(dict(row)) for row in rows]


def of_status(status: str | None) -> ColumnElement[bool]:
    """Return the condition for a status or UNREAD (None: not deleted). Raises UsageError for an unknown status."""
    if status is None:
        return documents.c.deleted_at.is_(None)
    if status == UNREAD:
        return unread()
    if status not in STATUSES:
        raise UsageError(f"There is no status {status!r}.", f"Statuses are {', '.join((*STATUSES, UNREAD))}.")
    return work.c.stage == status


#: Columns of a row that :func:`reason` reads, and that people don't get.
INNER = ("blocked", "error", "unread")


def reason(row: dict[str, Any]) -> str | None:
    """Return why the row's document is skipped, in quarantine, blocked or unread; None if nothing is wrong."""
    error, unread_now = row["error"], "could not be read; its indexed content is kept" if row["unread"] else None
    return row["reason"] or (f"{error['stage']}: {error['message']}" if error else row["blocked"]) or unread_now


def _with_reason(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in INNER} | {"reason": reason(row)}


def documents_by_id(tx: Transaction, document_ids: list[int]) -> list[dict[str, Any]]:
    """Return these documents as :func:`list_documents` does, ordered by id. Missing ones are left out."""
    query = _DOCUMENT.where(among(documents.c.id, document_ids)).order_by(documents.c.id)
    return [_with_reason(dict(row)) for row in tx.execute(query).mappings()]


def find_documents(tx: Transaction, names: list[str], *, collection: str | None = None) -> list[dict[str, Any]]:
    """Return the documents with these unique ids, paths or ends of paths.

    Raises NotFound, naming the first name without a match.
    """
    found = []
    for name in names:
        rows = _matching(tx, name, collection)
        if not rows:
            raise NotFound(f"There is no document {name!r}.", "`semantik documents list` shows the names.")
        found.extend(rows)
    return found


def _matching(tx: Transaction, name: str, collection: str | None) -> list[dict[str, Any]]:
    exact = or_(documents.c.unique_id == name, documents.c.file_path == name)
    tail = or_(
        documents.c.unique_id.endswith(f"/{name}", autoescape=True),
        documents.c.file_path.endswith(f"/{name}", autoescape=True),
    )
    for which in (exact, tail):
        query = _DOCUMENT.where(which)
        if collection is not None:
            query = query.where(collections.c.name == collection)
        rows = tx.execute(query.order_by(documents.c.deleted_at.is_not(None), documents.c.id)).mappings().all()
        if rows:
            return [_with_reason(dict(row)) for row in rows]
    return []


def show_document(tx: Transaction, document_id: int, *, chunks: bool = True) -> dict[str, Any]:
    """Return the document's details and its progress and errors in every generation that is not retired.

    ``chunks``: also return its chunks.
    """
    document = dict(tx.execute(select(documents).where(documents.c.id == document_id)).mappings().one())
    mine = and_(work.c.document_id == document_id, NOT_RETIRED)
    units = tx.execute(select(work, now().label("now")).where(mine)).mappings().all()
    source = tx.execute(select(sources.c.name).where(sources.c.id == document["source_id"])).scalar_one()
    return {
        "document": document["unique_id"],
        "source": source,
        "title": document["title"],
        "media_type": document["media_type"],
        "size": document["size"],
        "revision": document["revision"],
        "content_hash": document["content_hash"],
        "metadata": document["metadata"],
        "deleted_at": document["deleted_at"],
        "changed_at": document["changed_at"],
        "generations": [_show_unit(tx, dict(unit), chunks=chunks) for unit in units],
    }


def _show_unit(tx: Transaction, unit: dict[str, Any], *, chunks: bool) -> dict[str, Any]:
    stage = unit["stage"]
    failed_at = (unit["error"] or {}).get("stage") if stage == "quarantined" else None
    shown = {name: unit[name] for name in ("generation_id", "revision", "epoch", "reason", "attempts", "error")}
    leased = unit["lease_token"] is not None
    return {
        **shown,
        "status": stage,
        "stages": _stages(failed_at or stage, unit["goal"], failed=failed_at is not None),
        "blocked_reason": unit["blocked"],
        "extractor_errors": unit["notes"],
        "worker": unit["worker"] if leased else None,
        "retry_in_seconds": max(0.0, unit["not_before"] - unit["now"]) if stage in STAGES and not leased else 0.0,
        "suspect": unit["suspect"],
        "searchable": unit["indexed_epoch"] is not None and unit["goal"] == "indexed",
        "extracted": unit["extracted"],
        "chunks": _show_chunks(tx, unit) if chunks else [],
    }


def _stages(at: str, goal: str, *, failed: bool) -> dict[str, str]:
    """Return stage -> done, due (the next one), waiting, failed or not needed."""
    if at in ("indexed", "skipped", "deleted"):
        return {"sync": "done", **dict.fromkeys(STAGES, "done" if goal == "indexed" else "not needed")}
    reached = STAGES.index(at) if at in STAGES else -1  # -1: failed in sync
    marks = {}
    for place, stage in enumerate(STAGES):
        mark = "done" if place < reached else "waiting"
        marks[stage] = ("failed" if failed else "due") if place == reached else mark
    return {"sync": "failed" if at == "sync" else "done", **marks}


def _show_chunks(tx: Transaction, unit: dict[str, Any]) -> list[dict[str, Any]]:
    epoch = unit["chunks_epoch"] if unit["chunks_epoch"] is not None else unit["indexed_chunks_epoch"]
    mine = and_(
        chunks.c.generation_id == unit["generation_id"],
        chunks.c.document_id == unit["document_id"],
        chunks.c.epoch == epoch,
    )
    there = select(embeddings.c.id).where(embeddings.c.key == chunks.c.embed_key).exists()
    columns = [chunks.c.ordinal, chunks.c.start, chunks.c.end, chunks.c.token_count, chunks.c.metadata, chunks.c.text]
    query = select(*columns, there.label("embedded")).where(mine).order_by(chunks.c.ordinal)
    return [dict(row) for row in tx.execute(query).mappings()]


def totals(tx: Transaction) -> dict[str, Any]:
    """Return totals: documents by collection and status, running operations, backlog by stage, paused sources."""
    by_status = tx.execute(
        select(collections.c.name, work.c.stage, func.count(), func.coalesce(func.sum(work.c.chunks), 0))
        .select_from(collections)
        .outerjoin(work, work.c.generation_id == collections.c.active_generation)
        .where(collections.c.trashed_at.is_(None))
        .group_by(collections.c.name, work.c.stage)
        .order_by(collections.c.name)
    ).all()
    found: dict[str, Any] = {}
    for name, stage, count, total in by_status:
        entry = found.setdefault(name, {"documents": {}, "chunks": 0, "sources": 0})
        if stage is not None:
            entry["documents"][stage] = count
            entry["chunks"] += int(total) if stage not in ("deleted",) else 0
    shown = and_(collections.c.trashed_at.is_(None), sources.c.trashed_at.is_(None))
    by_source = select(collections.c.name, func.count()).join_from(collections, sources).where(shown)
    for name, count in tx.execute(by_source.group_by(collections.c.name)):
        found[name]["sources"] = count
    return {
        "collections": found,
        "running_operations": list(
            tx.execute(
                select(operations.c.id).where(operations.c.state == "running").order_by(operations.c.id)
            ).scalars()
        ),
        "backlog": _backlog(tx),
        "paused_sources": [
            {"source": row.name, "reason": row.paused}
            for row in tx.execute(
                select(sources.c.name, sources.c.paused)
                .join_from(sources, collections)
                .where(sources.c.paused.is_not(None), shown)
            )
        ],
    }


def _backlog(tx: Transaction) -> dict[str, dict[str, Any]]:
    query = select(
        work.c.stage,
        func.count(),
        func.count(work.c.lease_token),
        func.count(work.c.blocked),
        now() - func.min(work.c.updated_at),
    ).where(work.c.stage.in_(STAGES), living(tx))
    return {
        stage: {"units": units, "in_progress": held, "blocked": blocked, "oldest_seconds": round(age or 0, 1)}
        for stage, units, held, blocked, age in tx.execute(query.group_by(work.c.stage))
    }
