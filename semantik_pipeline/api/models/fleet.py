"""Workers, and what operators ask of them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from semantik_pipeline.api.models.plain import Name
from semantik_pipeline.api.scrubbed import ScrubbedObject, ScrubbedText


class PluginState(BaseModel):
    """The shared plugin state file; ``error`` says why it can't be read."""

    revision: int | None
    hash: str | None
    error: ScrubbedText | None = None


class Worker(BaseModel):
    """A worker process as it reports itself; see `semantik fleet status`."""

    model_config = ConfigDict(extra="allow")

    id: str = Field(examples=["gpu1:4711:9f2c"])
    host: str
    pid: int
    profile: str = Field(examples=["gpu"])
    state: str = Field(examples=["ready"], description="starting, ready, draining, restarting, stopped, or lost")
    command: str | None = Field(description="What it was asked and has not done yet.")
    plugin_state_current: bool = Field(description="Whether it has loaded what the plugin state file says now.")
    plugin_failures: dict[str, ScrubbedText] = Field({}, description="Plugins that it could not load, and why.")
    refusals: dict[str, ScrubbedText] | None = Field(None, description="What it leaves to others (`3:embed`), and why.")
    fatal: ScrubbedText | None = Field(None, description="What it ends of.")


class FleetStatus(BaseModel):
    """Who works, what waits, what is stuck and why."""

    fleet: bool = Field(description="Whether workers in processes of their own do the work.")
    owner: dict[str, Any] | None = Field(description="Without a fleet: the process that has the data folder.")
    workers: list[Worker]
    plugin_state: PluginState
    stages: dict[str, dict[str, Any]] = Field(description="What waits for each stage, and how fast it goes.")
    syncs: dict[str, Any]
    operations: dict[str, int]
    blocked: list[ScrubbedObject] = Field(description="What no living worker takes, and why.")
    stuck: list[ScrubbedObject] = Field(description="What is in trouble and does not move.")


class FleetCommandRequest(BaseModel):
    """Which workers; all living ones, if none is named."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"workers": ["gpu"]}})

    workers: list[Name] = Field([], max_length=1000, description="Ids, hosts or profiles.")


class FleetCommand(BaseModel):
    """Who was asked; `GET /fleet` shows when they have done it."""

    command: str = Field(examples=["restart"])
    workers: list[str]
