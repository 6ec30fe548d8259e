"""Who may use the device next: one forward at a time, and whoever a person waits for goes first."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum


class Lane(IntEnum):
    """What a turn is for; a higher lane goes first. Reranking stands back for the vector that a search begins with:
    a reranking may be one that nobody waits for any more."""

    BULK = 0
    RERANK = 1
    QUERY = 2


class DeviceTurns:
    """A lock with lanes. Work takes a turn for each micro-batch, so a query waits for one of them at most."""

    def __init__(self) -> None:
        self._free = threading.Condition()
        self._busy = False
        self._waiting = dict.fromkeys(Lane, 0)
        self._asked = float("-inf")  # when a query last wanted a turn, by time.monotonic()

    def asked_within(self, seconds: float) -> bool:
        """Whether a query wanted a turn lately: then the next one is likely to come soon."""
        return time.monotonic() - self._asked <= seconds

    @contextmanager
    def turn(self, lane: Lane) -> Iterator[None]:
        """Hold the device; a turn stands back while one of a higher lane waits."""
        self._take(lane)
        try:
            yield
        finally:
            with self._free:
                self._busy = False
                self._free.notify_all()

    def _take(self, lane: Lane) -> None:
        with self._free:
            self._waiting[lane] += 1
            if lane is Lane.QUERY:
                self._asked = time.monotonic()
            try:
                self._free.wait_for(lambda: not self._busy and lane == self._highest_waiting())
                self._busy = True
            finally:
                self._waiting[lane] -= 1

    def _highest_waiting(self) -> Lane:
        return max(lane for lane, count in self._waiting.items() if count)
