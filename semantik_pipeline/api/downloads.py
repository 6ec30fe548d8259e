"""Files that are sent: how many lie in the folder for temporary files, and what becomes of a caller that takes nothing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import IO
from weakref import WeakKeyDictionary

from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from semantik_pipeline.errors import ServiceUnavailable

#: Files that lie here while callers take them, beside those that are being written.
MOST, AGAIN = 4, 60.0

#: Documents that are read from where they lie while callers take them.
DOCUMENTS = 32

#: Bytes that are sent at a time, and the seconds that a caller has for them.
PIECE, PAUSE = 2**20, 60.0


class Downloads:
    """The files that an application sends, each of which goes when it is closed: ``exports`` that have no name any more,
    or whatever ``what`` says, ``most`` at once, and half of them to one caller, so that nobody keeps the others out."""

    def __init__(self, what: str = "exports", most: int | None = None) -> None:
        self._what, self._most = what, most
        self._sent: WeakKeyDictionary[_Sent, str] = WeakKeyDictionary()  # and who takes it; files may equal each other
        self._lock = threading.Lock()

    def check_room(self, caller: str) -> None:
        """Raise ServiceUnavailable where as many are being sent as may be. Call it before a file is written."""
        with self._lock:
            lying = [whose for sent, whose in self._sent.items() if not sent.file.closed]
        most, mine = self._most or MOST, lying.count(caller)
        if len(lying) >= most or mine >= max(1, most // 2):
            told = f"{len(lying)} {self._what} are" if len(lying) >= most else f"{mine} {self._what} of {caller} are"
            raise ServiceUnavailable(
                f"{told} being sent.", "Ask again when one of them has arrived.", retry_after=AGAIN
            )

    def send(self, file: IO[bytes], *, caller: str, headers: dict[str, str], media_type: str) -> StreamingResponse:
        """The response that sends a file and closes it, however it ends."""
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
