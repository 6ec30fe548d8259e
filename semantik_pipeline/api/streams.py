"""Live progress of operations as server-sent events.

A stream is a coroutine. It uses a thread only while it queries the ledger, and streams of the same operation share the
result. Each event is a complete snapshot, so a client that reconnects has missed nothing important.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Hashable
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from semantik_pipeline.api.models.operations import OperationProgress
from semantik_pipeline.api.threads import Threads
from semantik_pipeline.errors import ServiceUnavailable

#: Maximum number of streams in this process; maximum number for one caller, so that no caller can block all others; and
#: seconds after which a refused caller should retry.
MOST, OF_ONE, AGAIN = 200, 100, 10.0

#: Minimum seconds between two queries for an operation. Slow queries are repeated less often.
POLL = 0.5

#: Seconds without an event after which a comment is sent to show that the stream is alive.
HEARTBEAT = 15.0

#: Seconds after which a stream ends, so that its caller must authenticate again. Clients reconnect by themselves.
LONGEST = 900.0

#: Milliseconds that a client waits before it reconnects.
RETRY = 2000


class Streams:
    """The streams of an application. They query the ledger in its threads. ``ending`` is set when the server stops."""

    def __init__(self, ending: threading.Event, threads: Threads) -> None:
        self._ending = ending
        self._threads = threads
        self._count = 0
        self._callers: Counter[str] = Counter()
        self._watches: dict[Hashable, _Watch] = {}

    def open(
        self, subject: Hashable, look: Callable[[], OperationProgress], last_id: str | None, *, caller: str
    ) -> StreamingResponse:
        """A response that follows an operation to its end. Call it from the event loop.

        ``look`` returns the progress; streams with equal ``subject`` share its results. ``last_id`` is the id of the
        last event that the caller received. Raises ServiceUnavailable if there are too many streams.
        """
        whose = f" for {caller}" if self._callers[caller] >= OF_ONE else ""
        if self._count >= MOST or whose:
            many = OF_ONE if whose else MOST
            raise ServiceUnavailable(
                f"{many} streams are open{whose}.", "Poll the operation instead.", retry_after=AGAIN
            )
        watch = self._watches.setdefault(subject, _Watch(look, self._threads))
        watch.followers += 1
        self._count += 1
        self._callers[caller] += 1

        def left() -> None:
            self._count -= 1
            self._callers -= Counter([caller])  # also removes callers whose count is 0
            watch.followers -= 1
            if not watch.followers:
                self._watches.pop(subject, None)

        return _Stream(self._events(watch, last_id), left)

    async def _events(self, watch: _Watch, last_id: str | None) -> AsyncIterator[bytes]:
        yield f"retry: {RETRY}\n\n".encode()
        began = heard = time.monotonic()
        while not self._ending.is_set() and time.monotonic() < began + LONGEST:
            snapshot = await watch.look()
            mark = mark_of(snapshot)
            if mark != last_id:
                last_id, heard = mark, time.monotonic()
                yield event(snapshot, mark)
            elif time.monotonic() >= heard + HEARTBEAT:
                heard = time.monotonic()
                yield b": still here\n\n"
            if snapshot.state == "finished":
                return
            await self._rest(watch.pause)

    async def _rest(self, seconds: float) -> None:
        for _ in range(math.ceil(seconds / POLL)):
            if self._ending.is_set():
                return
            await asyncio.sleep(POLL)


class _Watch:
    """One operation, queried once for all streams that follow it."""

    def __init__(self, look: Callable[[], OperationProgress], threads: Threads) -> None:
        self.followers = 0
        self.pause = POLL
        self._look = look
        self._threads = threads
        self._asking = asyncio.Lock()
        self._asked = float("-inf")
        self._snapshot: OperationProgress | None = None

    async def look(self) -> OperationProgress:
        async with self._asking:
            if self._snapshot is None or time.monotonic() >= self._asked + 0.9 * self.pause:
                self._asked = time.monotonic()
                self._snapshot = await self._threads.run("quick", self._look)
                self.pause = max(POLL, 20 * (time.monotonic() - self._asked))
            return self._snapshot


class _Stream(StreamingResponse):
    """A streaming response that calls ``left`` when it is over, however it ended."""

    def __init__(self, events: AsyncIterator[bytes], left: Callable[[], None]) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self._left = left

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._left()


def mark_of(snapshot: OperationProgress) -> str:
    """The event id of a snapshot. It is the same for the same progress, at any time and in any process."""
    told: dict[str, Any] = snapshot.model_dump(mode="json", exclude={"seconds"})
    return hashlib.sha256(repr(sorted(told.items())).encode("utf-8", "replace")).hexdigest()[:16]


def event(snapshot: OperationProgress, mark: str) -> bytes:
    name = "finished" if snapshot.state == "finished" else "progress"
    return f"event: {name}\nid: {mark}\ndata: {snapshot.model_dump_json()}\n\n".encode()
