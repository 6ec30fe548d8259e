"""A process's plugin host: the plugins loaded at its start and the instances made from them."""

from __future__ import annotations

import inspect
import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from semantik_pipeline.contracts import EmbeddingPlugin, SemanticPlugin
from semantik_pipeline.contracts.models import is_out_of_memory
from semantik_pipeline.errors import PluginError, UsageError
from semantik_pipeline.plugins import audit
from semantik_pipeline.plugins import configuration as configured
from semantik_pipeline.plugins.loader import LoadReport, load_plugins
from semantik_pipeline.plugins.loop import LoopThread
from semantik_pipeline.plugins.registry import LoadedPlugin, PluginRegistry
from semantik_pipeline.plugins.residency import KINDS as MODEL_KINDS
from semantik_pipeline.plugins.residency import LIGHT, Budget, Memory, Residency, Resident, measured
from semantik_pipeline.plugins.secrets import scrub
from semantik_pipeline.plugins.shape import accepted
from semantik_pipeline.plugins.slots import Origins, Slot, owner_name, requires, short_of_memory, unset
from semantik_pipeline.plugins.state import PluginState, read_state
from semantik_pipeline.tally import Tally

LOGGER = logging.getLogger("semantik.plugins")

#: Seconds that a plugin's ``cleanup`` may take when the host closes.
CLEANUP_SECONDS = 10.0

Options = dict[str, Any]


class PluginHost:
    """Loads plugins once, makes instances on demand and keeps them.

    Every method is thread-safe, but must not be called from the thread of the host's own event loop.
    """

    def __init__(
        self,
        registry: PluginRegistry,
        report: LoadReport,
        state: PluginState,
        *,
        budget: Budget | None = None,
        tally: Tally | None = None,
        measure: Callable[[], Memory] = measured,
    ) -> None:
        self.registry = registry
        self.report = report
        self.state = state
        self._answered: dict[tuple[str, str | None, bool, str], Slot] = {}
        self._slots: dict[tuple[str, str], Slot] = {}
        self._origins = Origins()
        self.residency = Residency(budget or Budget(), self._give_up, tally=tally, measure=measure)
        self._lock = threading.Lock()
        self._loop = LoopThread()
        self._closed = False

    @classmethod
    def start(
        cls,
        state_file: Path | str | PluginState,
        kinds: Iterable[str] | None = None,
        *,
        budget: Budget | None = None,
        tally: Tally | None = None,
    ) -> PluginHost:
        """Read the state file, load the enabled plugins of these kinds (None: all), and audit each outcome.

        ``budget`` limits the memory of models; ``tally`` receives their metrics. Raises StateFileError. A plugin that
        fails to load is listed in the report.
        """
        state = state_file if isinstance(state_file, PluginState) else read_state(state_file)
        registry, report = load_plugins(state, kinds)
        for outcome, entries in (("loaded", report.loaded), ("disabled", report.disabled)):
            for entry in entries:
                audit.record("load", entry.id, outcome, revision=state.revision)
        for outcome, entries in (("failed", report.failed), ("conflict", report.conflicts)):
            for entry in entries:
                audit.record("load", entry.id, outcome, entry.reason, state.revision)
        return cls(registry, report, state, budget=budget, tally=tally)

    # -- configuration ------------------------------------------------------------------------------------------------

    def effective_config(
        self, plugin_id: str, config: Options | None = None, *, frozen: bool = False, kind: str | None = None
    ) -> Options:
        """Return the validated options: schema defaults < state file < ``config``. ``frozen``: see .configuration.

        Raises PluginNotFoundError or PluginConfigError.
        """
        return configured.effective_config(self.registry.get(plugin_id, kind), self.state, config, frozen=frozen)

    def frozen_config(self, plugin_id: str, config: Options | None = None) -> Options:
        """Return the options that shape the output, as a generation stores them."""
        schema = configured.schema_of(self.registry.get(plugin_id))
        return configured.shaping_options(self.effective_config(plugin_id, config), schema)

    def redacted(self, plugin_id: str, config: Options) -> Options:
        """Return the options with secrets replaced; secrets that only the schema declares need a loaded plugin."""
        loaded = self.registry.get(plugin_id) if plugin_id in self.registry else None
        return configured.redact(config, configured.schema_of(loaded) if loaded else None)

    def fingerprint(self, plugin_id: str, config: Options | None = None, *extra: str, frozen: bool = False) -> str:
        """Return 32 hex digits over id, OUTPUT_VERSION, output-shaping options, output_revision() and ``extra``.

        Makes a light instance and initializes nothing.
        """
        loaded = self.registry.get(plugin_id)
        options = self.effective_config(plugin_id, config, frozen=frozen)
        shaping = configured.shaping_options(options, configured.schema_of(loaded))
        revision = self.call(self.light(plugin_id, config, frozen=frozen).output_revision)
        return configured.fingerprint_of(loaded.id, loaded.cls.OUTPUT_VERSION, shaping, revision, *extra)

    def supports_model(self, name: str) -> str:
        """Return the id of the only embedding plugin that supports the model; raises UsageError for none or several."""
        embedders = [
            (plugin.id, cast("type[EmbeddingPlugin]", plugin.cls)) for plugin in self.registry.of_kind("embedding")
        ]
        found = [plugin_id for plugin_id, cls in embedders if self._supports(plugin_id, cls, name)]
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(
                f"Several plugins support the model {name!r}: {', '.join(found)}.", "Name the plugin, too."
            )
        known = ", ".join(plugin_id for plugin_id, _ in embedders) or "none"
        raise UsageError(
            f"No plugin supports the model {name!r} by name.", f"Name the plugin, too. Embedding plugins: {known}."
        )

    def _supports(self, plugin_id: str, cls: type[EmbeddingPlugin], name: str) -> bool:
        schema = configured.schema_of(self.registry.get(plugin_id))
        known = configured.layered(configured.offered(schema, self.state), self.state.config_of(plugin_id))
        return bool(self.call(cls.supports_model, name, config=known))

    # -- instances ----------------------------------------------------------------------------------------------------

    def instance(
        self, plugin_id: str, config: Options | None = None, *, frozen: bool = False, kind: str | None = None
    ) -> Any:
        """Return the initialized plugin with this configuration. Equal arguments give the same object.

        Two threads that request the same plugin wait for one initialization; requests for other plugins do not wait.
        A model that was unloaded to free memory is loaded again. After a failure the next call tries again.

        Raises PluginNotFoundError, PluginConfigError (including VariableNotSet), ServiceUnavailable if memory is
        short, or the exception of ``initialize``.
        """
        return self._ready(self._slot(plugin_id, config, frozen, kind))

    @contextmanager
    def for_once(self, plugin_id: str, config: Options, *, kind: str) -> Iterator[Any]:
        """Make an instance for the length of the block and do not keep it: for options that will not be used again."""
        loaded = self.registry.get(plugin_id, kind)
        slot = Slot(loaded=loaded, options=self.effective_config(plugin_id, config, kind=kind))
        plugin = self._ready(slot)
        try:
            yield plugin
        finally:
            self._clean(loaded.id, plugin)

    def _ready(self, slot: Slot) -> Any:
        with slot.lock:
            try:
                return self._initialized(slot)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if not self.residency.free_idle():
                    raise short_of_memory(slot.loaded.id) from error
            try:
                return self._initialized(slot)
            except Exception as error:
                raise (short_of_memory(slot.loaded.id) if is_out_of_memory(error) else error) from error

    def _initialized(self, slot: Slot) -> SemanticPlugin:
        if not (slot.plugin and slot.complete):
            slot.plugin, slot.complete = self._make(slot.loaded, slot.options, strict=True), True
        plugin = slot.plugin
        if not slot.initialized and slot.loaded.kind in MODEL_KINDS:
            self._origins.note(plugin, slot)
            self.residency.load(plugin, slot.loaded.id, lambda: self._initialize(slot))
        elif not slot.initialized:
            self._initialize(slot)
        return plugin

    def _give_up(self, resident: Resident) -> bool:
        """Unload a plugin to free its model's memory; return False if it is in use or loading."""
        slot = self._origins.of(resident.plugin)
        if slot is None or not slot.lock.acquire(blocking=False):
            return False
        try:
            if not self.residency.forget(resident):
                return False
            slot.empty()
            self._clean(resident.plugin_id, resident.plugin)
            return True
        finally:
            slot.lock.release()

    def models(self) -> list[dict[str, Any]]:
        """Return model information of the initialized plugins: ``{"plugin", "model", "device", ...}`` each.

        If a plugin raises, its entry is ``{"plugin", "error"}``. Models that :class:`.residency.Resident` tracks also
        have ``memory``, ``load_seconds``, ``last_used`` and ``in_use``.
        """
        with self._lock:
            slots = [(plugin_id, slot.plugin) for (plugin_id, _), slot in self._slots.items() if slot.initialized]
        return [
            {"plugin": plugin_id, **_model_info(plugin), **(resident.report() if resident else {})}
            for plugin_id, plugin in slots
            if plugin is not None and hasattr(plugin, "get_model_info")
            for resident in [self.residency.of(plugin)]
        ]

    def light(
        self, plugin_id: str, config: Options | None = None, *, frozen: bool = False, kind: str | None = None
    ) -> Any:
        """Return the plugin with this configuration, possibly not initialized: for tokenizers, revisions, capabilities.

        Options whose environment variable is not set are left out, because none of these uses should need a secret.
        """
        slot = self._slot(plugin_id, config, frozen, kind)
        plugin = slot.plugin  # read without the lock: a thread that counts tokens must not wait for a model to load
        if plugin is not None:
            return plugin
        with slot.lock:
            if slot.plugin is None:
                slot.plugin = self._make(slot.loaded, slot.options, strict=False)
                slot.complete = not unset(slot.loaded, slot.options)
            return slot.plugin

    def _slot(self, plugin_id: str, config: Options | None, frozen: bool, kind: str | None) -> Slot:
        asked = (plugin_id, kind, frozen, configured.canonical_json(config or {}))
        found = self._answered.get(asked)
        if found is None:  # cached: validation against a schema takes a millisecond, and callers ask for every batch
            loaded = self.registry.get(plugin_id, kind)
            options = self.effective_config(plugin_id, config, frozen=frozen)
            with self._lock:
                key = (loaded.id, configured.canonical_json(options))
                found = self._slots.setdefault(key, Slot(loaded=loaded, options=options))
            self._answered[asked] = found
        if self._closed:
            raise PluginError("The plugin host is closed.", "Start a new one.")
        return found

    def _make(self, loaded: LoadedPlugin, options: Options, *, strict: bool) -> SemanticPlugin:
        schema = configured.schema_of(loaded)
        resolved = configured.resolve_env(options, schema, plugin_id=loaded.id, strict=strict)
        plugin = loaded.cls(resolved)
        if not hasattr(plugin, "config"):  # the base's default methods read ``config``; such a class may not set it
            plugin.config = resolved
        return plugin

    def _initialize(self, slot: Slot) -> None:
        plugin = slot.plugin
        assert plugin is not None
        wishes: Options = {"config": dict(plugin.config)}
        model = plugin.config.get("model_name") or plugin.config.get("model")
        if model is not None or requires(plugin.initialize, "model_name"):
            wishes["model_name"] = model
        try:
            self.call(plugin.initialize, **wishes)
        except BaseException:
            slot.plugin = None  # partly initialized: the next call makes a new instance
            self._clean(slot.loaded.id, plugin)
            raise
        slot.initialized = True

    # -- calling ------------------------------------------------------------------------------------------------------

    def call(self, method: Callable[..., Any], *args: Any, **optional: Any) -> Any:
        """Call a plugin's method, plain or async, and return its result.

        A plain method runs in the calling thread; a coroutine runs on the event loop while this thread waits.
        ``optional`` keyword arguments that the method does not take are left out, so that contracts can gain arguments
        without breaking plugins. A model is not unloaded during a call. If it was unloaded since the caller got the
        plugin, it is loaded again first.
        """
        living, resident = self._begun(method)
        try:
            result = living(*args, **accepted(living, optional))
            return self._loop.run(result, owner_name(living)) if inspect.isawaitable(result) else result
        finally:
            if resident is not None:
                self.residency.end(resident)

    def _begun(self, method: Callable[..., Any]) -> tuple[Callable[..., Any], Resident | None]:
        """Return the method to call and the model it uses, marked as in use.

        If the method's instance was unloaded, the method of the instance that replaced it is returned.
        """
        resident = self.residency.begin(method)
        while resident is None and (slot := self._origins.successor(method)) and method.__name__ not in LIGHT:
            method = getattr(self._ready(slot), method.__name__)
            resident = self.residency.begin(method)
        return method, resident

    def iterate(self, source: Any, plugin: str | None = None) -> Iterator[Any]:
        """Iterate over an async iterator, a coroutine that returns one, or a plain iterator.

        Closing the returned iterator closes the source.
        """
        if inspect.isawaitable(source):
            source = self._loop.run(source, plugin or owner_name(source))
        if not hasattr(source, "__aiter__"):
            return iter(source)
        return self._loop.iterate(aiter(source), plugin or owner_name(source))

    def service(self, name: str, *args: Any) -> Any:
        """Call a service of the parent process. Only child processes have services; here it raises PluginError."""
        raise PluginError(f"There is no service {name!r} here: only child processes have services.")

    def close(self) -> None:
        """Clean up every instance and stop the event loop. Idempotent."""
        with self._lock:
            self._closed = True
            slots, self._slots = self._slots, {}
        for (plugin_id, _), slot in slots.items():
            if slot.plugin is not None:
                self._clean(plugin_id, slot.plugin)
        self._loop.close()

    def _clean(self, plugin_id: str, plugin: SemanticPlugin) -> None:
        try:
            result = plugin.cleanup()
            if inspect.isawaitable(result):
                self._loop.run(result, plugin_id, patience=CLEANUP_SECONDS)
        except Exception:  # a failing cleanup must not prevent the cleanup of the other plugins
            LOGGER.warning("The plugin %s failed in its cleanup.", plugin_id, exc_info=True)


def _model_info(plugin: Any) -> dict[str, Any]:
    try:
        return {**plugin.get_model_info()}
    except Exception as error:  # reported in this plugin's entry, so that the other plugins' entries are still returned
        return {"error": scrub(f"{type(error).__name__}: {error}")}
