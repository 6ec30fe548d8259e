"""Operations: what was asked for and takes time."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from semantik_pipeline.api.scrubbed import ScrubbedObject, ScrubbedText


class OperationAccepted(BaseModel):
    """What was asked for is under way. `Location` says where to follow it."""

    model_config = ConfigDict(json_schema_extra={"example": {"operation": "sync-12", "id": 12}})

    operation: str = Field(description="The operation's name: its kind and its number.")
    id: int


class OperationSource(BaseModel):
    """A source of an operation."""

    source: str = Field(examples=["/srv/handbook"])
    connector: str = Field(examples=["directory"])
    state: str = Field(examples=["finished"], description="running, finished, failed or cancelled")
    error: ScrubbedText | None = None


class Operation(BaseModel):
    """Something that was asked for, as far as it is."""

    operation: str = Field(examples=["sync-12"])
    id: int
    kind: str = Field(examples=["sync"], description="sync, push, retry, delete, restore, reindex, ...")
    state: str = Field(examples=["running"], description="running, blocked, paused, cancelling or finished")
    reason: ScrubbedText | None = Field(description="What blocks it.")
    outcome: str | None = Field(examples=[None], description="Once finished: succeeded, degraded, failed or cancelled")
    collection: str = Field(examples=["default"])
    sources: list[OperationSource]
    items: int = Field(description="Documents that it touches.")
    result: ScrubbedObject | None = Field(description="Once finished: its counts, which add up.")
    created_at: float = Field(description="Seconds since 1970.")
    finished_at: float | None
    seconds: float = Field(description="Since it began, or that it took.")


class OperationList(BaseModel):
    operations: list[Operation]
    next_cursor: str | None = None


class OperationProgress(BaseModel):
    """How far an operation is."""

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
    reason: ScrubbedText | None = Field(description="What blocks it.")
    phase: str | None = Field(None, description="Of a build: filling, building or judging.")
    result: ScrubbedObject | None
    sources_running: int = Field(description="Sources that are still read.")
    seen: int = Field(description="Documents that were named, or given, so far.")
    stages: dict[str, int] = Field(description="Documents by the stage that they wait for, or ended at.")
    chunks: int
    chunks_embedded: int
    errors: list[ScrubbedText]
    seconds: float


class UnfinishedWork(BaseModel):
    """What `retry` would run again."""

    quarantined: int
    parked: int
    sources: int
    rerun: bool = Field(description="Whether it has a filter that not all documents were held against.")


class OperationDetail(Operation):
    progress: OperationProgress
    problems: list[ScrubbedText] = Field(description="What its sources could not read.")
    undone: UnfinishedWork


class OperationActionResult(BaseModel):
    """An operation that was paused, resumed or cancelled."""

    operation: Operation
    units: int = Field(description="Documents that wait from now on, or were freed.")
