"""List, show, enable, disable, configure and health-check plugins through the shared state file alone.

Commands and the API use ``semantik_pipeline.plugin_admin`` instead, which also keeps the ledger's mirror and the audit
trail. A change takes effect when a process starts: running workers keep what they loaded until they are restarted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from semantik_pipeline.contracts import HealthStatus
from semantik_pipeline.errors import PipelineError
from semantik_pipeline.plugins import audit
from semantik_pipeline.plugins import configuration as configured
from semantik_pipeline.plugins.finding import require_candidate
from semantik_pipeline.plugins.health import HEALTH_SECONDS, check_all
from semantik_pipeline.plugins.host import PluginHost
from semantik_pipeline.plugins.loader import LoadOutcome, LoadReport, load_plugins
from semantik_pipeline.plugins.registry import LoadedPlugin, PluginRegistry
from semantik_pipeline.plugins.secrets import redact, scrub
from semantik_pipeline.plugins.state import PluginState, canonical, read_state, update_state

#: By precedence: if two packages have the same plugin id, the plugin with the earlier status is shown.
_STATUSES = ("loaded", "disabled", "failed", "conflict")

Options = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class PluginInfo:
    """A plugin as an operator sees it.

    ``status`` is loaded, disabled, failed or conflict. ``reason`` says why the plugin is not loaded or not healthy.
    ``config`` is the configuration in the state file, redacted. ``health`` is None if no health check was requested.
    ``revision`` is the revision of the state file.

    A disabled or failed plugin is not imported, so only its package's metadata is known.
    """

    id: str
    kind: str | None
    version: str | None
    origin: str
    builtin: bool
    enabled: bool
    status: str
    entry_point: str
    revision: int
    reason: str | None = None
    health: str | None = None
    display_name: str | None = None
    description: str = ""
    config: Options = field(default_factory=dict)
    schema: Options | None = None
    capabilities: Options = field(default_factory=dict)


# -- looking ----------------------------------------------------------------------------------------------------------


def list_plugins(
    state_file: Path | str,
    kind: str | None = None,
    health: bool = False,
    timeout: float = HEALTH_SECONDS,
    offered: Options | None = None,
) -> tuple[PluginInfo, ...]:
    """Return every installed plugin, including the failed ones, sorted by kind and id.

    ``health`` checks all loaded plugins at the same time, in at most ``timeout`` seconds in total. ``offered`` is
    described in PluginState. Raises StateFileError.
    """
    state = replace(read_state(state_file), offered=offered or {})
    registry, report = load_plugins(state)
    infos = [info for info in _infos(registry, report, state) if kind in (None, info.kind)]
    if health:
        infos = _with_health(infos, registry, state, timeout)
    return tuple(sorted(infos, key=lambda info: (info.kind or "~", not info.builtin, info.id, info.status)))


def show_plugin(
    state_file: Path | str,
    plugin_id: str,
    health: bool = False,
    timeout: float = HEALTH_SECONDS,
    offered: Options | None = None,
) -> PluginInfo:
    """Return one plugin, in the form that :func:`list_plugins` uses.

    Raises PluginNotFoundError if no installed package has the id, or StateFileError.
    """
    names = require_candidate(plugin_id)
    state = replace(read_state(state_file), offered=offered or {})
    registry, report = load_plugins(state)
    wanted = {canonical(plugin_id), *names}
    infos = _infos(registry, report, state, lambda one: bool({canonical(one.id), canonical(one.entry_point)} & wanted))
    info = min(infos, key=lambda info: _STATUSES.index(info.status))
    return _with_health([info], registry, state, timeout)[0] if health else info


def check_health(
    host: PluginHost, plugin_id: str, timeout: float = HEALTH_SECONDS, config: Options | None = None
) -> HealthStatus:
    """Check whether the plugin can work now with its configuration. Takes at most ``timeout`` seconds.

    The result is unhealthy, with a reason, if an environment variable is unset, the configuration is wrong, or the
    check raises or hangs. Raises PluginNotFoundError.
    """
    loaded = host.registry.get(plugin_id)
    return check_all([loaded], host.state, timeout, config)[loaded.id]


# -- changing ---------------------------------------------------------------------------------------------------------


def enable(state_file: Path | str, plugin_id: str) -> PluginInfo:
    """Enable a plugin; the result shows whether it loads. Raises PluginNotFoundError or StateFileError."""
    gone = require_candidate(plugin_id)

    def change(state: PluginState) -> PluginState:
        return replace(state, disabled_ids=frozenset(i for i in state.disabled_ids if canonical(i) not in gone))

    state = update_state(state_file, change)
    audit.record("enable", plugin_id, "enabled", revision=state.revision)
    return show_plugin(state_file, plugin_id)


def disable(state_file: Path | str, plugin_id: str) -> PluginInfo:
    """Disable a plugin: processes that start from now on do not import it.

    Raises PluginNotFoundError or StateFileError.
    """
    require_candidate(plugin_id)

    def change(state: PluginState) -> PluginState:
        done = state.is_disabled(plugin_id)
        return state if done else replace(state, disabled_ids=state.disabled_ids | {canonical(plugin_id)})

    state = update_state(state_file, change)
    audit.record("disable", plugin_id, "disabled", revision=state.revision)
    return show_plugin(state_file, plugin_id)


def configure(
    state_file: Path | str,
    plugin_id: str,
    options: Options,
    unset: Iterable[str] = (),
    *,
    anew: bool = False,
    check: Callable[[Options], None] | None = None,
) -> PluginInfo:
    """Set and unset options in the state file, if the resulting configuration is valid.

    ``anew`` replaces the whole configuration with ``options``. ``check`` receives the current configuration, redacted,
    before anything is written and while the file is locked against other writers.

    Raises PluginConfigError (nothing is written), PluginNotFoundError or StateFileError. A disabled plugin is not
    imported, so only raw secrets are refused; its other options are checked when it is enabled and used.
    """
    require_candidate(plugin_id)
    registry, _ = load_plugins(read_state(state_file))
    unset = set(unset)

    def change(state: PluginState) -> PluginState:
        before = state.config_of(plugin_id)
        if check is not None:
            loaded = registry.get(plugin_id) if plugin_id in registry else None
            check(redact(before, configured.schema_of(loaded) if loaded else None))
        kept = {name: value for name, value in before.items() if name not in unset and not anew}
        changed = configured.layered(kept, options)
        others = {key: value for key, value in state.configs.items() if canonical(key) != canonical(plugin_id)}
        after = replace(state, configs={**others, canonical(plugin_id): changed} if changed else others)
        _check(registry, plugin_id, changed)
        return after

    try:
        state = update_state(state_file, change)
    except PipelineError as error:
        audit.record("configure", plugin_id, "refused", scrub(str(error)))
        raise
    audit.record("configure", plugin_id, "configured", revision=state.revision)
    return show_plugin(state_file, plugin_id)


def _check(registry: PluginRegistry, plugin_id: str, options: Options) -> None:
    configured.refuse_secrets(plugin_id, options)
    if plugin_id in registry:
        configured.validate_part(registry.get(plugin_id), options)


# -- describing -------------------------------------------------------------------------------------------------------


def _infos(
    registry: PluginRegistry,
    report: LoadReport,
    state: PluginState,
    wanted: Callable[[LoadedPlugin | LoadOutcome], bool] = lambda one: True,
) -> list[PluginInfo]:
    infos = [_loaded_info(plugin, state) for plugin in registry if wanted(plugin)]
    for status, outcomes in (("disabled", report.disabled), ("failed", report.failed), ("conflict", report.conflicts)):
        infos += [_absent_info(outcome, status, state) for outcome in outcomes if wanted(outcome)]
    return infos


def _with_health(
    infos: list[PluginInfo], registry: PluginRegistry, state: PluginState, timeout: float
) -> list[PluginInfo]:
    loaded = {info.id for info in infos if info.status == "loaded"}
    found = check_all([plugin for plugin in registry if plugin.id in loaded], state, timeout)
    return [
        replace(info, health=str(found[info.id].status), reason=found[info.id].reason) if info.id in loaded else info
        for info in infos
    ]


def _loaded_info(plugin: LoadedPlugin, state: PluginState) -> PluginInfo:
    about, schema = plugin.manifest, configured.schema_of(plugin)
    return PluginInfo(
        id=plugin.id,
        kind=plugin.kind,
        version=about.version,
        origin=plugin.origin,
        builtin=plugin.builtin,
        enabled=True,
        status="loaded",
        entry_point=plugin.entry_point,
        revision=state.revision,
        reason=_complaint(plugin, state),
        display_name=about.display_name,
        description=about.description,
        config=redact(state.config_of(plugin.id), schema),
        schema=schema,
        capabilities=about.capabilities,
    )


def _complaint(plugin: LoadedPlugin, state: PluginState) -> str | None:
    """Return what is wrong with the plugin's configuration in the state file, or None."""
    try:
        _check(PluginRegistry.of([plugin], {}), plugin.id, state.config_of(plugin.id))
    except PipelineError as error:
        return str(error)
    return None


def _absent_info(outcome: LoadOutcome, status: str, state: PluginState) -> PluginInfo:
    return PluginInfo(
        id=outcome.id,
        kind=outcome.kind,
        version=outcome.origin.rpartition(" ")[2] or None,
        origin=outcome.origin,
        builtin=outcome.builtin,
        enabled=status != "disabled",
        status=status,
        entry_point=outcome.entry_point,
        revision=state.revision,
        reason=scrub(outcome.reason or "") or None,
        config=redact(state.config_of(outcome.id)) if status != "conflict" else {},
    )
