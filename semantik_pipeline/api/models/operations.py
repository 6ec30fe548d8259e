"""Operations: long-running work."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from semantik_pipeline.api.scrubbed import ScrubbedObject, ScrubbedText


class OperationAccepted(BaseModel):
    """The operation that was started; `Location` is its URL."""

    model_config = ConfigDict(json_schema_extra={"example": {"operation": "sync-12", "id": 12}})

    operation: str = Field(description="Name of the operation: kind and number.")
    id: int


class OperationSource(BaseModel):
    """A source that an operation reads."""

    source: str = Field(examples=["/srv/handbook"])
    connector: str = Field(examples=["directory"])
    state: str = Field(examples=["finished"], description="running, finished, failed or cancelled.")
    error: ScrubbedText | None = None


class Operation(BaseModel):
    """An operation."""

    operation: str = Field(examples=["sync-12"])
    id: int
    kind: str = Field(examples=["sync"], description="sync, push, retry, delete, restore, reindex or another kind.")
    state: str = Field(examples=["running"], description="running, blocked, paused, cancelling or finished.")
    reason: ScrubbedText | None = Field(description="Why it is blocked.")
    outcome: str | None = Field(examples=[None], description="Once finished: succeeded, degraded, failed or cancelled.")
    collection: str = Field(examples=["default"])
    sources: list[OperationSource]
    documents: int = Field(description="Number of documents that it concerns.")
    result: ScrubbedObject | None = Field(description="Once finished: its counts.")
    created_at: float = Field(description="Unix timestamp.")
    finished_at: float | None
    seconds: float = Field(description="Duration so far, or in total once finished.")


class OperationList(BaseModel):
    """A page of operations."""

    operations: list[Operation]
    next_cursor: str | None = None


class OperationProgress(BaseModel):
    """The progress of an operation."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "operation": "push-7",
                "state": "running",
                "outcome": None,
                "reason": None,
                "phase": None,
                "result": None,
                "sources_running": 0,
                "seen": 200,
                "stages": {"embed": 120, "indexed": 80},
                "chunks": 410,
                "chunks_embedded": 166,
                "errors": [],
                "seconds": 3.2,
            }
        }
    )

    operation: str
    state: Literal["running", "paused", "cancelling", "finished"]
    outcome: str | None
    reason: ScrubbedText | None = Field(description="Why it is blocked.")
    phase: str | None = Field(
        None, description="Phase of a running reindex: backfilling, building or verifying (docs/collections.md)."
    )
    result: ScrubbedObject | None
    sources_running: int = Field(description="Sources that are still being read.")
    seen: int = Field(description="Documents found so far.")
    stages: dict[str, int] = Field(description="Number of documents by status.")
    chunks: int
    chunks_embedded: int
    errors: list[ScrubbedText]
    seconds: float


class UnfinishedWork(BaseModel):
    """What `retry` would process again."""

    quarantined: int = Field(description="Quarantined documents.")
    parked: int = Field(description="Documents that were left unfinished when it was cancelled.")
    sources: int = Field(description="Sources that were not read completely.")
    rerun: bool = Field(description="Whether there are documents that a rerun's filter was not applied to.")


class OperationDetail(Operation):
    """An operation in detail."""

    progress: OperationProgress
    problems: list[ScrubbedText] = Field(description="What could not be read from its sources.")
    unfinished: UnfinishedWork


class OperationActionResult(BaseModel):
    """An operation after it was paused, resumed or cancelled."""

    operation: Operation
    affected_documents: int = Field(description="Number of documents that were paused, resumed or cancelled.")
