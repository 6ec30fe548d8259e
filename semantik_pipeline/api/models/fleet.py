"""Workers, and commands to them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from semantik_pipeline.api.models.plain import Name
from semantik_pipeline.api.scrubbed import ScrubbedObject, ScrubbedText


class PluginState(BaseModel):
    """The plugin state file as it is now; `error` is why it cannot be read."""

    revision: int | None
    hash: str | None
    error: ScrubbedText | None = None


class Worker(BaseModel):
    """A worker process."""

    model_config = ConfigDict(extra="allow")

    id: str = Field(examples=["gpu1:4711:9f2c"])
    host: str
    pid: int
    profile: str = Field(examples=["gpu"])
    state: str = Field(examples=["ready"], description="starting, ready, draining, restarting, stopped or lost.")
    command: str | None = Field(description="Command that it has not completed yet: drain, resume or restart.")
    uptime_seconds: float
    heartbeat_age_seconds: float = Field(description="Time since its last heartbeat.")
    memory_bytes: int | None
    queues: list[str] = Field(examples=[["chunk", "embed"]])
    in_progress: dict[str, Any] | None = Field(
        description="Number of documents that it is processing, by stage (for `sync`, of sources that it is reading),"
        " and some of their names."
    )
    plugin_state_current: bool = Field(description="Whether it has loaded the plugin state file as it is now.")
    plugin_failures: dict[str, ScrubbedText] = Field({}, description="Plugins that it could not load, and why.")
    refusals: dict[str, ScrubbedText] | None = Field(
        None, description="Generations and stages that it cannot process (such as `3:embed`), and why."
    )
    fatal_error: ScrubbedText | None = Field(None, description="Error that makes it exit.")


class StageStatus(BaseModel):
    """Documents at a stage, and how fast the stage works. The stage `sync` counts sources: a source waits if a sync is
    requested or due, and is in progress while it is read."""

    waiting: int
    delayed: int = Field(description="Documents or sources that wait for their next attempt.")
    in_progress: int
    paused: int = Field(description="Documents of paused operations; sources that were paused during a sync.")
    suspects: int = Field(description="Documents that failed in a batch, and are processed alone next.")
    oldest_seconds: float = Field(description="Time that the oldest waiting document or source has waited.")
    workers: int = Field(description="Live workers that serve this stage.")
    documents_per_second: float = Field(description="Documents that the stage finished (for `sync`, read) per second.")
    chunks_per_second: float


class FleetStatus(BaseModel):
    """Workers, the backlog of each stage, and what is stuck and why."""

    distributed: bool = Field(description="Whether separate worker processes do the work; otherwise one process does.")
    owner: dict[str, Any] | None = Field(description="The process that owns the data folder, unless distributed.")
    workers: list[Worker]
    plugin_state: PluginState
    stages: dict[str, StageStatus]
    sources: dict[str, int] = Field(description="Number of sources by state.")
    operations: dict[str, int] = Field(description="Number of unfinished operations by state.")
    blocked: list[ScrubbedObject] = Field(
        description="Documents that no live worker can process, by stage and collection, and sources (stage `sync`)"
        " that no live worker reads, and why."
    )
    stuck: list[ScrubbedObject] = Field(
        description="Documents and sources (stage `sync`, `document` is null) that make no progress, and why."
    )


class FleetCommandRequest(BaseModel):
    """The workers that get the command; by default all live workers."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"workers": ["gpu"]}})

    workers: list[Name] = Field([], max_length=1000, description="Ids, hosts or profiles of workers.")


class FleetCommand(BaseModel):
    """A command that was sent to workers. `GET /fleet` shows when they have completed it."""

    command: str = Field(examples=["restart"])
    workers: list[str] = Field(description="Ids of the workers.")
