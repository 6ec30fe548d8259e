"""Plugin administration for the CLI and the API. A change is a change of the shared state file, the source of truth.

The ledger has a mirror of the file, for history and health, and an audit trail of who changed what. Changes also work
without a ledger (unavailable or not created yet); the next change, or a starting server, updates the mirror from the
file.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from semantik_pipeline import fleet
from semantik_pipeline.contracts import PluginManifest
from semantik_pipeline.errors import PipelineError
from semantik_pipeline.ledger.access import audit_trail
from semantik_pipeline.ledger.catalog import plugin_configs
from semantik_pipeline.ledger.catalog.plugin_configs import PluginRow
from semantik_pipeline.ledger.queue import workers as ledger_workers
from semantik_pipeline.plugins import administer
from semantik_pipeline.plugins.administer import PluginInfo
from semantik_pipeline.plugins.capabilities import capabilities_of, fields_of
from semantik_pipeline.plugins.loader import load_plugins
from semantik_pipeline.plugins.registry import LoadedPlugin
from semantik_pipeline.plugins.state import read_state

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime

log = logging.getLogger(__name__)

Options = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A loaded plugin that a user can choose, with its capabilities and configuration fields."""

    plugin: LoadedPlugin
    capabilities: Options
    fields: list[Options]


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Ids of living workers that have loaded the present state file (``current``) or an older one (``outdated``).

    ``here`` says whether this process has loaded the present one.
    """

    revision: int | None
    current: list[str]
    outdated: list[str]
    here: bool


# -- looking ---------------------------------------------------------------------------------------------------------


def list_plugins(runtime: Runtime, kind: str | None = None, *, health: bool = False) -> tuple[PluginInfo, ...]:
    """Return every installed plugin, as :func:`administer.list_plugins` does. Health is also stored in the ledger."""
    settings = runtime.settings
    found = administer.list_plugins(settings.state_file, kind, health, settings.plugin.health_timeout, settings.offered)
    if health:
        _note_health(runtime, found)
    return found


def show_plugin(runtime: Runtime, plugin_id: str, *, health: bool = False) -> PluginInfo:
    """Return one plugin, in the same form. Raises PluginNotFoundError or StateFileError."""
    settings = runtime.settings
    found = administer.show_plugin(
        settings.state_file, plugin_id, health, settings.plugin.health_timeout, settings.offered
    )
    if health:
        _note_health(runtime, [found])
    return found


def manifest(runtime: Runtime, plugin_id: str) -> PluginManifest:
    """Return an enabled plugin's manifest. Raises PluginNotFoundError, also if it is disabled or failed to load."""
    registry, _ = load_plugins(read_state(runtime.settings.state_file))
    return registry.get(plugin_id).manifest


def offers(runtime: Runtime, kind: str) -> list[Offer]:
    """Return the enabled plugins of a kind, with their capabilities and configuration fields."""
    registry, _ = load_plugins(read_state(runtime.settings.state_file))
    return [
        Offer(plugin=plugin, capabilities=capabilities_of(plugin), fields=fields_of(plugin))
        for plugin in registry.of_kind(kind)
    ]


def last_health(runtime: Runtime) -> dict[str, str]:
    """Return plugin id -> the status of its last health check in any process."""
    with runtime.ledger.read() as tx:
        return {plugin_id: row["health_status"] for plugin_id, row in plugin_configs.read_all(tx).items()}


def spread(runtime: Runtime) -> Spread:
    """Return which workers have loaded the present state file."""
    current = fleet.current_state(runtime)
    with runtime.ledger.read() as tx:
        living = ledger_workers.living(tx)
    known = {row.id: row.report.get("plugin_state", {}).get("hash") == current["hash"] for row in living}
    return Spread(
        revision=current["revision"],
        current=sorted(name for name, fresh in known.items() if fresh),
        outdated=sorted(name for name, fresh in known.items() if not fresh),
        here=runtime.host.state.digest == current["hash"],
    )


# -- changing --------------------------------------------------------------------------------------------------------


def enable(runtime: Runtime, plugin_id: str) -> PluginInfo:
    """Enable a plugin; the result shows whether it loads. Raises PluginNotFoundError or StateFileError."""
    return _noted(runtime, "enable", administer.enable(runtime.settings.state_file, plugin_id))


def disable(runtime: Runtime, plugin_id: str) -> PluginInfo:
    """Disable a plugin: processes that start from now on do not import it.

    Raises PluginNotFoundError or StateFileError.
    """
    return _noted(runtime, "disable", administer.disable(runtime.settings.state_file, plugin_id))


def configure(runtime: Runtime, plugin_id: str, options: Options, unset: Iterable[str] = ()) -> PluginInfo:
    """Set and unset options if the result is valid; raises what :func:`administer.configure` raises."""
    found = administer.configure(runtime.settings.state_file, plugin_id, options, unset)
    return _noted(runtime, "configure", found)


def replace_config(
    runtime: Runtime, plugin_id: str, options: Options, check: Callable[[Options], None] | None = None
) -> PluginInfo:
    """Replace a plugin's options.

    ``check`` receives the current options before anything is written and while the file is locked; if it raises,
    nothing changes.
    """
    found = administer.configure(runtime.settings.state_file, plugin_id, options, anew=True, check=check)
    return _noted(runtime, "configure", found)


def mirror(runtime: Runtime) -> None:
    """Update the ledger's mirror from the state file. Raises StateFileError."""
    _mirror(runtime, administer.list_plugins(runtime.settings.state_file))


def _noted(runtime: Runtime, event: str, info: PluginInfo) -> PluginInfo:
    if not _has_ledger(runtime):
        return info
    try:
        mirror(runtime)
        detail = {"revision": info.revision, "enabled": info.enabled, "config": info.config}
        with runtime.ledger.write() as tx:
            audit_trail.record(tx, event=f"plugin.{event}", subject=info.id, detail=detail)
    except PipelineError as error:
        log.warning("The state file was changed, but the ledger could not be updated: %s", error)
    return info


def _has_ledger(runtime: Runtime) -> bool:
    """Whether a ledger exists: administering plugins does not create one."""
    settings = runtime.settings
    return settings.database.url is not None or (settings.data_dir / "ledger.sqlite3").exists()


def _mirror(runtime: Runtime, found: Iterable[PluginInfo]) -> None:
    rows = {
        info.id: PluginRow(id=info.id, type=info.kind or "unknown", enabled=info.enabled, config=info.config)
        for info in found
        if info.status != "conflict"
    }
    with runtime.ledger.write() as tx:
        plugin_configs.mirror(tx, list(rows.values()))


def _note_health(runtime: Runtime, found: Iterable[PluginInfo]) -> None:
    asked = {info.id: (info.health, info.reason) for info in found if info.health is not None}
    if not asked or not _has_ledger(runtime):
        return
    try:
        with runtime.ledger.read() as tx:
            known = plugin_configs.read_all(tx)
        if not set(asked) <= set(known):
            mirror(runtime)
        with runtime.ledger.write() as tx:
            plugin_configs.note_health(tx, {name: (str(status), why) for name, (status, why) in asked.items()})
    except PipelineError as error:
        log.warning("The health of plugins could not be written to the ledger: %s", error)
