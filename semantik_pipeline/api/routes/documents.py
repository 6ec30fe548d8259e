"""Documents: list, show, read, retry, delete, restore."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import Query, Request, Response

from semantik_pipeline import operations, trash
from semantik_pipeline.api import pages
from semantik_pipeline.api.accepted import ACCEPTED, accepted
from semantik_pipeline.api.dependencies import DocumentWriter, Reader, TheRuntime
from semantik_pipeline.api.models.documents import (
    ChunkList,
    Document,
    DocumentChunk,
    DocumentDeleteRequest,
    DocumentDetail,
    DocumentList,
    DocumentRetryRequest,
    IndexingStatus,
    ParsedDocument,
    StatusFilter,
)
from semantik_pipeline.api.models.operations import OperationAccepted
from semantik_pipeline.api.models.plain import FilterText
from semantik_pipeline.api.problems import documented
from semantik_pipeline.api.routing import guarded
from semantik_pipeline.contracts.auth import Principal
from semantik_pipeline.errors import Conflict, NotFound, UsageError
from semantik_pipeline.ledger import Transaction
from semantik_pipeline.ledger.documents import document_pages, document_reports
from semantik_pipeline.push import MEDIA_TYPE, MOST
from semantik_pipeline.runtime import Runtime

router = guarded("documents", "/documents")

NOT_THERE = documented(404)

#: Maximum bytes of a content that is sent from memory. Larger contents are read while they are sent.
AT_ONCE = 2**20


@router.get("", operation_id="documents_list", summary="List documents with their status, oldest first.")
def list_documents(
    runtime: TheRuntime,
    caller: Reader,
    collection: Annotated[FilterText | None, Query(description="Only this collection.")] = None,
    document: Annotated[FilterText | None, Query(description="Only this document id.")] = None,
    source: Annotated[int | None, Query(description="Only this source id.", ge=1, lt=2**63)] = None,
    status: Annotated[
        StatusFilter | None,
        Query(
            description="Only this status, or `unread` for documents that the last sync could not read. Deleted"
            " documents are listed only with the status `deleted`."
        ),
    ] = None,
    media_type: Annotated[FilterText | None, Query(examples=["application/pdf"])] = None,
    name: Annotated[FilterText | None, Query(description="Part of the document id, path or title.")] = None,
    limit: pages.Limit = 50,
    cursor: pages.Cursor = None,
) -> DocumentList:
    if collection is not None:
        caller.require("reader", collection)
    wanted = document_pages.Wanted(
        collection=collection,
        document=document,
        source_id=source,
        status=status,
        media_type=media_type,
        name=name,
        collections=caller.collections,
        principals=caller.principals,
    )
    after = pages.decode(cursor, int)
    with runtime.ledger.read() as tx:
        found = document_pages.page(tx, wanted, after=after[0] if after else 0, limit=limit + 1)
    page, following = pages.cut(found, limit, lambda row: (row["id"],))
    shown = [Document.model_validate(_shown(row, caller)) for row in page]
    return DocumentList(documents=shown, next_cursor=following)


@router.get(
    "/{document_id}",
    operation_id="documents_show",
    summary="Show a document with its metadata and the status of each stage.",
    responses=NOT_THERE,
)
def show(runtime: TheRuntime, caller: Reader, document_id: pages.Number) -> DocumentDetail:
    with runtime.ledger.snapshot() as tx:
        row = _admitted(tx, caller, "reader", document_id)
        more = document_reports.show_document(tx, document_id, chunks=False)
    ways = [IndexingStatus.model_validate(one) for one in more["generations"]]
    return DocumentDetail(**_shown(row, caller), metadata=more["metadata"], generations=ways)


@router.get(
    "/{document_id}/content",
    operation_id="documents_content",
    summary="Download the original content of a document.",
    response_class=Response,
    responses={
        200: {"content": {"*/*": {"schema": {"type": "string", "format": "binary"}}}, "description": "The content."},
        **NOT_THERE,
    },
)
def content(request: Request, runtime: TheRuntime, caller: Reader, document_id: pages.Number) -> Response:
    row = _allowed(runtime, caller, "reader", document_id)
    stored: str = row["content_hash"] or ""
    size = runtime.blobs.raw_size(stored) if stored and not _gone(row) else None
    file = None
    if size is not None and size > AT_ONCE:
        request.app.state.contents.check_room(caller.name)
        file = runtime.blobs.open_raw(stored)
    body = runtime.blobs.get_raw(stored) if size is not None and size <= AT_ONCE else None
    if body is None and file is None:
        raise NotFound(
            f"The content of the document {document_id} is not stored.", "Its source may still have it: sync it again."
        )
    name = (row["document"].rstrip("/").rpartition("/")[2] or "document")[-200:]
    kind = row["media_type"] if MEDIA_TYPE.fullmatch(row["media_type"] or "") else "application/octet-stream"
    headers = {
        # a browser must neither show it nor run scripts in it: the content is from a third party
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='', errors='replace')}",
        "Content-Security-Policy": "sandbox",
    }
    if file is None:
        return Response(body, media_type=kind, headers=headers)
    headers["Content-Length"] = str(size)
    return request.app.state.contents.send(file, caller=caller.name, media_type=kind, headers=headers)


@router.get(
    "/{document_id}/text",
    operation_id="documents_text",
    summary="Show the parsed text of a document, with its structure.",
    responses=NOT_THERE,
)
def text(runtime: TheRuntime, caller: Reader, document_id: pages.Number) -> ParsedDocument:
    with runtime.ledger.snapshot() as tx:
        row = _read(tx, caller, document_id)
        key = document_pages.parse_key(tx, document_id)
    found = runtime.blobs.get_parsed(key) if key is not None and not _gone(row) else None
    if found is None:
        raise NotFound(f"The document {document_id} has no parsed text.", "Use `retry` to parse it again.")
    return ParsedDocument.model_validate(found, from_attributes=True)


@router.get(
    "/{document_id}/chunks",
    operation_id="documents_chunks",
    summary="List the chunks of a document, in order.",
    responses=NOT_THERE,
)
def chunks(
    runtime: TheRuntime,
    caller: Reader,
    document_id: pages.Number,
    limit: pages.Limit = 50,
    cursor: pages.Cursor = None,
) -> ChunkList:
    after = pages.decode(cursor, int)
    with runtime.ledger.snapshot() as tx:
        row = _read(tx, caller, document_id)
        if _gone(row):
            raise NotFound(f"The document {document_id} is deleted, so its chunks are not shown.", "Restore it first.")
        found = document_pages.chunk_page(tx, document_id, after=after[0] if after else -1, limit=limit + 1)
    page, following = pages.cut(found, limit, lambda row: (row["ordinal"],))
    return ChunkList(chunks=[DocumentChunk.model_validate(row) for row in page], next_cursor=following)


@router.post(
    "/{document_id}/retry",
    operation_id="documents_retry",
    summary="Process a document again from the first stage.",
    responses=documented(404, 409),
    **ACCEPTED,
)
def retry(
    runtime: TheRuntime, caller: DocumentWriter, document_id: pages.Number, response: Response
) -> OperationAccepted:
    row = _allowed(runtime, caller, "writer", document_id)
    if _gone(row):
        raise Conflict(f"The document {document_id} is deleted.", "Restore it first.")
    return accepted(runtime, response, operations.begin_retry(runtime, [row]))


@router.delete(
    "/{document_id}",
    operation_id="documents_delete",
    summary="Move a document to the trash. If its source still has it, the next sync brings it back.",
    responses=documented(404, 409),
    **ACCEPTED,
)
def delete(
    runtime: TheRuntime,
    caller: DocumentWriter,
    document_id: pages.Number,
    response: Response,
    purge: Annotated[bool, Query(description="Delete permanently.")] = False,
) -> OperationAccepted:
    row = _allowed(runtime, caller, "writer", document_id)
    if _gone(row) and not (purge and row["trashed_at"] is not None):
        in_trash = row["trashed_at"] is not None
        hint = "Use `purge` to remove it from the trash permanently." if in_trash else "It is not in the trash."
        raise Conflict(f"The document {document_id} is already deleted.", hint)
    return accepted(runtime, response, operations.begin_drop(runtime, [row], purge=purge))


@router.post(
    "/{document_id}/restore",
    operation_id="documents_restore",
    summary="Restore a document from the trash.",
    responses=documented(404, 409),
    **ACCEPTED,
)
def restore(
    runtime: TheRuntime, caller: DocumentWriter, document_id: pages.Number, response: Response
) -> OperationAccepted:
    row = _allowed(runtime, caller, "writer", document_id)
    if row["trashed_at"] is None:
        raise Conflict(
            f"The document {document_id} is not in the trash.",
            "`GET /documents?status=deleted` lists deleted documents; those with `trashed_at` can be restored.",
        )
    return accepted(runtime, response, trash.restore_documents(runtime, [row]))


@router.post(
    "/retry",
    operation_id="documents_retry_many",
    summary=f"Process several documents again (at most {MOST:,}), or all quarantined ones.",
    responses=NOT_THERE,
    **ACCEPTED,
)
def retry_many(
    runtime: TheRuntime, caller: DocumentWriter, chosen: DocumentRetryRequest, response: Response
) -> OperationAccepted:
    caller.require("writer", chosen.collection)
    if chosen.documents is not None:
        rows = _named(runtime, caller, chosen.collection, chosen.documents)
    else:
        wanted = document_pages.Wanted(collection=chosen.collection, status="quarantined", principals=caller.principals)
        with runtime.ledger.read() as tx:
            document_pages.check(tx, chosen.collection)
            rows = document_pages.page(tx, wanted, limit=MOST)
    if not rows:
        raise UsageError(f"No document in {chosen.collection} is in quarantine.", "There is nothing to retry.")
    if chosen.documents is None and caller.principals is None:
        return accepted(runtime, response, operations.begin_retry_of_quarantined(runtime, chosen.collection))
    return accepted(runtime, response, operations.begin_retry(runtime, rows))


@router.post(
    "/delete",
    operation_id="documents_delete_many",
    summary="Move several documents to the trash.",
    responses=NOT_THERE,
    **ACCEPTED,
)
def delete_many(
    runtime: TheRuntime, caller: DocumentWriter, chosen: DocumentDeleteRequest, response: Response
) -> OperationAccepted:
    caller.require("writer", chosen.collection)
    rows = _named(runtime, caller, chosen.collection, chosen.documents)
    return accepted(runtime, response, operations.begin_drop(runtime, rows, purge=chosen.purge))


def _allowed(runtime: Runtime, caller: Principal, role: Literal["reader", "writer"], number: int) -> dict[str, Any]:
    """:func:`_admitted` in a transaction of its own."""
    with runtime.ledger.read() as tx:
        return _admitted(tx, caller, role, number)


def _admitted(tx: Transaction, caller: Principal, role: Literal["reader", "writer"], number: int) -> dict[str, Any]:
    """The document. Raises an error unless it is in one of the caller's collections, the caller may see it, and has the
    role in that collection.

    The answer is about the state of this transaction. A revision that arrives later may be closed to the caller, so
    read everything that belongs to the document in the same snapshot.
    """
    row = document_pages.get(tx, number, principals=caller.principals, among=caller.collections)
    caller.require(role, row["collection"])
    return row


def _read(tx: Transaction, caller: Principal, number: int) -> dict[str, Any]:
    """The document, if the caller may see its parsed text and chunks. A caller with principals sees only those of the
    current revision, because principals are known for that revision only."""
    row = _admitted(tx, caller, "reader", number)
    if caller.principals is not None and not _gone(row) and not document_pages.is_read(tx, number):
        raise NotFound(
            f"The document {number} has changed and has not been processed yet.", "Try again once it is indexed."
        )
    return row


def _named(runtime: Runtime, caller: Principal, collection: str, unique_ids: list[str]) -> list[dict[str, Any]]:
    with runtime.ledger.read() as tx:
        document_pages.check(tx, collection)
        return document_pages.named(tx, collection, unique_ids, principals=caller.principals)


def _shown(row: dict[str, Any], caller: Principal) -> dict[str, Any]:
    """The row as this caller may see it: a caller with principals does not learn which other principals may see it."""
    if caller.principals is not None and row["principals"] is not None:
        row = {**row, "principals": sorted(set(caller.principals) & set(row["principals"]))}
    return row


def _gone(row: dict[str, Any]) -> bool:
    return row["deleted_at"] is not None
