"""Limits for request bodies: their size, how slowly they may arrive, and how many large ones are received at once.

A caller is authenticated and authorized before its body is read (``routing.py``). The route decides which limits apply,
whatever content type the request has.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from semantik_pipeline.errors import ServiceUnavailable

if TYPE_CHECKING:
    from semantik_pipeline.settings import Api

MEGABYTE = 1_000_000

#: Maximum seconds between two pieces of a body. A stalled body gives its turn to another.
PAUSE = 30.0

#: Minimum bytes per second of a body, on average over what has arrived, with one PAUSE granted on top. Therefore a body
#: of 16 MB has arrived after 190 seconds at most.
PACE = 100_000

#: Seconds that a large body waits for its turn, and seconds after which a refused body should be sent again.
PATIENCE, AGAIN = 30.0, 10.0


class Bodies:
    """Limits the bodies that an application receives.

    A body may have up to ``api.max_upload_mb`` if the route takes files, otherwise up to ``api.max_body_mb``. Bodies
    with more than one megabyte, or without a declared length, are received in turns: ``api.concurrent_uploads`` at
    once, which bounds their use of memory and of the disk for temporary files. One caller may use all of these turns
    except one, so that no caller can block all others.
    """

    def __init__(self, settings: Api) -> None:
        self._limits = {True: MEGABYTE * settings.max_upload_mb, False: MEGABYTE * settings.max_body_mb}
        self._most = settings.concurrent_uploads
        self._turns = asyncio.Semaphore(settings.concurrent_uploads)
        self._by_caller: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def taking(self, request: Request, *, caller: str, files: bool) -> AsyncIterator[Request]:
        """The request to read the body from. A large body keeps its turn until it has arrived; files keep it until the
        block ends, because they are in the folder for temporary files until then.

        Raises HTTPException 413 for a body that is too large: at once if its length is declared, otherwise when it
        exceeds the limit. Raises HTTPException 408 for a body that stalls or is too slow, and ServiceUnavailable if it
        waited too long for its turn.
        """
        limit = self._limits[files]
        length = request.headers.get("content-length", "")
        said = int(length) if length.isdecimal() else None
        if said is not None and said > limit:
            raise _too_large(limit)
        small = said <= MEGABYTE if said is not None else "transfer-encoding" not in request.headers
        async with AsyncExitStack() as turn:
            if not small:
                await self._wait(turn, caller)
            whole = None if files else turn.aclose
            yield Request(request.scope, _measured(request.receive, limit, whole))

    async def _wait(self, turn: AsyncExitStack, caller: str) -> None:
        mine = self._by_caller.setdefault(caller, asyncio.Semaphore(max(1, self._most - 1)))
        try:
            async with asyncio.timeout(PATIENCE):
                await turn.enter_async_context(mine)
                await turn.enter_async_context(self._turns)
        except TimeoutError:
            raise ServiceUnavailable(
                f"{self._most} large request bodies are being received.",
                "Send the request again later.",
                retry_after=AGAIN,
            ) from None


def _measured(receive: Receive, limit: int, whole: Callable[[], Awaitable[None]] | None) -> Receive:
    """Wrap ``receive`` so that it enforces the limits. ``whole`` is called when the last piece of the body has arrived.
    Only the time spent waiting for the caller counts."""
    taken, waited, ended = 0, 0.0, False

    async def measured() -> Message:
        nonlocal taken, waited, ended
        if ended:
            return await receive()  # after the body: waits until the caller disconnects
        behind = PAUSE + taken / PACE - waited
        began = time.monotonic()
        try:
            async with asyncio.timeout(min(PAUSE, behind)):
                message = await receive()
        except TimeoutError:
            raise _too_slow(still=behind >= PAUSE) from None
        waited += time.monotonic() - began
        taken += len(message.get("body", b""))
        if taken > limit:
            raise _too_large(limit, close=True)  # the body may never end
        if not message.get("more_body", False):
            ended = True
            if whole is not None:
                await whole()
        return message

    return measured


def _too_slow(*, still: bool) -> HTTPException:
    slow = f"The body arrived at less than {PACE // 1000} KB per second."
    told = f"No more of the body arrived for {PAUSE:.0f} s." if still else slow
    return HTTPException(408, told, headers={"Connection": "close"})


def _too_large(limit: int, *, close: bool = False) -> HTTPException:
    """The connection stays open for a body whose end is known: the server discards what arrives of it. A proxy sends a
    body to its end before it reads the answer, and would answer 502 if the connection was closed meanwhile."""
    headers = {"Connection": "close"} if close else None
    return HTTPException(413, f"The body is larger than {limit // MEGABYTE} MB.", headers=headers)
