"""Checks that the loop of Celery's consumer, which receives the messages that wake this worker, is still running."""

from __future__ import annotations

import time
from typing import Any


class Pulse:
    """Asks the consumer's loop for a sign of life. The heartbeat calls :meth:`feel`."""

    def __init__(self, consumer: Any) -> None:
        """``consumer`` is Celery's consumer. Its ``connection`` is None while it connects to the broker, and its
        ``call_soon(function)`` makes the loop call a function between two messages."""
        self._consumer = consumer
        self._seen = time.monotonic()

    def feel(self) -> float:
        """Ask for the next sign of life and return the seconds since the last one.

        A consumer that waits for the broker counts as alive, because a new process would wait for it, too.
        """
        if self._consumer.connection is None:
            self._turned()
        else:
            self._consumer.call_soon(self._turned)
        return time.monotonic() - self._seen

    def _turned(self) -> None:
        self._seen = time.monotonic()
