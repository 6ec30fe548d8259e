"""Operations: long-running work."""

from __future__ import annotations

from typing import Any, Literal, TypedDict


class OperationAccepted(TypedDict):
    """The operation that was started."""

    operation: str
    id: int


class OperationSource(TypedDict):
    """A source that an operation reads."""

    source: str
    connector: str
    state: str
    error: str | None


class Operation(TypedDict):
    """An operation."""

    operation: str
    id: int
    kind: str
    state: str
    reason: str | None
    outcome: str | None
    collection: str
    sources: list[OperationSource]
    documents: int
    result: dict[str, Any] | None
    created_at: float
    finished_at: float | None
    seconds: float


class OperationList(TypedDict):
    """A page of operations."""

    operations: list[Operation]
    next_cursor: str | None


class OperationProgress(TypedDict):
    """The progress of an operation."""

    operation: str
    state: Literal["running", "paused", "cancelling", "finished"]
    outcome: str | None
    reason: str | None
    phase: str | None
    result: dict[str, Any] | None
    sources_running: int
    seen: int
    stages: dict[str, int]
    chunks: int
    chunks_embedded: int
    errors: list[str]
    seconds: float


class UnfinishedWork(TypedDict):
    """The work that ``retry`` would repeat."""

    quarantined: int
    parked: int
    sources: int
    rerun: bool


class OperationDetail(Operation):
    """An operation with its progress and its unfinished work."""

    progress: OperationProgress
    problems: list[str]
    unfinished: UnfinishedWork


class OperationActionResult(TypedDict):
    """An operation after it was paused, resumed or cancelled, and the number of documents affected."""

    operation: Operation
    affected_documents: int
