"""What the body of a request may be: how large, how slow, and how many large ones are on their way at once.

A caller is admitted before its body is read (``routing.py``), and a route decides what its body may be, whatever the
request calls it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from semantik_pipeline.errors import ServiceUnavailable

if TYPE_CHECKING:
    from semantik_pipeline.settings import Api

MEGABYTE = 1_000_000

#: Seconds that a body may pause between two pieces of it: who stands still gives its turn to another.
PAUSE = 30.0

#: Seconds that a large body waits for its turn, and those after which it should be sent again.
PATIENCE, AGAIN = 30.0, 10.0


class Bodies:
    """The bodies that an application takes: up to ``api.max_upload_mb`` where a route takes files, ``api.max_body_mb``
    else. Of those with more than a megabyte, or that don't say their length, ``api.uploads`` come in at once; so what
    they take of memory and of the disk for temporary files is bounded."""

    def __init__(self, settings: Api) -> None:
        self._limits = {True: MEGABYTE * settings.max_upload_mb, False: MEGABYTE * settings.max_body_mb}
        self._most = settings.uploads
        self._turns = asyncio.Semaphore(settings.uploads)

    @asynccontextmanager
    async def taking(self, request: Request, *, files: bool) -> AsyncIterator[Request]:
        """The request as its route shall read it; until the block ends, a large body has its turn.

        Raises HTTPException 413 for a body that is too large, at once if its length is said, else where it passes the
        limit; 408 for one that stands still; ServiceUnavailable if it waited too long for its turn.
        """
        limit = self._limits[files]
        length = request.headers.get("content-length", "")
        said = int(length) if length.isdecimal() else None
        if said is not None and said > limit:
            raise _too_large(limit)
        read = Request(request.scope, _measured(request.receive, limit))
        if (said is not None and said <= MEGABYTE) or (said is None and "transfer-encoding" not in request.headers):
            yield read
            return
        await self._turn()
        try:
            yield read
        finally:
            self._turns.release()

    async def _turn(self) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                await self._turns.acquire()
        except TimeoutError:
            raise ServiceUnavailable(
                f"{self._most} large bodies are on their way.", "Send it again later.", retry_after=AGAIN
            ) from None


def _measured(receive: Receive, limit: int) -> Receive:
    taken = 0

    async def measured() -> Message:
        nonlocal taken
        try:
            async with asyncio.timeout(PAUSE):
                message = await receive()
        except TimeoutError:
            told = f"Nothing more of the body came for {PAUSE:.0f} s."
            raise HTTPException(408, told, headers={"Connection": "close"}) from None
        taken += len(message.get("body", b""))
        if taken > limit:
            raise _too_large(limit)
        return message

    return measured


def _too_large(limit: int) -> HTTPException:
    return HTTPException(413, f"The body is larger than {limit // MEGABYTE} MB.", headers={"Connection": "close"})
