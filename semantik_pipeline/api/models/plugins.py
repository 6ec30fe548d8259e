"""Plugins: what is installed, its configuration and its health."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from semantik_pipeline.api.models.plain import Options
from semantik_pipeline.api.scrubbed import ScrubbedText
from semantik_pipeline.contracts import KINDS

PluginType = StrEnum("PluginType", {kind.upper(): kind for kind in KINDS})  # type: ignore[misc]  # one member per kind

Health = Literal["healthy", "unhealthy", "unknown"]


class Plugin(BaseModel):
    """A plugin. `health` is the last known health, unless the request has `include_health`."""

    id: str = Field(examples=["cross-encoder"])
    type: str | None = Field(examples=["reranker"], description="null if it is unknown without importing the plugin.")
    display_name: str = Field(examples=["Cross encoder"])
    version: str | None = Field(examples=["2.0.0"])
    enabled: bool
    builtin: bool
    health: Health
    status: Literal["loaded", "disabled", "failed", "conflict"]
    reason: ScrubbedText | None = Field(description="Why it is not loaded or not healthy.")


class PluginList(BaseModel):
    """A list of plugins."""

    plugins: list[Plugin]
    types: list[str] = Field(examples=[["connector", "parser", "reranker"]], description="All types of plugins.")
    total: int


class PluginDetail(Plugin):
    """A plugin in detail. `config` is from the plugin state file, without secrets."""

    description: str
    origin: str = Field(examples=["semantik-pipeline 2.0.0"], description="Package that provides it.")
    entry_point: str
    config: dict[str, Any] = Field(examples=[{"model": "cross-encoder/ms-marco-MiniLM-L6-v2"}])
    capabilities: dict[str, Any]
    revision: int = Field(description="Revision of the plugin state file.")


class PluginManifest(BaseModel):
    """The manifest of a plugin."""

    id: str
    version: str
    type: str
    display_name: str
    description: str = ""
    author: str | None = None
    license: str | None = None
    homepage: str | None = None
    requires: list[str] = []
    semantik_version: str | None = Field(None, examples=[">=2.0,<3"])
    capabilities: dict[str, Any] = {}
    config_schema: dict[str, Any] | None = None


class PluginHealth(BaseModel):
    """The health of a plugin."""

    id: str
    health: Health
    reason: ScrubbedText | None = Field(examples=["the environment variable OPENAI_API_KEY is not set"])


class PluginConfigUpdate(BaseModel):
    """All options of a plugin. Options that are left out get their defaults. For a secret, give the name of an
    environment variable."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"config": {"model": "text-embedding-3-small", "api_key_env": "OPENAI_API_KEY"}}},
    )

    config: Options


class PluginStateRollout(BaseModel):
    """Which processes have loaded the plugin state file as it is now. Processes load it when they start; `POST
    /fleet/restart` restarts workers one by one."""

    revision: int | None
    current: list[str] = Field(description="Ids of workers that have loaded it.")
    outdated: list[str] = Field(examples=[["gpu1:4711:9f2c"]], description="Ids of workers that run an older state.")
    api_current: bool = Field(description="Whether this API process has loaded it.")


class PluginChangeResult(BaseModel):
    """A plugin after a change, and which workers have loaded the change."""

    plugin: PluginDetail
    workers: PluginStateRollout


class ConfigField(BaseModel):
    """An option of a plugin, for a form."""

    name: str
    type: Any = Field(examples=["string"])
    label: str
    required: bool
    default: Any = None
    secret: bool = Field(description="Whether it must be given as the name of an environment variable, in `NAME_env`.")
    description: str | None = None
    choices: list[Any] | None = None


class AvailablePlugin(BaseModel):
    """An enabled plugin that a collection or source can use."""

    id: str
    display_name: str
    version: str
    description: str
    builtin: bool
    capabilities: dict[str, Any]
    config_fields: list[ConfigField]


class RerankerList(BaseModel):
    """Rerankers."""

    rerankers: list[AvailablePlugin]


class ExtractorList(BaseModel):
    """Extractors."""

    extractors: list[AvailablePlugin]


class EmbeddingList(BaseModel):
    """Embedders."""

    embeddings: list[AvailablePlugin]


class ChunkerList(BaseModel):
    """Chunkers."""

    chunkers: list[AvailablePlugin]


class ConnectorList(BaseModel):
    """Connectors."""

    connectors: list[AvailablePlugin]
