"""Documents: list, read, push, delete."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import uuid4

from semantik_pipeline.client.answers import (
    ChunkList,
    Document,
    DocumentChunk,
    DocumentDetail,
    DocumentList,
    OperationAccepted,
    ParsedDocument,
    PushAccepted,
)
from semantik_pipeline.client.calls import Call, Pages, Resource, S, Upload, request


class Documents(Resource[S]):
    """``client.documents``. Pushes and uploads are safe to retry: they send an ``Idempotency-Key``, which is ``key`` or
    random."""

    @request("documents_list", "GET /documents")
    def list(
        self,
        *,
        collection: str | None = None,
        document: str | None = None,
        source: int | None = None,
        status: str | None = None,
        media_type: str | None = None,
        name: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Call[DocumentList]:
        """A page of documents, oldest first. ``document``: a document id; ``name``: part of an id, path or title."""
        wanted = {"collection": collection, "document": document, "source": source, "status": status}
        return Call(query={**wanted, "media_type": media_type, "name": name, "limit": limit, "cursor": cursor})

    each: Pages[..., Document] = Pages(list, "documents")

    @request("documents_show", "GET /documents/{document_id}")
    def show(self, document_id: int) -> Call[DocumentDetail]:
        """A document in detail: its metadata and the status of each stage."""
        return Call(at={"document_id": document_id})

    @request("documents_content", "GET /documents/{document_id}/content")
    def content(self, document_id: int) -> Call[bytes]:
        """The document's original content."""
        return Call(at={"document_id": document_id}, read="bytes")

    @request("documents_text", "GET /documents/{document_id}/text")
    def text(self, document_id: int) -> Call[ParsedDocument]:
        """The document's parsed text and its structure."""
        return Call(at={"document_id": document_id})

    @request("documents_chunks", "GET /documents/{document_id}/chunks")
    def chunks(self, document_id: int, *, limit: int | None = None, cursor: str | None = None) -> Call[ChunkList]:
        """A page of the document's chunks."""
        return Call(at={"document_id": document_id}, query={"limit": limit, "cursor": cursor})

    each_chunk: Pages[..., DocumentChunk] = Pages(chunks, "chunks")

    @request("documents_push", "POST /documents")
    def push(
        self,
        documents: Iterable[Mapping[str, Any]],
        *,
        collection: str = "default",
        source: str | None = None,
        key: str | None = None,
    ) -> Call[PushAccepted]:
        """Push texts. Each has ``document`` (its id) and ``text``, and may have title, metadata, media_type and
        principals. Either all of them are accepted or none."""
        given = {"collection": collection, "documents": [dict(one) for one in documents]}
        return Call(json=given if source is None else {**given, "source": source}, headers=_named(key))

    @request("documents_upload", "POST /documents/files")
    def upload(
        self,
        files: Sequence[Upload],
        *,
        collection: str = "default",
        source: str | None = None,
        attributes: Mapping[str, Mapping[str, Any]] | None = None,
        key: str | None = None,
    ) -> Call[PushAccepted]:
        """Upload files. ``attributes`` by file name: title, metadata, media_type, principals, and ``document`` for a
        different document id. Either all of them are accepted or none."""
        form = {"collection": collection, **({} if source is None else {"source": source})}
        if attributes:
            form["attributes"] = json.dumps({name: dict(own) for name, own in attributes.items()})
        return Call(form=form, files=tuple(files), headers=_named(key))

    @request("documents_retry", "POST /documents/{document_id}/retry")
    def retry(self, document_id: int) -> Call[OperationAccepted]:
        """Process a document again from the first stage."""
        return Call(at={"document_id": document_id})

    @request("documents_delete", "DELETE /documents/{document_id}")
    def delete(self, document_id: int, *, purge: bool = False) -> Call[OperationAccepted]:
        """Delete a document. It goes to the trash, unless ``purge`` is set."""
        return Call(at={"document_id": document_id}, query={"purge": purge})

    @request("documents_restore", "POST /documents/{document_id}/restore")
    def restore(self, document_id: int) -> Call[OperationAccepted]:
        """Restore a document from the trash."""
        return Call(at={"document_id": document_id})

    @request("documents_retry_many", "POST /documents/retry")
    def retry_many(
        self, documents: Sequence[str] | None = None, *, collection: str = "default"
    ) -> Call[OperationAccepted]:
        """Process several documents again, by document id; None: all quarantined documents."""
        named = None if documents is None else [*documents]
        return Call(json={"collection": collection, "documents": named})

    @request("documents_delete_many", "POST /documents/delete")
    def delete_many(
        self, documents: Sequence[str], *, collection: str = "default", purge: bool = False
    ) -> Call[OperationAccepted]:
        """Delete several documents, by document id."""
        return Call(json={"collection": collection, "documents": [*documents], "purge": purge})


def _named(key: str | None) -> dict[str, str | None]:
    return {"Idempotency-Key": key or str(uuid4())}
