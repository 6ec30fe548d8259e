"""The capabilities and configuration fields of plugins, for a client that lets a user choose a plugin."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from semantik_pipeline.contracts import ConnectorPlugin
from semantik_pipeline.plugins import configuration as configured
from semantik_pipeline.plugins.registry import LoadedPlugin
from semantik_pipeline.plugins.secrets import is_declared_secret, is_secret_name, scrub

log = logging.getLogger(__name__)


def capabilities_of(plugin: LoadedPlugin) -> dict[str, Any]:
    """Return the capabilities from the manifest and those that the kind's own methods report.

    If such a method raises, the message is under ``error``.
    """
    found = dict(plugin.manifest.capabilities)
    ask = _ASKED.get(plugin.kind)
    if ask is None:
        return found
    try:
        return {**found, **ask(plugin.cls)}
    except Exception as error:  # a plugin may raise anything
        log.warning("The capabilities of the plugin %s can't be read: %s", plugin.id, error)
        return {**found, "error": scrub(f"{type(error).__name__}: {error}")}


def fields_of(plugin: LoadedPlugin) -> list[dict[str, Any]]:
    """Return the plugin's options as fields of a form.

    Each field has ``name``, ``type``, ``label``, ``required``, ``default``, ``secret``, ``description`` and
    ``choices``; the last two are None if the schema has none. A ``secret`` option is set through ``NAME_env``.
    """
    schema = configured.schema_of(plugin) or {}
    properties = schema.get("properties", {})
    given = _own_fields(plugin) or [{"name": name} for name in properties]
    return [_field(field, properties.get(field.get("name"), {}), schema.get("required", ())) for field in given]


def _own_fields(plugin: LoadedPlugin) -> list[dict[str, Any]]:
    if plugin.kind != "connector":
        return []
    try:
        return [dict(field) for field in plugin.cls.get_config_fields()]  # type: ignore[attr-defined]
    except Exception as error:
        log.warning("The fields of the connector %s can't be read: %s", plugin.id, error)
        return []


def _field(given: dict[str, Any], spec: dict[str, Any], required: Any) -> dict[str, Any]:
    name = str(given.get("name"))
    secret = is_declared_secret(spec) or is_secret_name(name)
    return {
        "name": name,
        "type": given.get("type") or spec.get("type", "string"),
        "label": given.get("label") or spec.get("title") or name.replace("_", " "),
        "required": bool(given.get("required", name in required)),
        "default": None if secret else given.get("default", spec.get("default")),
        "secret": secret,
        "description": spec.get("description"),
        "choices": spec.get("enum"),
    }


def _of_connector(cls: Any) -> dict[str, Any]:
    return {
        "incremental": cls.enumerate is not ConnectorPlugin.enumerate if hasattr(cls, "enumerate") else False,
        "secret_fields": list(cls.get_secret_fields()) if hasattr(cls, "get_secret_fields") else [],
    }


def _of_embedder(cls: Any) -> dict[str, Any]:
    about = asdict(cls.get_definition())
    return {name: about[name] for name in ("provider_type", "supports_asymmetric", "supported_models")}


_ASKED: dict[str, Callable[[Any], dict[str, Any]]] = {
    "connector": _of_connector,
    "embedding": _of_embedder,
    "extractor": lambda cls: {"extractions": [str(kind) for kind in cls.supported_extractions()]},
    "parser": lambda cls: {
        "media_types": sorted(cls.supported_media_types()),
        "extensions": sorted(cls.supported_extensions()),
    },
    "reranker": lambda cls: asdict(cls.get_capabilities()),
    "postprocessor": lambda cls: {"annotates": cls.ANNOTATES, "pool": cls.POOL},
}
