"""Who may use the device next: one forward at a time, and queries before bulk work."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class DeviceTurns:
    """A lock with two lanes. Bulk work takes a turn for each micro-batch, so a query waits for one of them at most."""

    def __init__(self) -> None:
        self._free = threading.Condition()
        self._busy = False
        self._urgent_waiting = 0

    @contextmanager
    def turn(self, urgent: bool) -> Iterator[None]:
        """Hold the device; bulk turns stand back while an urgent one waits."""
        self._take(urgent)
        try:
            yield
        finally:
            with self._free:
                self._busy = False
                self._free.notify_all()

    def _take(self, urgent: bool) -> None:
        with self._free:
            self._urgent_waiting += urgent
            try:
                self._free.wait_for(lambda: not self._busy and (urgent or not self._urgent_waiting))
                self._busy = True
            finally:
                self._urgent_waiting -= urgent
