"""Slots: each holds the instance of a plugin for one configuration."""

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
    """One plugin with one effective configuration.

    The lock is held while the instance is made, initialized or unloaded.
    """

    loaded: LoadedPlugin
    options: Options
    lock: threading.Lock = field(default_factory=threading.Lock)
    plugin: SemanticPlugin | None = None
    complete: bool = False  # every environment variable that the options name was set
    initialized: bool = False

    def empty(self) -> None:
        self.plugin, self.complete, self.initialized = None, False, False


class Origins:
    """Maps instances to the slots they were made for.

    An instance is tracked as long as it is referenced, even if its slot holds another instance by now.
    """

    def __init__(self) -> None:
        self._found: dict[int, tuple[weakref.ref[Any], Slot]] = {}  # by id(), because a plugin may not be hashable

    def note(self, plugin: Any, slot: Slot) -> None:
        key = id(plugin)
        self._found[key] = weakref.ref(plugin, lambda _: self._found.pop(key, None)), slot

    def of(self, plugin: Any) -> Slot | None:
        reference, slot = self._found.get(id(plugin), (None, None))
        return slot if reference is not None and reference() is plugin else None

    def successor(self, method: Callable[..., Any]) -> Slot | None:
        """Return the slot of the method's instance if that instance was unloaded; otherwise None."""
        owner = getattr(method, "__self__", None)
        slot = self.of(owner) if owner is not None else None
        return slot if slot is not None and slot.plugin is not owner else None


def owner_name(thing: Any) -> str:
    """Return the plugin's name for messages, from a bound method or an async generator made by one."""
    owner = getattr(thing, "__self__", None)
    return getattr(owner, "PLUGIN_ID", None) or getattr(thing, "__qualname__", None) or type(thing).__name__


def requires(method: Callable[..., Any], name: str) -> bool:
    """Whether the method has a required argument with that name."""
    parameter = inspect.signature(method).parameters.get(name)
    return parameter is not None and parameter.default is inspect.Parameter.empty


def unset(loaded: LoadedPlugin, options: Options) -> bool:
    """Whether any environment variable that the options name is not set."""
    try:
        configured.resolve_env(options, configured.schema_of(loaded), plugin_id=loaded.id)
    except PluginError:
        return True
    return False


def short_of_memory(plugin_id: str) -> ServiceUnavailable:
    """Return the error for a model that does not fit into memory: transient, because no document caused it."""
    return ServiceUnavailable(
        f"There is not enough memory to load the model of the plugin {plugin_id!r}.",
        "Free the device's memory, use a smaller model, lower worker.model_memory_mb, or set device: cpu.",
    )
