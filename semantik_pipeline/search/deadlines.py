"""Cancels plugin calls at the deadline: nobody waits for the result any longer, and the next query needs the device."""

from __future__ import annotations

import asyncio
import functools
import inspect
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

#: The reason in warnings and reports for work that the deadline prevented.
DEADLINE = "deadline"


class Late(TimeoutError):
    """The search's deadline has passed. A plugin's own timeouts are other TimeoutErrors."""


def is_late(error: BaseException, moment: float) -> bool:
    """Return whether a call ended because of the deadline ``moment``: it was cancelled, or it timed out after it."""
    return isinstance(error, Late) or (isinstance(error, TimeoutError) and time.monotonic() >= moment)


def until(moment: float, method: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a method so that an async call is cancelled with Late at ``moment`` (on the clock ``time.monotonic``).

    A method that is not async can't be stopped.
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
