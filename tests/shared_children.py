"""Pools of child processes that tests use in turn, because starting a child takes a third of a second.

Sharing is safe: a test leaves nothing in a child that a worker's documents would not leave there too.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Hashable
from dataclasses import replace
from pathlib import Path
from typing import Any

from semantik_pipeline.lazy_parts import part
from semantik_pipeline.plugins.child import ChildPool
from semantik_pipeline.plugins.state import PluginState
from semantik_pipeline.runtime import CHILD_KINDS, Runtime
from semantik_pipeline.settings import Settings
from semantik_pipeline.testing import FakeEmbedder
from semantik_pipeline.testing.misbehaviour import OPTIONS as MISBEHAVIOUR

#: Number of idle pools that are kept. Each has a child with a hundred megabytes.
KEPT = 3


class Borrowed:
    """A pool lent to one runtime. Closing returns it; a pool with running requests is closed, like a runtime's own."""

    def __init__(self, pool: ChildPool, key: Hashable, waiting: list[tuple[Hashable, ChildPool]]) -> None:
        self._pool, self._key, self._waiting = pool, key, waiting
        self._working = 0
        self._lock = threading.Lock()

    def run(self, *args: Any, **named: Any) -> Any:
        self._count(1)
        try:
            return self._pool.run(*args, **named)
        finally:
            self._count(-1)

    def _count(self, more: int) -> None:
        with self._lock:  # several threads call run
            self._working += more

    def close(self) -> None:
        if self._working:
            self._pool.close()
            return
        self._waiting.append((self._key, self._pool))
        while len(self._waiting) > KEPT:
            self._waiting.pop(0)[1].close()


def loaded_by_children(runtime: Runtime) -> PluginState:
    """Return the part of the runtime's plugin state that affects children: options of the plugins they load.

    Embedders only count tokens in a child, so the fake embedder's options for misbehaving while embedding are left out.
    """
    registry, configs = runtime.host.registry, {}
    for plugin_id, options in runtime.host.state.configs.items():
        if plugin_id in registry and registry.get(plugin_id).kind not in CHILD_KINDS:
            continue
        left_out = MISBEHAVIOUR if plugin_id == FakeEmbedder.PLUGIN_ID else {}
        if kept := {name: value for name, value in options.items() if name not in left_out}:
            configs[plugin_id] = kept
    state = runtime.host.state
    return PluginState(disabled_ids=state.disabled_ids, configs=configs, offered=state.offered)


class SharedChildren:
    """Lends pools of children. ``of(runtime)`` returns a pool that no other runtime uses.

    An idle pool is reused if its children have loaded the same plugins with the same options, path and environment;
    otherwise a new pool is started.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[Hashable, ChildPool]] = []

    def of(self, runtime: Runtime) -> Borrowed:
        state = loaded_by_children(runtime)
        key = self._key(runtime, state)
        for found in self._waiting:
            if found[0] == key:
                self._waiting.remove(found)
                return Borrowed(found[1], key, self._waiting)
        memory = runtime.settings.child.memory_mb
        pool = ChildPool(runtime.child_count, state, kinds=CHILD_KINDS, memory_mb=memory)
        return Borrowed(pool, key, self._waiting)

    def _key(self, runtime: Runtime, state: PluginState) -> Hashable:
        if not Path(state.offered["models_dir"]).exists():  # the path of a folder that does not exist has no effect
            state = replace(state, offered={})
        environment = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
        return repr(
            (state, runtime.child_count, runtime.settings.child.memory_mb, sys.path, sorted(environment.items()))
        )

    def close(self) -> None:
        for _, pool in self._waiting:
            pool.close()


class SharingRuntime(Runtime):
    """A runtime with shared children."""

    def __init__(self, settings: Settings, shared: SharedChildren) -> None:
        super().__init__(settings)
        self._shared = shared

    @part
    def children(self) -> Any:
        return self._shared.of(self)
