"""What the body of a request may be: how large, how slow, and how many large ones are on their way at once.

A caller is admitted before its body is read (``routing.py``), and a route decides what its body may be, whatever the
request calls it.
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

#: Seconds that a body may pause between two pieces of it: who stands still gives its turn to another.
PAUSE = 30.0

#: Bytes a second that a body comes with at least, by what has come of it, after a pause. So one of 16 MB is here after
#: 190 seconds at most.
PACE = 100_000

#: Seconds that a large body waits for its turn, and those after which it should be sent again.
PATIENCE, AGAIN = 30.0, 10.0


class Bodies:
    """The bodies that an application takes: up to ``api.max_upload_mb`` where a route takes files, ``api.max_body_mb``
    else. Of those with more than a megabyte, or that don't say their length, ``api.concurrent_uploads`` come in at once; so what
    they take of memory and of the disk for temporary files is bounded. One caller has all of these turns but one at
    most, so that nobody keeps the others out."""

    def __init__(self, settings: Api) -> None:
        self._limits = {True: MEGABYTE * settings.max_upload_mb, False: MEGABYTE * settings.max_body_mb}
        self._most = settings.concurrent_uploads
        self._turns = asyncio.Semaphore(settings.concurrent_uploads)
        self._by_caller: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def taking(self, request: Request, *, caller: str, files: bool) -> AsyncIterator[Request]:
        """The request as its route shall read it. A large body has its turn until it is here, and files until the block
        ends: so long they lie in the folder for temporary files.

        Raises HTTPException 413 for a body that is too large, at once if its length is said, else where it passes the
        limit; 408 for one that stands still, or is too slow; ServiceUnavailable if it waited too long for its turn.
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
                f"{self._most} large bodies are on their way.", "Send it again later.", retry_after=AGAIN
            ) from None


def _measured(receive: Receive, limit: int, whole: Callable[[], Awaitable[None]] | None) -> Receive:
    """``receive`` within the limits; ``whole`` is called when the last piece of the body is here. Only the time that is
    waited for the caller counts."""
    taken, waited, ended = 0, 0.0, False

    async def measured() -> Message:
        nonlocal taken, waited, ended
        if ended:
            return await receive()  # of a caller that hangs up
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
            raise _too_large(limit)
        if not message.get("more_body", False):
            ended = True
            if whole is not None:
                await whole()
        return message

    return measured


def _too_slow(*, still: bool) -> HTTPException:
    slow = f"The body came with fewer than {PACE // 1000} KB a second."
    told = f"Nothing more of the body came for {PAUSE:.0f} s." if still else slow
    return HTTPException(408, told, headers={"Connection": "close"})


def _too_large(limit: int) -> HTTPException:
    return HTTPException(413, f"The body is larger than {limit // MEGABYTE} MB.", headers={"Connection": "close"})
