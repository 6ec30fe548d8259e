"""One instance of a plugin for each configuration, and what it was made of."""

from __future__ import annotations

import inspect
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from semantik_pipeline.contracts import SemanticPlugin
from semantik_pipeline.errors import PluginError, ServiceUnavailable
from semantik_pipeline.plugins import configuration as configured
from semantik_pipeline.plugins.registry import LoadedPlugin

Options = dict[str, Any]


@dataclass
class Slot:
    """One (plugin, effective configuration). The lock is held while the instance is made, initialised or given up."""

    loaded: LoadedPlugin
    options: Options
    lock: threading.Lock = field(default_factory=threading.Lock)
    plugin: SemanticPlugin | None = None
    complete: bool = False  # every environment variable that it names was set
    initialized: bool = False

    def empty(self) -> None:
        self.plugin, self.complete, self.initialized = None, False, False


class Origins:
    """Which slot an instance was made for, as long as somebody holds it, even if the slot has another one by now."""

    def __init__(self) -> None:
        self._found: dict[int, tuple[weakref.ref[Any], Slot]] = {}  # by id(): a plugin need not be hashable

    def note(self, plugin: Any, slot: Slot) -> None:
        key = id(plugin)
        self._found[key] = weakref.ref(plugin, lambda _: self._found.pop(key, None)), slot

    def of(self, plugin: Any) -> Slot | None:
        reference, slot = self._found.get(id(plugin), (None, None))
        return slot if reference is not None and reference() is plugin else None

    def successor(self, method: Callable[..., Any]) -> Slot | None:
        """The slot of the instance whose method it is, if the instance was given up; else None."""
        owner = getattr(method, "__self__", None)
        slot = self.of(owner) if owner is not None else None
        return slot if slot is not None and slot.plugin is not owner else None


def owner_name(thing: Any) -> str:
    """Whom to name for a bound method, or for an async generator made by one."""
    owner = getattr(thing, "__self__", None)
    return getattr(owner, "PLUGIN_ID", None) or getattr(thing, "__qualname__", None) or type(thing).__name__


def requires(method: Callable[..., Any], name: str) -> bool:
    """Whether the method can't be called without an argument of that name."""
    parameter = inspect.signature(method).parameters.get(name)
    return parameter is not None and parameter.default is inspect.Parameter.empty


def unset(loaded: LoadedPlugin, options: Options) -> bool:
    """Whether one of the environment variables that the options name is not set."""
    try:
        configured.resolve_env(options, configured.schema_of(loaded), plugin_id=loaded.id)
    except PluginError:
        return True
    return False


def short_of_memory(plugin_id: str) -> ServiceUnavailable:
    """No document is to blame for a model that does not fit."""
    return ServiceUnavailable(
        f"There is not enough memory to load the model of the plugin {plugin_id!r}.",
        "Free the device's memory, use a smaller model, lower worker.model_memory_mb, or set device: cpu.",
    )
