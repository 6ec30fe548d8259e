"""Give a small source's units precedence in this process while they are worked on.

``ledger/queue/fair_queue.py`` puts the units of a small source first in each stage's queue. But on few cores, the other
loops of the process would take more time from these units than the queues did. So a loop that has none of these units
to claim waits until the claims that hold some are finished, and a moment longer: by then the units are due in their
next stage, or their operation is finished.

A hung claim makes nobody wait for long. However many small sources arrive, other units get half of the time. On more
than :data:`FEW` cores no loop waits at all.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

#: Maximum seconds for which other loops wait after a claim of small-source units has begun.
PATIENCE = 1.0

#: Seconds for which they wait after such a claim has ended.
BETWEEN = 0.25

#: Maximum seconds for which they wait in total. Each second without waiting gives one of these seconds back.
LONGEST = 10.0

#: Up to this number of cores the loops of a process compete for them: the stages of one document, with the model, use
#: about this many.
FEW = 4

#: Seconds between two looks of a waiting loop at what it could claim now.
LOOK = 0.05


class Precedence:
    """The claims of this process that hold units of small sources."""

    def __init__(self) -> None:
        self._cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._changed = threading.Condition()
        self._claims = 0
        self._until = 0.0  # time on time.monotonic() at which other loops stop waiting
        self._stood, self._noted = 0.0, 0.0  # seconds waited and not given back; when that was computed

    @property
    def taken(self) -> bool:
        """Whether other loops should wait now."""
        return self._cores <= FEW and self._left() > 0

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep precedence while a claim with units of a small source is in hand."""
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
        """Give precedence to units of a small source that become due in their first stage."""
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
        """Seconds for which other loops still wait if nothing changes."""
        return self._end - time.monotonic()

    @property
    def _end(self) -> float:
        return min(self._until, self._noted + LONGEST - self._stood)
