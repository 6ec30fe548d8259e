"""Reads the body of a response and decompresses it while it arrives, never beyond a limit, so that a decompression
bomb does no harm."""

from __future__ import annotations

import zlib
from typing import Any

from semantik_pipeline.errors import DocumentUnreadable

#: The encoding that servers are asked for. The standard library can decompress it up to a limit.
ENCODING = "gzip"

#: The first byte of a gzip member. The second one may be in the next piece.
_MAGIC = b"\x1f"


class UnreadableAnswer(DocumentUnreadable):
    """The server sent a response that cannot be read. Only this response is affected."""


class Gunzip:
    """Decompresses a gzip stream in pieces. A stream may have several members; anything else after a member is
    ignored."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=31)

    @property
    def ended(self) -> bool:
        """Whether the last member is complete."""
        return self._member.eof

    def unpack(self, data: bytes, most: int) -> bytes:
        """Decompress these bytes to at most ``most`` bytes; anything beyond that is lost. Raises zlib.error."""
        parts = []
        while data and most > 0:
            if self._member.eof:
                if not data.startswith(_MAGIC):
                    break
                self._member = zlib.decompressobj(wbits=31)
            parts.append(self._member.decompress(data, most))
            most -= len(parts[-1])
            data = self._member.unused_data
        return b"".join(parts)


async def read_body(response: Any, url: str, max_bytes: int) -> tuple[bytes, bool]:
    """The body of an httpx response, and whether it was cut because it has more than ``max_bytes``, compressed or not.

    Raises UnreadableAnswer for an encoding that was not requested, for several encodings, and for damaged data.
    """
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity", ENCODING, "x-gzip"):
        raise UnreadableAnswer(
            f"{url} has the Content-Encoding {encoding[:60]}; only a single {ENCODING} is supported.",
            f"The server must send the page with {ENCODING}, or without an encoding.",
        )
    gunzip = Gunzip() if encoding not in ("", "identity") else None
    parts: list[bytes] = []
    size = packed = 0
    async for raw in response.aiter_raw():
        packed += len(raw)
        try:
            parts.append(gunzip.unpack(raw, max_bytes + 1 - size) if gunzip else raw)
        except zlib.error as error:
            raise UnreadableAnswer(f"{url} was damaged in transfer ({error}).") from error
        size += len(parts[-1])
        if max(size, packed) > max_bytes:
            return b"".join(parts)[:max_bytes], True
    if gunzip and packed and not gunzip.ended:
        raise UnreadableAnswer(f"{url} ends early: its gzip stream is incomplete.")
    return b"".join(parts), False
