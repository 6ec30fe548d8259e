"""Sends files to callers, and limits how many are sent at once and how long a caller may read nothing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import IO
from weakref import WeakKeyDictionary

from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from semantik_pipeline.errors import ServiceUnavailable

#: Maximum number of finished exports that are being sent at once, and seconds after which a refused caller should
#: retry.
MOST, AGAIN = 4, 60.0

#: Maximum number of large documents that are being sent at once. They are read from where they are stored.
DOCUMENTS = 32

#: Bytes that are sent at a time, and seconds that a caller has to receive them.
PIECE, PAUSE = 2**20, 60.0


class Downloads:
    """The files that an application is sending: at most ``most`` at once, and at most half of them to one caller, so
    that no caller can block all others. ``what`` names them in messages. Exports are already unlinked, so that closing
    the file deletes it."""

    def __init__(self, what: str = "exports", most: int | None = None) -> None:
        self._what, self._most = what, most
        self._sent: WeakKeyDictionary[_Sent, str] = WeakKeyDictionary()  # response -> caller's name
        self._lock = threading.Lock()

    def check_room(self, caller: str) -> None:
        """Raise ServiceUnavailable if the limit is reached. Call it before a file is written."""
        with self._lock:
            lying = [whose for sent, whose in self._sent.items() if not sent.file.closed]
        most, mine = self._most or MOST, lying.count(caller)
        if len(lying) >= most or mine >= max(1, most // 2):
            told = f"{len(lying)} {self._what} are" if len(lying) >= most else f"{mine} {self._what} of {caller} are"
            raise ServiceUnavailable(
                f"{told} being sent.", "Try again when one of them is finished.", retry_after=AGAIN
            )

    def send(self, file: IO[bytes], *, caller: str, headers: dict[str, str], media_type: str) -> StreamingResponse:
        """A response that sends a file and closes it in any case."""
        sent = _Sent(file, headers=headers, media_type=media_type)
        with self._lock:
            self._sent[sent] = caller
        return sent


class _Sent(StreamingResponse):
    def __init__(self, file: IO[bytes], *, headers: dict[str, str], media_type: str) -> None:
        super().__init__(_pieces(file), headers=headers, media_type=media_type)
        self.file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def patient(message: Message) -> None:
            async with asyncio.timeout(PAUSE):
                await send(message)

        with self.file:
            await super().__call__(scope, receive, patient)


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    while piece := file.read(PIECE):
        yield piece
