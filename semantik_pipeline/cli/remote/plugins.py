"""``semantik plugins`` on a server."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from semantik_pipeline.cli.invocation import Invocation
from semantik_pipeline.cli.plugin_views import show_changed, show_health, show_list, show_plugin
from semantik_pipeline.cli.plugins import LATER
from semantik_pipeline.configurations import parse_changes
from semantik_pipeline.errors import UsageError

if TYPE_CHECKING:
    from semantik_pipeline.client import Client

#: A plugin's fields, in the order of the output.
FIELDS = (
    "id",
    "type",
    "version",
    "origin",
    "builtin",
    "enabled",
    "status",
    "entry_point",
    "revision",
    "reason",
    "health",
    "display_name",
    "description",
    "config",
    "schema",
    "capabilities",
)


def list_(call: Invocation, client: Client, *, kind: str | None, health: bool) -> int:
    listed = client.plugins.list(kind=kind, include_health=health)
    if kind is not None and kind not in listed["types"]:
        raise UsageError(f"There is no plugin type {kind!r}.", f"Types are {', '.join(listed['types'])}.")
    found = [_whole(client, one["id"], one["health"] if health else None) for one in listed["plugins"]]
    infos = [_info(one) for one in found]
    call.output.give({"plugins": found}, lambda console: show_list(console, infos, health))
    return 0


def show(call: Invocation, client: Client, *, plugin_id: str) -> int:
    asked = client.plugins.health(plugin_id)
    whole = {**_whole(client, plugin_id, asked["health"]), "reason": asked["reason"]}
    call.output.give(whole, lambda console: show_plugin(console, _info(whole)))
    return 0


def enable(call: Invocation, client: Client, *, plugin_id: str) -> int:
    client.plugins.enable(plugin_id)
    return _changed(call, client, plugin_id, f"Enabled {plugin_id}. {LATER}")


def disable(call: Invocation, client: Client, *, plugin_id: str) -> int:
    client.plugins.disable(plugin_id)
    return _changed(call, client, plugin_id, f"Disabled {plugin_id}. {LATER}")


def configure(
    call: Invocation, client: Client, *, plugin_id: str, options: list[str] | None, unset: list[str] | None
) -> int:
    if not options and not unset:
        raise UsageError(
            "No option is given.", f"Write `semantik plugins configure {plugin_id} KEY=VALUE`, or --unset KEY."
        )
    values = parse_changes(options or ())
    before = client.plugins.show(plugin_id)["config"]
    config = {name: value for name, value in before.items() if name not in (unset or ())} | values
    client.plugins.configure(plugin_id, config)
    return _changed(call, client, plugin_id, f"Configured {plugin_id}. {LATER}")


def health(call: Invocation, client: Client, *, plugin_id: str | None) -> int:
    if plugin_id is None:
        found: list[Any] = list(client.plugins.list(include_health=True)["plugins"])
    else:
        asked = client.plugins.health(plugin_id)
        found = [{**client.plugins.show(plugin_id), "health": asked["health"], "reason": asked["reason"]}]
    answers = [{name: one[name] for name in ("id", "type", "health", "reason")} for one in found]
    infos = [_info(one) for one in found]
    answer = answers[0] if plugin_id is not None else {"plugins": answers}
    call.output.give(answer, lambda console: show_health(console, infos))
    return 1 if plugin_id is not None and answers[0]["health"] == "unhealthy" else 0


def _whole(client: Client, plugin_id: str, health: str | None) -> dict[str, Any]:
    """Return everything about a plugin, in the form of ``semantik plugins show --json``."""
    told: dict[str, Any] = {**client.plugins.show(plugin_id), "health": health}
    told["schema"] = client.plugins.config_schema(plugin_id) or None
    return {name: told[name] for name in FIELDS}


def _info(told: dict[str, Any]) -> Any:
    """Convert a plugin to an object with the field names of the core's ``PluginInfo``."""
    return SimpleNamespace(**told, kind=told["type"])


def _changed(call: Invocation, client: Client, plugin_id: str, done: str) -> int:
    whole = _whole(client, plugin_id, None)
    call.output.give(whole, lambda console: show_changed(console, _info(whole), done))
    return 0
