"""Plugins: list, configure, enable, disable."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from semantik_pipeline.client.answers import (
    ChunkerList,
    ConnectorList,
    EmbeddingList,
    ExtractorList,
    PluginChangeResult,
    PluginDetail,
    PluginHealth,
    PluginList,
    PluginManifest,
    RerankerList,
)
from semantik_pipeline.client.calls import Call, Resource, S, request


class Plugins(Resource[S]):
    """``client.plugins``. Changes apply to processes that start afterwards."""

    @request("plugins_list", "GET /plugins")
    def list(
        self, *, kind: str | None = None, enabled: bool | None = None, include_health: bool = False
    ) -> Call[PluginList]:
        """All installed plugins. ``include_health`` also checks their health."""
        return Call(query={"type": kind, "enabled": enabled, "include_health": include_health})

    @request("plugins_show", "GET /plugins/{plugin_id}")
    def show(self, plugin_id: str) -> Call[PluginDetail]:
        """A plugin in detail."""
        return Call(at={"plugin_id": plugin_id})

    @request("plugins_manifest", "GET /plugins/{plugin_id}/manifest")
    def manifest(self, plugin_id: str) -> Call[PluginManifest]:
        """The manifest of an enabled plugin."""
        return Call(at={"plugin_id": plugin_id})

    @request("plugins_config_schema", "GET /plugins/{plugin_id}/config-schema")
    def config_schema(self, plugin_id: str) -> Call[dict[str, Any]]:
        """The JSON Schema of a plugin's options."""
        return Call(at={"plugin_id": plugin_id})

    @request("plugins_health", "GET /plugins/{plugin_id}/health")
    def health(self, plugin_id: str) -> Call[PluginHealth]:
        """Check a plugin's health with its current configuration."""
        return Call(at={"plugin_id": plugin_id})

    @request("plugins_enable", "POST /plugins/{plugin_id}/enable", repeatable=True)
    def enable(self, plugin_id: str) -> Call[PluginChangeResult]:
        """Enable a plugin."""
        return Call(at={"plugin_id": plugin_id})

    @request("plugins_disable", "POST /plugins/{plugin_id}/disable", repeatable=True)
    def disable(self, plugin_id: str) -> Call[PluginChangeResult]:
        """Disable a plugin."""
        return Call(at={"plugin_id": plugin_id})

    @request("plugins_configure", "PUT /plugins/{plugin_id}/config")
    def configure(
        self, plugin_id: str, config: Mapping[str, Any], *, if_match: str | None = None
    ) -> Call[PluginChangeResult]:
        """Replace a plugin's options. For secrets, give the names of environment variables (``api_key_env``)."""
        return Call(at={"plugin_id": plugin_id}, json={"config": dict(config)}, headers={"If-Match": if_match})

    @request("rerankers_list", "GET /rerankers")
    def rerankers(self) -> Call[RerankerList]:
        """Enabled rerankers."""
        return Call()

    @request("extractors_list", "GET /extractors")
    def extractors(self) -> Call[ExtractorList]:
        """Enabled extractors."""
        return Call()

    @request("embeddings_list", "GET /embeddings")
    def embeddings(self) -> Call[EmbeddingList]:
        """Enabled embedders."""
        return Call()

    @request("chunkers_list", "GET /chunkers")
    def chunkers(self) -> Call[ChunkerList]:
        """Enabled chunkers."""
        return Call()

    @request("connectors_list", "GET /connectors")
    def connectors(self) -> Call[ConnectorList]:
        """Enabled connectors, with their options."""
        return Call()
