"""A small source's units have the process to themselves while they are worked on.

``ledger/queue/fair_queue.py`` puts the units of a small source first in each stage's queue. Yet on few cores, what the other
loops of the process do at the same time would take more time from them than the queues did. So a loop that has none of
these units to claim waits until the claims that hold some are finished; one that hangs keeps nobody waiting for long. With
more cores than :data:`FEW` nobody waits at all.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: Seconds that loops stand back after the last claim of such units.
PATIENCE = 1.0

#: Seconds that they do so while such claims follow one another without a gap.
LONGEST = 10.0

#: Cores of a process for which its loops compete: a document's stages, with the model, take about so many.
FEW = 4

#: Seconds between two looks at whether the process is to stop.
LOOK = 0.1


class Precedence:
    """Claims of this process that hold units of small sources."""

    def __init__(self) -> None:
        self._cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._changed = threading.Condition()
        self._claims = 0
        self._began = self._last = 0.0  # when the first and the last of them were made, on time.monotonic()

    @property
    def taken(self) -> bool:
        """Whether others should stand back now."""
        return self._claims > 0 and self._cores <= FEW and self._left() > 0

    @contextmanager
    def held(self) -> Iterator[None]:
        """While a claim with such units is in hand."""
        with self._changed:
            self._last = time.monotonic()
            if not self._claims:
                self._began = self._last
            self._claims += 1
        try:
            yield
        finally:
            with self._changed:
                self._claims -= 1
                self._changed.notify_all()

    def stand_back(self, stopping: Callable[[], bool]) -> None:
        """Wait while others have precedence."""
        with self._changed:
            while self.taken and not stopping():
                self._changed.wait(min(LOOK, max(0.0, self._left())))

    def _left(self) -> float:
        """Seconds that others still stand back, if nothing changes."""
        return min(self._last + PATIENCE, self._began + LONGEST) - time.monotonic()
