"""Indexes that only a server or a scheduler writes are optimised too: commands do that at their end, and these have none."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from semantik_pipeline.isolation import isolated
from semantik_pipeline.ledger.operations import lifecycle

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime

#: Seconds between two looks for indexes that are at rest.
EVERY = 30.0

#: How many times as long as it took an index is left alone afterwards: a graph that was built in vain, because the index
#: changed meanwhile, is not built again and again.
LEFT = 20


class Optimizing:
    """Asks the store to optimise an index when an operation of its collection has ended and no other is under way. The
    store knows whether the index has grown enough for that."""

    def __init__(self, runtime: Runtime, clock: Callable[[], float] = time.monotonic) -> None:
        self._runtime = runtime
        self._clock = clock
        self._asked: dict[str, int] = {}  # index -> the last operation before it was asked for
        self._left: dict[str, float] = {}  # index -> until when it is left alone

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
                if index in there and self._asked.get(index) != last and not runtime.stopping.is_set():
                    self._ask(index, last)

    def _ask(self, index: str, last: int) -> None:
        """One that fails keeps no other waiting, and is asked for again after a while."""
        began = self._clock()
        if began < self._left.get(index, began):
            return
        with isolated(self._runtime, "optimize", f"index {index}"):
            self._runtime.host.call(self._runtime.store.optimize, index)
            self._asked[index] = last
        ended = self._clock()
        self._left[index] = ended + LEFT * (ended - began)
