"""What there is, runs and waits; and who changed what."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from semantik_pipeline.api.scrubbed import ScrubbedObject, ScrubbedText


class CollectionTotals(BaseModel):
    documents: dict[str, int] = Field(examples=[{"indexed": 120}], description="By status.")
    chunks: int
    sources: int


class StageBacklog(BaseModel):
    """What waits for a stage."""

    units: int
    held: int
    blocked: int
    oldest_seconds: float


class PausedSource(BaseModel):
    source: str
    reason: ScrubbedText | None


class SystemStatus(BaseModel):
    """As `semantik status` tells it."""

    data_dir: str
    owner: dict[str, Any] | None = Field(description="Without a fleet: the process that has the data folder.")
    collections: dict[str, CollectionTotals]
    operations_running: list[int]
    backlog: dict[str, StageBacklog] = Field(description="By stage.")
    paused_sources: list[PausedSource]
    disk: dict[str, Any] = Field(description="Bytes of ledger, blobs and index; null: they lie elsewhere.")


class AuditEntry(BaseModel):
    id: int
    at: float
    actor: str = Field(examples=["key:search-page"])
    event: str = Field(examples=["source.pause"])
    subject: str
    detail: ScrubbedObject


class AuditLog(BaseModel):
    """A page of the changes, newest first."""

    entries: list[AuditEntry]
    next_cursor: str | None
