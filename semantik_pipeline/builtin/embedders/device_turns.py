"""Decides which calls may use the device: a limited number at a time, those that a person waits for first."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum


class Lane(IntEnum):
    """What a turn is for; a higher lane goes first. Reranking yields to the embedding of a query, with which every
    search starts: a reranking may belong to a search that nobody waits for any more."""

    BULK = 0
    RERANK = 1
    QUERY = 2


#: Seconds after a query during which another one is likely to follow.
BESIDE_QUERIES = 2.0


class DeviceTurns:
    """A semaphore with lanes. Work takes a turn for each micro-batch, so a query waits for at most one of them.

    At most ``streams`` turns are held at once. While people search, bulk work leaves one of several streams free: a
    query can use it at once, and the search's other steps, which run on the same cores, make progress.
    """

    def __init__(self, streams: int = 1) -> None:
        self._free = threading.Condition()
        self._streams = streams
        self._held = dict.fromkeys(Lane, 0)
        self._waiting = dict.fromkeys(Lane, 0)
        self._asked = float("-inf")  # when a query last wanted a turn, by time.monotonic()

    def beside_queries(self) -> bool:
        """Whether a query wanted a turn within the last BESIDE_QUERIES seconds."""
        return time.monotonic() - self._asked <= BESIDE_QUERIES

    @contextmanager
    def turn(self, lane: Lane) -> Iterator[bool]:
        """Hold one stream of the device; a turn waits while one of a higher lane is waiting. Yields whether the whole
        device was free when the turn started."""
        alone = self._take(lane)
        try:
            yield alone
        finally:
            with self._free:
                self._held[lane] -= 1
                self._free.notify_all()

    def _take(self, lane: Lane) -> bool:
        with self._free:
            self._waiting[lane] += 1
            if lane is Lane.QUERY:
                self._asked = time.monotonic()
            try:
                self._free.wait_for(lambda: lane == self._highest_waiting() and self._has_room(lane))
                self._held[lane] += 1
                return sum(self._held.values()) == 1
            finally:
                self._waiting[lane] -= 1
                if sum(self._held.values()) < self._streams:
                    self._free.notify_all()  # another turn of this lane, or of the next, may fit too

    def _has_room(self, lane: Lane) -> bool:
        if lane is Lane.BULK and self.beside_queries() and self._held[lane] >= max(1, self._streams - 1):
            return False
        return sum(self._held.values()) < self._streams

    def _highest_waiting(self) -> Lane:
        return max(lane for lane, count in self._waiting.items() if count)
