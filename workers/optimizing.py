"""Indexes that only a server or a scheduler writes are optimised too: commands do that at their end, and these have none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from semantik_pipeline.isolation import isolated
from semantik_pipeline.ledger.operations import lifecycle

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime

#: Seconds between two looks for indexes that are at rest.
EVERY = 30.0


class Optimizing:
    """Asks the store to optimise an index whenever an operation of its collection has ended and no other is under way. The
    store knows whether the index has grown enough for that."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._asked: dict[str, int] = {}

    def run(self) -> None:
        """Look now and then until the process is to stop."""
        while not self._runtime.stopping.wait(EVERY):
            if self._runtime.scheduling:
                self.look()

    def look(self) -> None:
        runtime = self._runtime
        with isolated(runtime, "optimize"):
            if "optimize" not in runtime.store.capabilities:
                return
            with runtime.ledger.read() as tx:
                resting = lifecycle.at_rest(tx)
            there = runtime.host.call(runtime.store.list_indexes) if resting else []
            for index, last in resting:
                if runtime.stopping.is_set():
                    return
                if index in there and self._asked.get(index) != last:
                    runtime.host.call(runtime.store.optimize, index)
                self._asked[index] = last
