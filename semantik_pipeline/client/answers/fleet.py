"""Workers, keys, and whether the server is well."""

from __future__ import annotations

from typing import Any, Literal, TypedDict


class Worker(TypedDict):
    """A worker process as it reports itself; it has more fields."""

    id: str
    host: str
    pid: int
    profile: str
    state: str
    command: str | None
    plugin_state_current: bool


class PluginState(TypedDict):
    """The shared plugin state file; ``error`` says why it can't be read."""

    revision: int | None
    hash: str | None
    error: str | None


class FleetStatus(TypedDict):
    """Who works, what waits, what is stuck and why."""

    fleet: bool
    owner: dict[str, Any] | None
    workers: list[Worker]
    plugin_state: PluginState
    stages: dict[str, dict[str, Any]]
    syncs: dict[str, Any]
    operations: dict[str, int]
    blocked: list[dict[str, Any]]
    stuck: list[dict[str, Any]]


class FleetCommand(TypedDict):
    """Who was asked; `GET /fleet` shows when they have done it."""

    command: str
    workers: list[str]


class ApiKey(TypedDict):
    """A key as the ledger knows it: without the key."""

    name: str
    state: Literal["valid", "expired", "revoked"]
    role: Literal["reader", "writer", "admin"]
    collections: list[str] | None
    principals: list[str] | None
    created_by: str
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    used_at: float | None


class ApiKeyList(TypedDict):
    """A page of keys, without the keys themselves."""

    keys: list[ApiKey]
    next_cursor: str | None


class ApiKeyCreated(ApiKey):
    """A key with the ``key``: it is shown this once."""

    key: str


class Liveness(TypedDict):
    """The process answers."""

    status: Literal["alive"]


class Readiness(TypedDict):
    """What a request may need, each with ``ok`` or what is wrong."""

    status: Literal["ready", "not ready"]
    checks: dict[str, str]
