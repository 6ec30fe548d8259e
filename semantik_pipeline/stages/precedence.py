"""A small source's units have the process to themselves while they are worked on.

``ledger/queue/fair_queue.py`` puts the units of a small source first in each stage's queue. Yet on few cores, what the other
loops of the process do at the same time would take more time from them than the queues did. So a loop that has none of
these units to claim stands back until the claims that hold some are finished, and a moment longer: by then they are due in
their next stage, or their operation is finished. One that hangs keeps nobody waiting for long, and however many small
sources come, others have half of the time. With more cores than :data:`FEW` nobody stands back at all.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

#: Seconds that loops stand back after such a claim was made.
PATIENCE = 1.0

#: Seconds that they do so after it ended.
BETWEEN = 0.25

#: Seconds that they do so in all. Each second in which they don't gives one of these back.
LONGEST = 10.0

#: Cores of a process for which its loops compete: a document's stages, with the model, take about so many.
FEW = 4

#: Seconds between two looks of a loop that stands back, at what it might claim now.
LOOK = 0.05


class Precedence:
    """Claims of this process that hold units of small sources."""

    def __init__(self) -> None:
        self._cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._changed = threading.Condition()
        self._claims = 0
        self._until = 0.0  # when loops stop standing back, on time.monotonic()
        self._stood, self._noted = 0.0, 0.0  # seconds that they stood back and were not given back, up to that moment

    @property
    def taken(self) -> bool:
        """Whether others should stand back now."""
        return self._cores <= FEW and self._left() > 0

    @contextmanager
    def held(self) -> Iterator[None]:
        """While a claim with such units is in hand."""
        with self._changed:
            self._claims += 1
            self._set(max(self._until, time.monotonic() + PATIENCE))
        try:
            yield
        finally:
            with self._changed:
                self._claims -= 1
                soon = time.monotonic() + BETWEEN
                self._set(max(self._until, soon) if self._claims else soon)
                self._changed.notify_all()

    def expect(self) -> None:
        """Such units are due in their first stage."""
        with self._changed:
            self._set(max(self._until, time.monotonic() + BETWEEN))
            self._changed.notify_all()

    def wait(self) -> None:
        """Wait until it is time to look again."""
        with self._changed:
            self._changed.wait(min(LOOK, max(0.0, self._left())))

    def _set(self, until: float) -> None:
        now = time.monotonic()
        stood = max(0.0, min(now, self._end) - self._noted)
        given_back = now - self._noted - stood
        self._stood, self._noted = max(0.0, self._stood + stood - given_back), now
        self._until = until

    def _left(self) -> float:
        """Seconds that others still stand back, if nothing changes."""
        return self._end - time.monotonic()

    @property
    def _end(self) -> float:
        return min(self._until, self._noted + LONGEST - self._stood)
