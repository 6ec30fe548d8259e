"""Documents: in lists, in detail, and after a push."""

from __future__ import annotations

from typing import Any, TypedDict

from semantik_pipeline.client.answers.operations import OperationAccepted


class Document(TypedDict):
    """A document and its status."""

    id: int
    document: str
    collection: str
    source_id: int
    source: str
    status: str
    reason: str | None
    chunks: int
    revision: int
    media_type: str | None
    size: int | None
    title: str | None
    content_hash: str | None
    principals: list[str] | None
    created_at: float
    changed_at: float
    deleted_at: float | None
    trashed_at: float | None


class DocumentList(TypedDict):
    """A page of documents."""

    documents: list[Document]
    next_cursor: str | None


class PushedDocument(TypedDict):
    """A document that was pushed."""

    id: int
    document: str
    outcome: str


class PushAccepted(OperationAccepted):
    """The documents are stored. They are searchable when the operation has finished."""

    source_id: int
    documents: list[PushedDocument]


class IndexingStatus(TypedDict):
    """The status of a document in one generation of its collection's index."""

    generation_id: int
    revision: int
    epoch: int
    status: str
    stages: dict[str, str]
    reason: str | None
    attempts: int
    blocked_reason: str | None
    worker: str | None
    retry_in_seconds: float
    suspect: bool
    searchable: bool
    extractor_errors: dict[str, Any] | None
    error: dict[str, Any] | None
    extracted: dict[str, Any] | None


class DocumentDetail(Document):
    """A document with its metadata and its status in each generation."""

    metadata: dict[str, Any]
    generations: list[IndexingStatus]


class ParsedElement(TypedDict):
    """An element of a document's structure. Offsets are in characters of the text."""

    kind: str
    start: int
    end: int
    page: int | None
    section: list[str]


class ParsedDocument(TypedDict):
    """The result of parsing a document."""

    text: str
    title: str | None
    metadata: dict[str, Any]
    elements: list[ParsedElement]


class DocumentChunk(TypedDict):
    """A chunk. Offsets are in characters of the parsed text."""

    ordinal: int
    text: str
    start: int
    end: int
    token_count: int
    metadata: dict[str, Any]
    embedded: bool


class ChunkList(TypedDict):
    """A page of chunks."""

    chunks: list[DocumentChunk]
    next_cursor: str | None
