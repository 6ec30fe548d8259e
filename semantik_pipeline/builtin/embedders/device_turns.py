"""Who may use the device next: so many forwards at a time, and whoever a person waits for goes first."""

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
    """A semaphore with lanes. Work takes a turn for each micro-batch, so a query waits for one of them at most.

    ``streams`` turns may be held at once.
    """

    def __init__(self, streams: int = 1) -> None:
        self._free = threading.Condition()
        self._streams = streams
        self._held = 0
        self._waiting = dict.fromkeys(Lane, 0)
        self._asked = float("-inf")  # when a query last wanted a turn, by time.monotonic()

    def asked_within(self, seconds: float) -> bool:
        """Whether a query wanted a turn lately: then the next one is likely to come soon."""
        return time.monotonic() - self._asked <= seconds

    @contextmanager
    def turn(self, lane: Lane) -> Iterator[bool]:
        """Hold a stream of the device; a turn stands back while one of a higher lane waits. Yields whether it began with
        the whole device free."""
        alone = self._take(lane)
        try:
            yield alone
        finally:
            with self._free:
                self._held -= 1
                self._free.notify_all()

    def _take(self, lane: Lane) -> bool:
        with self._free:
            self._waiting[lane] += 1
            if lane is Lane.QUERY:
                self._asked = time.monotonic()
            try:
                self._free.wait_for(lambda: self._held < self._streams and lane == self._highest_waiting())
                self._held += 1
                return self._held == 1
            finally:
                self._waiting[lane] -= 1
                if self._held < self._streams:
                    self._free.notify_all()  # another of this lane, or of the next one, may find room too

    def _highest_waiting(self) -> Lane:
        return max(lane for lane, count in self._waiting.items() if count)
