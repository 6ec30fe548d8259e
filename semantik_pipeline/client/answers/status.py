"""What there is, runs and waits; and who changed what."""

from __future__ import annotations

from typing import Any, TypedDict


class CollectionTotals(TypedDict):
    """What a collection has; documents by status."""

    documents: dict[str, int]
    chunks: int
    sources: int


class StageBacklog(TypedDict):
    """What waits for a stage."""

    units: int
    held: int
    blocked: int
    oldest_seconds: float


class PausedSource(TypedDict):
    """A source that is not synced, and why."""

    source: str
    reason: str | None


class SystemStatus(TypedDict):
    """What there is in the whole installation."""

    data_dir: str
    owner: dict[str, Any] | None
    collections: dict[str, CollectionTotals]
    operations_running: list[int]
    backlog: dict[str, StageBacklog]
    paused_sources: list[PausedSource]
    disk: dict[str, Any]


class AuditEntry(TypedDict):
    """A change that somebody made."""

    id: int
    at: float
    actor: str
    event: str
    subject: str
    detail: dict[str, Any]


class AuditLog(TypedDict):
    """A page of the changes, newest first."""

    entries: list[AuditEntry]
    next_cursor: str | None
