"""Work that this process leaves to other workers.

It leaves sources whose connector lacks something here (the plugin, or a variable), and units that its plugins and
models can never process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from semantik_pipeline.ledger.ingestion import sync

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime

#: Seconds until a source or unit that was left is looked at again, because its options may have changed by then. This
#: is longer than the time that a command in a single process waits for work that nobody can do
#: (``operations.PATIENCE``).
LEFT = 45.0

#: Maximum number of reasons that are kept.
KEPT = 100


def pass_on(runtime: Runtime) -> None:
    """Ring the bell for another worker if this process reads no more sources and some are due.

    The bell that this process has heard is used up.
    """
    if runtime.stopping.is_set() or runtime.resting.is_set():
        with runtime.ledger.read() as tx:
            due = any(sync.sources_due(tx))
        if due:
            runtime.ring("sync")


class LeftWork:
    """The sources that one process cannot read, with the reasons, and its reasons for leaving units."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left: dict[int, tuple[float, str]] = {}
        self._unable: dict[str, float] = {}
        self._lock = threading.Lock()

    def leave(self, source_id: int, reason: str) -> None:
        """Take no slice of this source for :data:`LEFT` seconds."""
        with self._lock:
            self._left[source_id] = (self._clock(), reason)

    def unable(self, reason: str) -> None:
        """Take no unit that waits for this reason for :data:`LEFT` seconds.

        The reason holds for the life of the process, because it loads plugins and models only once.
        """
        with self._lock:
            if reason in self._unable or len(self._unable) < KEPT:
                self._unable[reason] = self._clock()

    def units(self) -> tuple[str, ...]:
        """Return the reasons for which waiting units must not be taken now."""
        since = self._clock() - LEFT
        with self._lock:
            return tuple(sorted(reason for reason, at in self._unable.items() if at > since))

    def lasts(self, reason: str) -> bool:
        """Return whether this process will never take units, or a source, left for this reason."""
        with self._lock:
            return reason in self._unable

    def sources(self) -> list[int]:
        """Return the ids of sources that must not be taken now."""
        return list(self._younger_than(LEFT))

    def reasons(self) -> dict[int, str]:
        """Return, by source id, why each source was left.

        A reason is reported for longer than :data:`LEFT`, so that it does not flicker when the source is looked at
        again.
        """
        return self._younger_than(2 * LEFT)

    def _younger_than(self, seconds: float) -> dict[int, str]:
        since = self._clock() - seconds
        with self._lock:
            return {source_id: reason for source_id, (at, reason) in self._left.items() if at > since}
