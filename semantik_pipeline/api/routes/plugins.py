"""Plugins: list, show, check, enable, disable, configure."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import Query, Response

from semantik_pipeline import plugin_admin
from semantik_pipeline.api import etags, trusted
from semantik_pipeline.api.dependencies import Operator, Reader, TheRuntime
from semantik_pipeline.api.models.plugins import (
    Plugin,
    PluginChangeResult,
    PluginConfigUpdate,
    PluginDetail,
    PluginHealth,
    PluginList,
    PluginManifest,
    PluginStateRollout,
    PluginType,
)
from semantik_pipeline.api.problems import documented
from semantik_pipeline.api.routing import guarded
from semantik_pipeline.contracts import KINDS
from semantik_pipeline.plugins.administer import PluginInfo
from semantik_pipeline.runtime import Runtime

router = guarded("plugins", "/plugins")

NOT_THERE = documented(404)


@router.get("", operation_id="plugins_list", summary="List installed plugins, including those that failed to load.")
def list_plugins(
    runtime: TheRuntime,
    caller: Reader,
    kind: Annotated[PluginType | None, Query(alias="type", description="Only this type.")] = None,
    enabled: Annotated[
        bool | None, Query(description="true lists only enabled plugins, false only disabled ones.")
    ] = None,
    include_health: Annotated[
        bool, Query(description="Run health checks. They take at most `plugin.health_timeout`.")
    ] = False,
) -> PluginList:
    found = plugin_admin.list_plugins(runtime, kind, health=include_health)
    known = {} if include_health else plugin_admin.last_health(runtime)
    shown = [_plugin(info, known) for info in found if enabled in (None, info.enabled)]
    return PluginList(plugins=shown, types=list(KINDS), total=len(shown))


@router.get("/{plugin_id}", operation_id="plugins_show", summary="Show a plugin.", responses=NOT_THERE)
def show(runtime: TheRuntime, caller: Reader, plugin_id: str, response: Response) -> PluginDetail:
    info = plugin_admin.show_plugin(runtime, plugin_id)
    response.headers["ETag"] = etags.of(info.config)
    return _detail(runtime, info)


@router.get(
    "/{plugin_id}/manifest",
    operation_id="plugins_manifest",
    summary="Show the manifest of an enabled plugin.",
    responses=NOT_THERE,
)
def manifest(runtime: TheRuntime, caller: Reader, plugin_id: str) -> PluginManifest:
    return PluginManifest(**asdict(plugin_admin.manifest(runtime, plugin_id)))


@router.get(
    "/{plugin_id}/config-schema",
    operation_id="plugins_config_schema",
    summary="Show the JSON Schema of a plugin's options. It is `{}` if the plugin has none or is not loaded.",
    responses=NOT_THERE,
)
def config_schema(runtime: TheRuntime, caller: Reader, plugin_id: str) -> dict[str, Any]:
    return plugin_admin.show_plugin(runtime, plugin_id).schema or {}


@router.get(
    "/{plugin_id}/health",
    operation_id="plugins_health",
    summary="Check the health of a plugin with its current options. Takes at most `plugin.health_timeout`.",
    responses=NOT_THERE,
)
def health(runtime: TheRuntime, caller: Reader, plugin_id: str) -> PluginHealth:
    info = plugin_admin.show_plugin(runtime, plugin_id, health=True)
    return PluginHealth.model_validate({"id": info.id, "health": info.health or "unknown", "reason": info.reason})


@router.post(
    "/{plugin_id}/enable",
    operation_id="plugins_enable",
    summary="Enable a plugin. Processes that start from now on load it.",
    responses=NOT_THERE,
)
def enable(runtime: TheRuntime, caller: Operator, plugin_id: str) -> PluginChangeResult:
    return _changed(runtime, plugin_admin.enable(runtime, plugin_id))


@router.post(
    "/{plugin_id}/disable",
    operation_id="plugins_disable",
    summary="Disable a plugin. Processes that start from now on do not import it.",
    responses=NOT_THERE,
)
def disable(runtime: TheRuntime, caller: Operator, plugin_id: str) -> PluginChangeResult:
    return _changed(runtime, plugin_admin.disable(runtime, plugin_id))


@router.put(
    "/{plugin_id}/config",
    operation_id="plugins_configure",
    summary="Replace the options of a plugin. Secrets are refused: name an environment variable instead, as in"
    " `api_key_env`.",
    responses=documented(404, 412),
)
def configure(
    runtime: TheRuntime,
    caller: Operator,
    plugin_id: str,
    new: PluginConfigUpdate,
    response: Response,
    if_match: etags.IfMatch = None,
) -> PluginChangeResult:
    trusted.check(runtime.settings, new.config)
    info = plugin_admin.replace_config(runtime, plugin_id, new.config, check=etags.checker(if_match))
    response.headers["ETag"] = etags.of(info.config)
    return _changed(runtime, info)


def _changed(runtime: Runtime, info: PluginInfo) -> PluginChangeResult:
    found = plugin_admin.spread(runtime)
    spread = PluginStateRollout(
        revision=found.revision, current=found.current, outdated=found.outdated, api_current=found.here
    )
    return PluginChangeResult(plugin=_detail(runtime, info), workers=spread)


def _plugin(info: PluginInfo, known: dict[str, str]) -> Plugin:
    return Plugin.model_validate(_fields(info, known))


def _detail(runtime: Runtime, info: PluginInfo) -> PluginDetail:
    return PluginDetail.model_validate(_fields(info, plugin_admin.last_health(runtime)))


def _fields(info: PluginInfo, known: dict[str, str]) -> dict[str, Any]:
    fields = asdict(info)
    return {
        **fields,
        "type": fields["kind"],
        "display_name": info.display_name or info.id,
        "health": info.health or known.get(info.id, "unknown"),
    }
