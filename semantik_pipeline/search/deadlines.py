"""Nobody waits for a slice after the deadline, so its plugin should not go on either: the next query wants the device."""

from __future__ import annotations

import asyncio
import functools
import inspect
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

#: Why something was not done, in a warning and in a report.
DEADLINE = "deadline"


class Late(TimeoutError):
    """The deadline of whoever waits; a plugin's own timeouts are other TimeoutErrors."""


def is_late(error: BaseException, moment: float) -> bool:
    """Whether a call ended because of this deadline: it was cancelled for it, or gave up for time after it."""
    return isinstance(error, Late) or (isinstance(error, TimeoutError) and time.monotonic() >= moment)


def until(moment: float, method: Callable[..., Any]) -> Callable[..., Any]:
    """The method; if it is async, its call is cancelled at that moment (of ``time.monotonic``), with Late.

    A plain method can't be stopped.
    """

    @functools.wraps(method)
    def ending(*args: Any, **named: Any) -> Any:
        answer = method(*args, **named)
        return _cancelled(moment, answer) if inspect.isawaitable(answer) else answer

    return ending


async def _cancelled(moment: float, answer: Awaitable[Any]) -> Any:
    left = None if moment == math.inf else max(0.0, moment - time.monotonic())
    try:
        async with asyncio.timeout(left) as limit:
            return await answer
    except TimeoutError:
        if limit.expired():
            raise Late from None
        raise
