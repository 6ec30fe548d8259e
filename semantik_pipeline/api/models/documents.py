"""Documents: in lists, in detail, and as they are pushed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from semantik_pipeline.api.models.operations import OperationAccepted
from semantik_pipeline.api.models.plain import Line, Name, Options
from semantik_pipeline.api.scrubbed import ScrubbedObject, ScrubbedText
from semantik_pipeline.push import MEDIA_TYPE, MOST, SOURCE

#: A document id, which is unique within its source.
UniqueId = Line

#: A media type without parameters, because it becomes a header of a response.
MediaType = Annotated[str, StringConstraints(max_length=200, pattern=f"^{MEDIA_TYPE.pattern}$")]

#: The stage for which a document waits, or its final status.
Status = Literal["chunk", "extract", "embed", "upsert", "indexed", "skipped", "quarantined", "deleted"]

#: A status by which documents are listed. "unread" means that the last sync could not read them.
StatusFilter = Literal["chunk", "extract", "embed", "upsert", "indexed", "skipped", "quarantined", "deleted", "unread"]


class Document(BaseModel):
    """A document, and its status."""

    id: int = Field(description="Number of the document on this server.")
    document: str = Field(examples=["file:///srv/handbook/travel.md"], description="Document id, as in hits.")
    collection: str = Field(examples=["default"])
    source_id: int
    source: str = Field(examples=["/srv/handbook"])
    status: Status = Field(
        examples=["indexed"],
        description="The stage that it waits for (chunk, extract, embed or upsert), or indexed, skipped, quarantined or"
        " deleted.",
    )
    reason: ScrubbedText | None = Field(
        description="Why it is skipped, quarantined or blocked, or that it could not be read."
    )
    chunks: int
    revision: int = Field(description="Version of the content, from 1.")
    media_type: str | None = Field(examples=["text/markdown"])
    size: int | None = Field(description="Bytes.")
    title: str | None
    content_hash: str | None = Field(description="SHA-256 of its content.")
    principals: list[str] | None = Field(description="Users or groups that may see it; null means everybody.")
    created_at: float
    changed_at: float
    deleted_at: float | None
    trashed_at: float | None = Field(description="When it was moved to the trash, from which it can be restored.")


class DocumentList(BaseModel):
    """A page of documents."""

    documents: list[Document]
    next_cursor: str | None = None


class IndexingStatus(BaseModel):
    """The status of a document in one generation of its collection's index."""

    model_config = ConfigDict(extra="ignore")

    generation_id: int
    revision: int
    epoch: int = Field(description="Version of its points in the index; increases with each revision.")
    status: str = Field(examples=["quarantined"])
    stages: dict[str, str] = Field(
        examples=[{"sync": "done", "chunk": "failed", "extract": "waiting"}],
        description="Status of each stage: done, due, waiting, failed or not needed.",
    )
    reason: ScrubbedText | None = Field(description="Why it is skipped.")
    attempts: int = Field(description="Failed attempts at the current stage.")
    blocked_reason: ScrubbedText | None = Field(description="Why no worker can process it.")
    worker: str | None = Field(description="Id of the worker that is processing it.")
    retry_in_seconds: float = Field(description="Seconds until it may be processed; 0 means at once.")
    suspect: bool = Field(description="Whether it failed in a batch, so that it is processed alone next.")
    searchable: bool
    extractor_errors: ScrubbedObject | None = Field(description="Extractors that failed on it, and why.")
    error: ScrubbedObject | None = Field(description="Stage, type, message and traceback of the failure.")
    extracted: dict[str, Any] | None = Field(description="Data extracted from the whole document.")


class DocumentDetail(Document):
    """A document in detail."""

    metadata: dict[str, Any]
    generations: list[IndexingStatus] = Field(description="Its status in each generation of the index.")


class ParsedElement(BaseModel):
    """An element of a document's structure; offsets are in characters of the text."""

    kind: str = Field(examples=["heading"])
    start: int
    end: int
    page: int | None = None
    section: list[str] = []


class ParsedDocument(BaseModel):
    """The result of parsing a document."""

    text: str
    title: str | None
    metadata: dict[str, Any]
    elements: list[ParsedElement]


class DocumentChunk(BaseModel):
    """A chunk of a document."""

    ordinal: int
    text: str
    start: int = Field(description="Offset in characters of the parsed text.")
    end: int
    token_count: int
    metadata: dict[str, Any]
    embedded: bool = Field(description="Whether its embedding is stored.")


class ChunkList(BaseModel):
    """A page of chunks."""

    chunks: list[DocumentChunk]
    next_cursor: str | None = None


class DocumentAttributes(BaseModel):
    """Attributes of a pushed document."""

    model_config = ConfigDict(extra="forbid")

    title: Annotated[str, StringConstraints(max_length=500)] | None = None
    metadata: Options = Field(default_factory=dict, description="Filters refer to its fields as `metadata.NAME`.")
    media_type: MediaType | None = Field(None, examples=["text/markdown"])
    principals: list[Name] | None = Field(
        None, max_length=1000, description="Users or groups that may see it; null means as set for its source."
    )


class FileAttributes(DocumentAttributes):
    """Attributes of an uploaded file."""

    document: UniqueId | None = Field(None, description="Document id; by default the name of the file.")


class DocumentInput(DocumentAttributes):
    """A text to push."""

    document: UniqueId = Field(description="Document id. A document with the same id is replaced.")
    text: str


class PushRequest(BaseModel):
    """Texts to push into a collection."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "collection": "default",
                "documents": [
                    {
                        "document": "faq/17",
                        "title": "Forgotten passwords",
                        "text": "Passwords are reset at the help desk, room 12.",
                        "metadata": {"team": "it"},
                    }
                ],
            }
        },
    )

    collection: Name = "default"
    source: Name = Field(SOURCE, description="Name of the push source; it is created if it does not exist.")
    documents: list[DocumentInput] = Field(min_length=1, max_length=MOST)


class PushedDocument(BaseModel):
    """A document that was pushed."""

    id: int
    document: str
    outcome: str = Field(examples=["new"], description="new, changed or unchanged.")


class PushAccepted(OperationAccepted):
    """The documents are stored. Searches find them once the operation has finished."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "operation": "push-7",
                "id": 7,
                "source_id": 2,
                "documents": [{"id": 41, "document": "faq/17", "outcome": "new"}],
            }
        }
    )

    source_id: int
    documents: list[PushedDocument]


class DocumentSelection(BaseModel):
    """Documents of a collection, by document id."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"collection": "default", "documents": ["faq/17"]}}
    )

    collection: Name = "default"
    documents: list[UniqueId] = Field(min_length=1, max_length=MOST)


class DocumentRetryRequest(BaseModel):
    """Documents of a collection, by document id. Without ids, all quarantined documents."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"collection": "default"}})

    collection: Name = "default"
    documents: list[UniqueId] | None = Field(None, min_length=1, max_length=MOST)


class DocumentDeleteRequest(DocumentSelection):
    """Documents of a collection to delete, by document id."""

    purge: bool = Field(False, description="Delete permanently instead of moving to the trash.")
