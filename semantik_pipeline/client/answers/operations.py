"""Operations: what was asked for and takes time."""

from __future__ import annotations

from typing import Any, Literal, TypedDict


class OperationAccepted(TypedDict):
    """What was asked for is under way, by this operation."""

    operation: str
    id: int


class OperationSource(TypedDict):
    """A source of an operation."""

    source: str
    connector: str
    state: str
    error: str | None


class Operation(TypedDict):
    """Something that was asked for, as far as it is."""

    operation: str
    id: int
    kind: str
    state: str
    reason: str | None
    outcome: str | None
    collection: str
    sources: list[OperationSource]
    items: int
    result: dict[str, Any] | None
    created_at: float
    finished_at: float | None
    seconds: float


class OperationList(TypedDict):
    """A page of operations."""

    operations: list[Operation]
    next_cursor: str | None


class OperationProgress(TypedDict):
    """How far an operation is."""

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
    """What ``retry`` would run again."""

    quarantined: int
    parked: int
    sources: int
    rerun: bool


class OperationDetail(Operation):
    """An operation with its progress, and what is left undone."""

    progress: OperationProgress
    problems: list[str]
    undone: UnfinishedWork


class OperationActionResult(TypedDict):
    """An operation that was paused, resumed or cancelled."""

    operation: Operation
    units: int
