"""Workers, API keys, and the health of the server."""

from __future__ import annotations

from typing import Any, Literal, TypedDict


class Worker(TypedDict):
    """A worker process. The response has more fields."""

    id: str
    host: str
    pid: int
    profile: str
    state: str
    command: str | None
    uptime_seconds: float
    heartbeat_age_seconds: float
    memory_bytes: int | None
    queues: list[str]
    in_progress: dict[str, Any] | None
    plugin_state_current: bool
    plugin_failures: dict[str, str]
    refusals: dict[str, str] | None
    fatal_error: str | None


class PluginState(TypedDict):
    """The current plugin state file; ``error`` says why it can't be read."""

    revision: int | None
    hash: str | None
    error: str | None


class StageStatus(TypedDict):
    """Documents at a stage (for ``sync``: sources), and its throughput."""

    waiting: int
    delayed: int
    in_progress: int
    paused: int
    suspects: int
    oldest_seconds: float
    workers: int
    documents_per_second: float
    chunks_per_second: float


class FleetStatus(TypedDict):
    """Workers, the backlog of each stage, and what is stuck and why."""

    distributed: bool
    owner: dict[str, Any] | None
    workers: list[Worker]
    plugin_state: PluginState
    stages: dict[str, StageStatus]
    sources: dict[str, int]
    operations: dict[str, int]
    blocked: list[dict[str, Any]]
    stuck: list[dict[str, Any]]


class FleetCommand(TypedDict):
    """A command that was sent to workers. `GET /fleet` shows when they have completed it."""

    command: str
    workers: list[str]


class ApiKey(TypedDict):
    """An API key, without its secret."""

    name: str
    state: Literal["valid", "expired", "revoked"]
    role: Literal["reader", "writer", "admin"]
    collections: list[str] | None
    principals: list[str] | None
    created_by: str
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    last_used_at: float | None


class ApiKeyList(TypedDict):
    """A page of API keys."""

    keys: list[ApiKey]
    next_cursor: str | None


class ApiKeyCreated(ApiKey):
    """An API key with its secret, ``key``, which is shown only once."""

    key: str


class Liveness(TypedDict):
    """The process responds."""

    status: Literal["alive"]


class Readiness(TypedDict):
    """Whether requests can be served. Each check is ``ok`` or the type of its error."""

    status: Literal["ready", "not ready"]
    checks: dict[str, str]
