"""Sources, and previews of what they would emit."""

from __future__ import annotations

from typing import Any, Literal, TypedDict


class Source(TypedDict):
    """A source. Times are Unix timestamps."""

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
    next_sync_at: float | None
    last_sync_at: float | None
    paused_reason: str | None
    operation_id: int | None
    held_by: int | None
    last_error: dict[str, Any] | None
    problems: list[str] | None
    principals: list[str] | None
    consecutive_failures: int
    attempts: int
    retry_at: float | None
    removed_at: float | None
    created_at: float


class SourceList(TypedDict):
    """A page of sources."""

    sources: list[Source]
    next_cursor: str | None


class PreviewDocument(TypedDict):
    """A document that a source would emit. ``text`` is the start of its text."""

    document: str
    size: int | None
    media_type: str | None
    metadata: dict[str, Any]
    text: str | None
    error: str | None


class SourcePreview(TypedDict):
    """The first documents that a source would emit. Nothing was stored."""

    documents: list[PreviewDocument]
    complete: bool
    stopped_by: Literal["limit", "time"] | None
