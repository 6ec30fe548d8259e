"""Status of the installation, and the audit log."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from semantik_pipeline.api.scrubbed import ScrubbedObject, ScrubbedText


class CollectionTotals(BaseModel):
    """Counts of a collection."""

    documents: dict[str, int] = Field(examples=[{"indexed": 120}], description="Number of documents by status.")
    chunks: int
    sources: int


class StageBacklog(BaseModel):
    """Documents at a stage."""

    units: int = Field(description="Number of documents, counted once for each generation of the index.")
    in_progress: int
    blocked: int
    oldest_seconds: float = Field(description="Seconds since the oldest of them reached the stage.")


class PausedSource(BaseModel):
    """A paused source."""

    source: str
    reason: ScrubbedText | None


class SystemStatus(BaseModel):
    """Collections, backlog and disk use, as in `semantik status`."""

    data_dir: str
    owner: dict[str, Any] | None = Field(description="The process that owns the data folder, unless distributed.")
    collections: dict[str, CollectionTotals]
    running_operations: list[int] = Field(description="Ids of running operations.")
    backlog: dict[str, StageBacklog] = Field(description="Backlog by stage.")
    paused_sources: list[PausedSource]
    disk: dict[str, Any] = Field(
        description="Bytes of the database, blobs and index; null if they are not on this host."
    )


class AuditEntry(BaseModel):
    """A change, and who made it."""

    id: int
    at: float
    actor: str = Field(examples=["key:search-page"])
    event: str = Field(examples=["source.pause"])
    subject: str
    detail: ScrubbedObject


class AuditLog(BaseModel):
    """A page of the audit log, newest first."""

    entries: list[AuditEntry]
    next_cursor: str | None
