"""Decides whether and when a request is sent again. Pure: the client does the waiting."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from httpx import ConnectError, ConnectTimeout, PoolTimeout, Response, TransportError

from semantik_pipeline.client.calls import Call
from semantik_pipeline.errors import seconds_of

#: The server rejected the request before doing anything, or says that it is temporarily unavailable.
_AWAY = (502, 503, 504)


@dataclass(frozen=True, kw_only=True)
class Retries:
    """A request is sent again up to ``times`` times; each time the client waits at most ``patience`` seconds. Without a
    ``Retry-After`` it waits ``first`` seconds, then twice as long, and so on."""

    times: int = 3
    patience: float = 30.0
    first: float = 0.25

    def pause(self, call: Call[Any], attempt: int, came: Response | TransportError) -> float | None:
        """Seconds to wait after this ``attempt`` (from 1) before the request is sent again; None: it is not sent again.

        A request that certainly had no effect is sent again. One that may have had an effect is sent again only if
        repeating it has no further effect.
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
        """The wait varies randomly, so that clients that were rejected together don't return together."""
        return min(self.patience, self.first * 2 ** (attempt - 1)) * random.uniform(0.75, 1.25)


def retry_after(response: Response) -> float | None:
    """The seconds that the server asks the client to wait, or None."""
    return seconds_of(response.headers.get("retry-after"))
