"""Whether Celery's consumer, which hears the bells, still turns."""

from __future__ import annotations

import time
from typing import Any


class Pulse:
    """Asks the consumer's loop for a sign of life; the heartbeat looks at it."""

    def __init__(self, consumer: Any) -> None:
        """``consumer`` is Celery's: ``connection`` is None while it connects to the broker, and ``call_soon(function)``
        has its loop call a function between two messages."""
        self._consumer = consumer
        self._seen = time.monotonic()

    def feel(self) -> float:
        """Ask again; seconds since the last sign. A consumer that waits for a broker is well: every other process would
        wait as it does."""
        if self._consumer.connection is None:
            self._turned()
        else:
            self._consumer.call_soon(self._turned)
        return time.monotonic() - self._seen

    def _turned(self) -> None:
        self._seen = time.monotonic()
