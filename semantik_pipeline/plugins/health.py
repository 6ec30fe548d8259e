"""Health checks of plugins, each in its own thread, so that a check that hangs blocks nothing else."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Awaitable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from semantik_pipeline.contracts import HealthState, HealthStatus
from semantik_pipeline.errors import PluginConfigError, PluginError, VariableNotSet
from semantik_pipeline.plugins import audit
from semantik_pipeline.plugins import configuration as configured
from semantik_pipeline.plugins.registry import LoadedPlugin
from semantik_pipeline.plugins.schema import field_of
from semantik_pipeline.plugins.secrets import is_declared_secret, is_secret_name, scrub
from semantik_pipeline.plugins.shape import accepted
from semantik_pipeline.plugins.state import PluginState

#: Seconds that health checks may take.
HEALTH_SECONDS = 5.0

#: Health checks by (class, state, configuration): those still running, and finished ones until the next check starts.
_begun: dict[tuple[type, str, str], Future[HealthStatus]] = {}
_starting = threading.Lock()


def check_all(
    plugins: Iterable[LoadedPlugin],
    state: PluginState,
    timeout: float = HEALTH_SECONDS,
    config: dict[str, Any] | None = None,
) -> dict[str, HealthStatus]:
    """Return the health of each plugin by id. All checks run at the same time, for at most ``timeout`` seconds.

    A plugin is unhealthy, with a reason, if an environment variable is unset, its configuration is wrong, or its check
    raises or hangs. Each result is written to the audit log.
    """
    until = time.monotonic() + timeout
    asked = [(plugin, _start(plugin, state, config, timeout)) for plugin in plugins]
    found = {plugin.id: _answer(answer, until, timeout) for plugin, answer in asked}
    for plugin_id, health in found.items():
        audit.record("health", plugin_id, str(health.status), health.reason, state.revision)
    return found


def _start(
    plugin: LoadedPlugin, state: PluginState, config: dict[str, Any] | None, timeout: float
) -> Future[HealthStatus]:
    """Start a health check and return its future.

    A caller that requests a check that is still running gets that check's future, so a check that never returns
    costs one thread, however often it is requested.
    """
    asked = (plugin.cls, state.digest, configured.canonical_json(config or {}))
    answer: Future[HealthStatus] = Future()
    with _starting:
        for done in [key for key, one in _begun.items() if one.done()]:
            del _begun[done]
        if _begun.setdefault(asked, answer) is not answer:
            return _begun[asked]

    def work() -> None:
        try:
            answer.set_result(_check(plugin, state, config, timeout))
        except BaseException as error:  # a check may raise anything, including SystemExit
            answer.set_result(HealthStatus(HealthState.UNHEALTHY, f"{type(error).__name__}: {scrub(str(error))}"))

    # A daemon thread: a check that never returns must not keep the process from ending.
    threading.Thread(target=work, name=f"health-{plugin.id}", daemon=True).start()
    return answer


def _answer(answer: Future[HealthStatus], until: float, timeout: float) -> HealthStatus:
    try:
        return answer.result(max(0.0, until - time.monotonic()))
    except TimeoutError:
        return HealthStatus(HealthState.UNHEALTHY, f"the health check took more than {timeout:g} s")


def _check(plugin: LoadedPlugin, state: PluginState, config: dict[str, Any] | None, timeout: float) -> HealthStatus:
    schema = configured.schema_of(plugin)
    missing = configured.missing_options(plugin, state, config)
    if missing and not any(is_declared_secret(field_of(schema, name)) or is_secret_name(name) for name in missing):
        wanted = ", ".join(map(repr, missing))
        return HealthStatus(
            HealthState.UNKNOWN, f"it needs {wanted}, which a source, a collection or the configuration has to give"
        )
    try:
        options = configured.effective_config(plugin, state, config)
        resolved = configured.resolve_env(options, schema, plugin_id=plugin.id)
    except PluginError as error:
        return _unfit(plugin, state, config, error)
    try:
        said = plugin.cls.health_check(**accepted(plugin.cls.health_check, {"config": resolved}))
        if inspect.isawaitable(said):
            said = asyncio.run(_within(said, timeout))
    except TimeoutError:
        return HealthStatus(HealthState.UNHEALTHY, "the health check timed out")
    except Exception as error:
        return HealthStatus(HealthState.UNHEALTHY, scrub(f"{type(error).__name__}: {error}"))
    return _status(said)


def _unfit(plugin: LoadedPlugin, state: PluginState, config: dict[str, Any] | None, error: PluginError) -> HealthStatus:
    """Return unknown if only options of a source or a collection are missing, otherwise unhealthy."""
    if config is None and isinstance(error, PluginConfigError) and not isinstance(error, VariableNotSet):
        with suppress(PluginConfigError):
            configured.validate_part(plugin, state.config_of(plugin.id))
            return HealthStatus(HealthState.UNKNOWN, f"it needs options from a source or a collection: {error}")
    return HealthStatus(HealthState.UNHEALTHY, str(error))


async def _within(said: Awaitable[Any], seconds: float) -> Any:
    async with asyncio.timeout(seconds):
        return await said


def _status(said: Any) -> HealthStatus:
    if isinstance(said, bool):
        return HealthStatus(HealthState.HEALTHY if said else HealthState.UNHEALTHY)
    try:
        reason = getattr(said, "reason", None)
        return HealthStatus(HealthState(str(said.status)), scrub(str(reason)) if reason else None)
    except (AttributeError, ValueError):
        return HealthStatus(
            HealthState.UNKNOWN, f"the health check returned {type(said).__name__} instead of a HealthStatus"
        )
