"""What this process leaves to others: sources whose connector it lacks something for (the plugin, or a variable), and units
that its plugins and models can't do, whatever happens."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from semantik_pipeline.ledger.ingestion import sync

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime

#: Seconds until a source that was left, or a unit, is looked at again: its options may be others by then. Longer than a command that
#: works alone waits for something that nobody can do (``operations.PATIENCE``).
LEFT = 45.0

#: Reasons that are kept.
KEPT = 100


def pass_on(runtime: Runtime) -> None:
    """If this process reads no more sources, another worker goes on at once: the bell that this one heard is used up."""
    if runtime.stopping.is_set() or runtime.resting.is_set():
        with runtime.ledger.read() as tx:
            due = any(sync.sources_due(tx))
        if due:
            runtime.ring("sync")


class LeftWork:
    """What one process lacks for which sources, and for which reasons it leaves units."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left: dict[int, tuple[float, str]] = {}
        self._unable: dict[str, float] = {}
        self._lock = threading.Lock()

    def leave(self, source_id: int, reason: str) -> None:
        """Take no slice of it for :data:`LEFT` seconds."""
        with self._lock:
            self._left[source_id] = (self._clock(), reason)

    def unable(self, reason: str) -> None:
        """Units wait for this reason, which lasts as long as the process: it loads plugins and models once. Take none that
        waits for it for :data:`LEFT` seconds."""
        with self._lock:
            if reason in self._unable or len(self._unable) < KEPT:
                self._unable[reason] = self._clock()

    def units(self) -> tuple[str, ...]:
        """Reasons for which units wait that are not to be taken now."""
        since = self._clock() - LEFT
        with self._lock:
            return tuple(sorted(reason for reason, at in self._unable.items() if at > since))

    def lasts(self, reason: str) -> bool:
        """Whether units, or a source, that are left for this reason will be left by this process for good."""
        with self._lock:
            return reason in self._unable

    def sources(self) -> list[int]:
        """Ids of those that are not to be taken now."""
        return list(self._younger_than(LEFT))

    def reasons(self) -> dict[int, str]:
        """Source -> why it was left; told for some time beyond the next look, so that it doesn't come and go."""
        return self._younger_than(2 * LEFT)

    def _younger_than(self, seconds: float) -> dict[int, str]:
        since = self._clock() - seconds
        with self._lock:
            return {source_id: reason for source_id, (at, reason) in self._left.items() if at > since}
