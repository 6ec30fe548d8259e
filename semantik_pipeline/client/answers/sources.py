"""Sources, and a look at what one would emit."""

from __future__ import annotations

from typing import Any, Literal, TypedDict


class Source(TypedDict):
    """A source as it is. Times are seconds since 1970."""

    id: int
    name: str
    connector: str
    collection: str
    state: str
    config: dict[str, Any]
    etag: str
    schedule: dict[str, Any] | None
    weight: float
    documents: int
    quarantined: int
    due_at: float | None
    synced_at: float | None
    paused: str | None
    operation: int | None
    error: dict[str, Any] | None
    problems: list[str] | None
    principals: list[str] | None
    faults: int
    attempts: int
    retry_at: float | None
    removed_at: float | None
    created_at: float


class SourceList(TypedDict):
    """A page of sources."""

    sources: list[Source]
    next_cursor: str | None


class PreviewDocument(TypedDict):
    """A document that a source would emit; ``text`` is its beginning."""

    document: str
    size: int | None
    media_type: str | None
    metadata: dict[str, Any]
    text: str | None
    problem: str | None


class SourcePreview(TypedDict):
    """What a source would emit first. Nothing was stored."""

    documents: list[PreviewDocument]
    complete: bool
    stopped: Literal["limit", "time"] | None
