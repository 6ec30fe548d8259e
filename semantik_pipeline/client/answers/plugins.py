"""Plugins: what is installed, its configuration and its health."""

from __future__ import annotations

from typing import Any, Literal, TypedDict

Health = Literal["healthy", "unhealthy", "unknown"]


class Plugin(TypedDict):
    """A plugin. ``health`` is the last known health, unless ``include_health`` was given."""

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
    """All installed plugins, including those that failed to load."""

    plugins: list[Plugin]
    types: list[str]
    total: int


class PluginDetail(Plugin):
    """A plugin in detail. ``config`` is from the plugin state file, without secrets."""

    description: str
    origin: str
    entry_point: str
    config: dict[str, Any]
    capabilities: dict[str, Any]
    revision: int


class PluginManifest(TypedDict):
    """The manifest of a plugin."""

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
    """The health of a plugin."""

    id: str
    health: Health
    reason: str | None


class PluginStateRollout(TypedDict):
    """Which processes have loaded the current plugin state file."""

    revision: int | None
    current: list[str]
    outdated: list[str]
    api_current: bool


class PluginChangeResult(TypedDict):
    """A plugin after a change, and which workers have loaded the change."""

    plugin: PluginDetail
    workers: PluginStateRollout


class ConfigField(TypedDict):
    """An option of a plugin, for a form."""

    name: str
    type: Any
    label: str
    required: bool
    default: Any
    secret: bool
    description: str | None
    choices: list[Any] | None


class AvailablePlugin(TypedDict):
    """An enabled plugin that a collection or source can use."""

    id: str
    display_name: str
    version: str
    description: str
    builtin: bool
    capabilities: dict[str, Any]
    config_fields: list[ConfigField]


class RerankerList(TypedDict):
    """Rerankers."""

    rerankers: list[AvailablePlugin]


class ExtractorList(TypedDict):
    """Extractors."""

    extractors: list[AvailablePlugin]


class EmbeddingList(TypedDict):
    """Embedders."""

    embeddings: list[AvailablePlugin]


class ChunkerList(TypedDict):
    """Chunkers."""

    chunkers: list[AvailablePlugin]


class ConnectorList(TypedDict):
    """Connectors."""

    connectors: list[AvailablePlugin]
