"""Whether a request is sent again, and when. Pure: who sends it waits."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from httpx import ConnectError, ConnectTimeout, PoolTimeout, Response, TransportError

from semantik_pipeline.client.calls import Call
from semantik_pipeline.errors import seconds_of

#: The server turned these away before anything was done, or says that it will be back.
_AWAY = (502, 503, 504)


@dataclass(frozen=True, kw_only=True)
class Retries:
    """How often a request is sent again (``times``), and how long a client waits for that at most (``patience``, in
    seconds each time). Without a ``Retry-After`` it waits ``first`` seconds, then twice as long, and so on."""

    times: int = 3
    patience: float = 30.0
    first: float = 0.25

    def pause(self, call: Call[Any], attempt: int, came: Response | TransportError) -> float | None:
        """Seconds to wait after the ``attempt``-th answer (from 1) before the request is sent again; None: it is not.

        What certainly was not done is sent again; what may have been done only if doing it twice is doing it once.
        """
        if attempt > self.times:
            return None
        if isinstance(came, TransportError):
            unsent = isinstance(came, ConnectError | ConnectTimeout | PoolTimeout)
            return self._backoff(attempt) if unsent or call.repeatable else None
        if came.status_code == 429 or (came.status_code in _AWAY and call.repeatable):
            wait = retry_after(came)
            if wait is None:
                return self._backoff(attempt)
            return wait if wait <= self.patience else None
        return None

    def _backoff(self, attempt: int) -> float:
        """A little apart from others that were turned away at the same moment."""
        return min(self.patience, self.first * 2 ** (attempt - 1)) * random.uniform(0.75, 1.25)


def retry_after(response: Response) -> float | None:
    """The seconds that the server asks to wait; None if it asks for none."""
    return seconds_of(response.headers.get("retry-after"))
