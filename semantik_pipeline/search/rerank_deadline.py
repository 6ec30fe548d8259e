"""Nobody waits for a slice after the deadline, so its plugin should not go on either: the next query wants the device."""

from __future__ import annotations

import asyncio
import functools
import inspect
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any


def until(moment: float, method: Callable[..., Any]) -> Callable[..., Any]:
    """The method; if it is async, its call is cancelled at that moment (of ``time.monotonic``), with TimeoutError.

    A plain method can't be stopped.
    """

    @functools.wraps(method)
    def ending(*args: Any, **named: Any) -> Any:
        answer = method(*args, **named)
        return _cancelled(moment, answer) if inspect.isawaitable(answer) else answer

    return ending


async def _cancelled(moment: float, answer: Awaitable[Any]) -> Any:
    left = None if moment == math.inf else max(0.0, moment - time.monotonic())
    async with asyncio.timeout(left):
        return await answer
