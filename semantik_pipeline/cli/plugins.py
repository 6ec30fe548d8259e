"""``semantik plugins``: list, show, enable, disable and configure plugins, and check their health."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from semantik_pipeline.cli.arguments import EPILOG
from semantik_pipeline.cli.invocation import Invocation, begin

if TYPE_CHECKING:
    from rich.console import Console

    from semantik_pipeline.plugins.administer import PluginInfo

app = typer.Typer(
    help="List, show, enable, disable and configure plugins, and check their health.",
    short_help="Manage plugins and check their health.",
    rich_markup_mode=None,
    no_args_is_help=True,
)

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="Plugin id.")]

#: Message after a change of the state file.
LATER = "Running workers and servers use the change after a restart."


@app.command("list", short_help="List plugins.", epilog=EPILOG)
def list_(
    context: typer.Context,
    kind: Annotated[
        str | None, typer.Option("--type", metavar="TYPE", help="Only plugins of this type, e.g. parser or embedding.")
    ] = None,
    health: Annotated[bool, typer.Option("--health", help="Run health checks.")] = False,
) -> int:
    """List plugins with their type, version, origin and status, and the reason if one is not enabled."""
    call = begin(context)
    from semantik_pipeline.cli.plugin_views import show_list
    from semantik_pipeline.contracts import KINDS
    from semantik_pipeline.errors import UsageError
    from semantik_pipeline.plugins import administer

    if kind is not None and kind not in KINDS:
        raise UsageError(f"There is no plugin type {kind!r}.", f"Types are {', '.join(KINDS)}.")
    settings = call.settings()
    found = administer.list_plugins(settings.state_file, kind, health, settings.plugin.health_timeout, settings.offered)
    call.output.give(
        {"plugins": [plugin_dict(info) for info in found]}, lambda console: show_list(console, found, health)
    )
    return 0


@app.command(short_help="Show a plugin.", epilog=EPILOG)
def show(context: typer.Context, plugin_id: IdArgument) -> int:
    """Show a plugin: description, options, configuration and health."""
    call = begin(context)
    from semantik_pipeline.plugins import administer

    settings = call.settings()
    info = administer.show_plugin(
        settings.state_file, plugin_id, True, settings.plugin.health_timeout, settings.offered
    )
    return _give(call, info, None)


@app.command(short_help="Enable a plugin.", epilog=EPILOG)
def enable(context: typer.Context, plugin_id: IdArgument) -> int:
    """Enable a plugin. Running workers and servers load it after a restart."""
    call = begin(context)
    from semantik_pipeline import plugin_admin

    with call.runtime() as runtime:
        info = plugin_admin.enable(runtime, plugin_id)
    return _give(call, info, f"Enabled {info.id}. {LATER}")


@app.command(short_help="Disable a plugin.", epilog=EPILOG)
def disable(context: typer.Context, plugin_id: IdArgument) -> int:
    """Disable a plugin. Processes that start from now on do not import it."""
    call = begin(context)
    from semantik_pipeline import plugin_admin

    with call.runtime() as runtime:
        info = plugin_admin.disable(runtime, plugin_id)
    return _give(call, info, f"Disabled {info.id}. {LATER}")


@app.command(short_help="Set options of a plugin.", epilog=EPILOG)
def configure(
    context: typer.Context,
    plugin_id: IdArgument,
    options: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE", help="Options. A value is read as JSON if it is valid JSON, otherwise as text."
        ),
    ] = None,
    unset: Annotated[list[str] | None, typer.Option(metavar="KEY", help="Remove this option; repeatable.")] = None,
) -> int:
    """Set options of a plugin in the shared state file. Give secrets by the name of an environment variable:
    api_key_env=NAME."""
    call = begin(context)
    from semantik_pipeline import plugin_admin
    from semantik_pipeline.configurations import parse_changes
    from semantik_pipeline.errors import UsageError

    if not options and not unset:
        raise UsageError(
            "No option is given.", f"Write `semantik plugins configure {plugin_id} KEY=VALUE`, or --unset KEY."
        )
    values = parse_changes(options or ())
    with call.runtime() as runtime:
        info = plugin_admin.configure(runtime, plugin_id, values, unset or ())
    return _give(call, info, f"Configured {info.id}. {LATER}")


@app.command(short_help="Check the health of plugins.", epilog=EPILOG)
def health(
    context: typer.Context,
    plugin_id: Annotated[str | None, typer.Argument(metavar="ID", help="Only this plugin.")] = None,
) -> int:
    """Check the health of all plugins, or of one. With an ID, exit code 1 means that the plugin is unhealthy."""
    call = begin(context)
    from semantik_pipeline import plugin_admin
    from semantik_pipeline.cli.plugin_views import show_health

    with call.runtime() as runtime:
        if plugin_id is None:
            found = plugin_admin.list_plugins(runtime, health=True)
        else:
            found = (plugin_admin.show_plugin(runtime, plugin_id, health=True),)
    answers = [{"id": one.id, "type": one.kind, "health": one.health, "reason": one.reason} for one in found]
    call.output.give(
        answers[0] if plugin_id is not None else {"plugins": answers}, lambda console: show_health(console, found)
    )
    return 1 if plugin_id is not None and found[0].health not in ("healthy", "unknown") else 0


def plugin_dict(info: PluginInfo) -> dict[str, Any]:
    """Return the plugin as JSON. ``type`` is its kind; ``health`` is null if it was not checked."""
    from dataclasses import asdict

    fields = asdict(info)
    return {"id": fields.pop("id"), "type": fields.pop("kind"), **fields}


def _give(call: Invocation, info: PluginInfo, done: str | None) -> int:
    from semantik_pipeline.cli.plugin_views import show_changed, show_plugin

    def view(console: Console) -> None:
        if done is None:
            show_plugin(console, info)
        else:
            show_changed(console, info, done)

    call.output.give(plugin_dict(info), view)
    return 0
