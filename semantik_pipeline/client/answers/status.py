"""Status of the installation, and the audit log."""

from __future__ import annotations

from typing import Any, TypedDict


class CollectionTotals(TypedDict):
    """Counts of a collection, with documents by status."""

    documents: dict[str, int]
    chunks: int
    sources: int


class StageBacklog(TypedDict):
    """Documents at a stage."""

    units: int
    in_progress: int
    blocked: int
    oldest_seconds: float


class PausedSource(TypedDict):
    """A paused source and the reason."""

    source: str
    reason: str | None


class SystemStatus(TypedDict):
    """Collections, backlog and disk use."""

    data_dir: str
    owner: dict[str, Any] | None
    collections: dict[str, CollectionTotals]
    running_operations: list[int]
    backlog: dict[str, StageBacklog]
    paused_sources: list[PausedSource]
    disk: dict[str, Any]


class AuditEntry(TypedDict):
    """A change and who made it."""

    id: int
    at: float
    actor: str
    event: str
    subject: str
    detail: dict[str, Any]


class AuditLog(TypedDict):
    """A page of the audit log, newest first."""

    entries: list[AuditEntry]
    next_cursor: str | None
