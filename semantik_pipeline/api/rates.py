"""Rate limits for callers. Each API process counts by itself, so several processes allow several times the rate."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from limits import RateLimitItem, parse_many
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from starlette.exceptions import HTTPException

from semantik_pipeline.errors import SettingsError

if TYPE_CHECKING:
    from semantik_pipeline.settings import Api


class Rates:
    """Counts requests: with :meth:`asked` those of known callers, with :meth:`refused` those without a valid key, by
    client address."""

    def __init__(self, settings: Api) -> None:
        self._asked = _parsed("api.rate", settings.rate)
        self._refused = _parsed("api.unauthenticated_rate", settings.unauthenticated_rate)
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    def asked(self, caller: str) -> None:
        """Count a request. Raises HTTPException 429, with the time to wait, if it exceeds the rate."""
        self._count(caller, 1, spare=0)

    def more(self, caller: str, count: int) -> None:
        """Count ``count`` more requests for a request that does the work of several and was counted as one. Together
        they count as the whole rate at most, because a larger request could never be allowed."""
        if count:
            self._count(caller, count, spare=1)

    def _count(self, caller: str, count: int, *, spare: int) -> None:
        for rate in self._asked:
            cost = min(count, rate.amount - spare)
            if cost and not self._limiter.hit(rate, "asked", caller, cost=cost):
                self._refuse(rate, "asked", caller, f"{caller} has exceeded the rate limit of {rate}.")

    def refused(self, client: str) -> None:
        """Count a request without a valid key."""
        for rate in self._refused:
            self._limiter.hit(rate, "refused", client)

    def tried(self, client: str) -> RateLimitItem | None:
        """The rate that this address has used up with requests without a valid key; None if it may try again."""
        return next((rate for rate in self._refused if not self._limiter.test(rate, "refused", client)), None)

    def turn_away(self, client: str, rate: RateLimitItem) -> NoReturn:
        """Raise HTTPException 429 for an address that has to wait."""
        self._refuse(rate, "refused", client, "Your address has sent too many requests without a valid key.")

    def _refuse(self, rate: RateLimitItem, *names: str) -> NoReturn:
        *key, told = names
        window = self._limiter.get_window_stats(rate, *key)
        wait = max(1, math.ceil(window.reset_time - time.time()))
        raise HTTPException(429, told, headers={"Retry-After": str(wait)})


def _parsed(name: str, text: str) -> Sequence[RateLimitItem]:
    if not text:
        return ()
    try:
        return parse_many(text)
    except ValueError:
        raise SettingsError(
            f"The setting {name} is not a valid rate: {text!r}.",
            "Write 100/second, 600/minute, or several with `;` between.",
        ) from None
