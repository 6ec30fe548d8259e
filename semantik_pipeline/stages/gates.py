"""Limit how many loops of a stage run in a process at once.

If a bell rings while no further loop may start, a running loop looks once more.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Gates:
    """The number of running loops of each stage in this process, and its limits."""

    def __init__(self, limits: dict[str, int]) -> None:
        self._limits = limits
        self._running: dict[str, int] = {}
        self._again: set[str] = set()
        self._lock = threading.Lock()

    @contextmanager
    def entering(self, stage: str) -> Iterator[Gate]:
        """Yield a gate that opens at least once if there is room.

        If there is no room, a running loop will look once more.
        """
        with self._lock:
            entered = self._running.get(stage, 0) < self._limits.get(stage, 1)
            if entered:
                self._running[stage] = self._running.get(stage, 0) + 1
            else:
                self._again.add(stage)
        gate = Gate(self, stage, entered)
        try:
            yield gate
        finally:
            gate.close()


class Gate:
    """One loop's passage through the gate of a stage."""

    def __init__(self, gates: Gates, stage: str, entered: bool) -> None:
        self._gates, self._stage = gates, stage
        self.entered = entered
        self._inside = entered
        self._rounds = 0

    def open(self, *, again: bool) -> bool:
        """Return whether to run another round, and leave the gate if not.

        The first round always runs if the loop has entered. A further round runs if ``again`` is true and a bell rang
        in the meantime.
        """
        with self._gates._lock:
            if not self._inside:
                return False
            self._rounds += 1
            if self._rounds == 1:
                self._gates._again.discard(self._stage)
                return True
            if again and self._stage in self._gates._again:
                self._gates._again.discard(self._stage)
                return True
            self._leave()
            return False

    def close(self) -> None:
        with self._gates._lock:
            if self._inside:
                self._leave()

    def _leave(self) -> None:
        self._inside = False
        self._gates._running[self._stage] -= 1
