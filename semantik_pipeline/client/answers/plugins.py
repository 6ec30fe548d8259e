"""Plugins: what is installed, how it is configured, whether it works."""

from __future__ import annotations

from typing import Any, Literal, TypedDict

Health = Literal["healthy", "unhealthy", "unknown"]


class Plugin(TypedDict):
    """A plugin in a list. ``health`` is what was found last, unless it was asked for."""

    id: str
    type: str | None
    display_name: str
    version: str | None
    enabled: bool
    builtin: bool
    health: Health
    status: Literal["loaded", "disabled", "failed", "conflict"]
    reason: str | None


class PluginList(TypedDict):
    """Everything that is installed, what failed to load too."""

    plugins: list[Plugin]
    types: list[str]
    total: int


class PluginDetail(Plugin):
    """All about one. ``config`` is what the state file says, without secrets; its ETag is the answer's."""

    description: str
    origin: str
    entry_point: str
    config: dict[str, Any]
    capabilities: dict[str, Any]
    revision: int


class PluginManifest(TypedDict):
    """What a plugin says of itself."""

    id: str
    version: str
    type: str
    display_name: str
    description: str
    author: str | None
    license: str | None
    homepage: str | None
    requires: list[str]
    semantik_version: str | None
    capabilities: dict[str, Any]
    config_schema: dict[str, Any] | None


class PluginHealth(TypedDict):
    """Whether a plugin could work now."""

    id: str
    health: Health
    reason: str | None


class PluginStateRollout(TypedDict):
    """Who works with the plugin state file as it is now."""

    revision: int | None
    current: list[str]
    outdated: list[str]
    api_current: bool


class PluginChangeResult(TypedDict):
    """A plugin after a change, and which workers know of it."""

    plugin: PluginDetail
    workers: PluginStateRollout


class ConfigField(TypedDict):
    """An option, for a form."""

    name: str
    type: Any
    label: str
    required: bool
    default: Any
    secret: bool
    description: str | None
    choices: list[Any] | None


class AvailablePlugin(TypedDict):
    """An enabled plugin as something to choose."""

    id: str
    display_name: str
    version: str
    description: str
    builtin: bool
    capabilities: dict[str, Any]
    config_fields: list[ConfigField]


class RerankerList(TypedDict):
    """What can rerank."""

    rerankers: list[AvailablePlugin]


class ExtractorList(TypedDict):
    """What can extract."""

    extractors: list[AvailablePlugin]


class EmbeddingList(TypedDict):
    """What can embed."""

    embeddings: list[AvailablePlugin]


class ChunkerList(TypedDict):
    """What can chunk."""

    chunkers: list[AvailablePlugin]


class ConnectorList(TypedDict):
    """What can read sources."""

    connectors: list[AvailablePlugin]
