"""Frames between a process and its child: a tag, the body's length, and the body pickled with protocol 5."""

from __future__ import annotations

import os
import pickle
import select
import struct
import time
from collections.abc import Callable
from typing import Any

PROTOCOL = 5

# parent -> child
HELLO = b"h"  # (sys.path, state, kinds, memory limit in MiB)
RUN = b"r"  # (function, args)
# child -> parent
READY = b"k"  # None
SERVICE = b"s"  # (name, args)
OUT_OF_MEMORY = b"o"  # None
# both: the answer to RUN and to SERVICE
VALUE = b"v"  # the result
ERROR = b"e"  # an ErrorReport as a tuple

_HEADER = struct.Struct(">cQ")
_PIECE = 1 << 20
#: Seconds between two checks of the child while waiting for it.
WATCH_SECONDS = 0.25
#: The time in which a child waits for a processor does not count against its deadline, because a busy machine is not
#: a hang. The wall-clock limit is this many times the deadline.
PATIENCE = 4


class DeadlinePassed(Exception):
    """The other process did not finish in time. Never raised to callers outside the child modules."""


def dump(value: Any) -> bytes:
    return pickle.dumps(value, PROTOCOL)


# -- the child's side: plain blocking reads and writes ----------------------------------------------------------------


def write_frame(file: int, tag: bytes, body: bytes) -> None:
    for part in (_HEADER.pack(tag, len(body)), body):
        view = memoryview(part)
        while view:
            view = view[os.write(file, view) :]


def read_frame(file: int) -> tuple[bytes, bytes]:
    """Read one frame and return (tag, body). Raises EOFError if the other process is gone."""
    tag, length = _HEADER.unpack(_read_exactly(file, _HEADER.size))
    return tag, _read_exactly(file, length)


def _read_exactly(file: int, size: int) -> bytes:
    found = bytearray()
    while len(found) < size:
        piece = os.read(file, min(_PIECE, size - len(found)))
        if not piece:
            raise EOFError
        found += piece
    return bytes(found)


# -- the parent's side: non-blocking, every wait is bounded -----------------------------------------------------------


class Wire:
    """The two non-blocking pipes to a child.

    ``watch`` is called every quarter of a second while waiting. ``pardoned`` is called when a deadline has passed and
    returns the seconds to add to it.
    """

    def __init__(
        self, requests: int, replies: int, watch: Callable[[], None], pardoned: Callable[[], float] = lambda: 0.0
    ) -> None:
        os.set_blocking(requests, False)
        os.set_blocking(replies, False)
        self._requests, self._replies, self._watch, self._pardoned = requests, replies, watch, pardoned

    def send(self, tag: bytes, body: bytes, until: float) -> None:
        """Write a frame by the monotonic time ``until``. Raises DeadlinePassed, or EOFError if the child is gone."""
        for part in (_HEADER.pack(tag, len(body)), body):
            view = memoryview(part)
            while view:
                try:
                    view = view[os.write(self._requests, view[:_PIECE]) :]
                except BlockingIOError:
                    self._wait(self._requests, select.POLLOUT, until)
                except OSError:
                    raise EOFError from None

    def receive(self, until: float) -> tuple[bytes, bytes]:
        """Read a frame before the monotonic time ``until``: (tag, body). Raises DeadlinePassed or EOFError."""
        tag, length = _HEADER.unpack(self._read(_HEADER.size, until))
        return tag, self._read(length, until)

    def _read(self, size: int, until: float) -> bytes:
        found = bytearray()
        while len(found) < size:
            try:
                piece = os.read(self._replies, min(_PIECE, size - len(found)))
            except BlockingIOError:
                self._wait(self._replies, select.POLLIN, until)
                continue
            except OSError:
                raise EOFError from None
            if not piece:
                raise EOFError
            found += piece
        return bytes(found)

    def _wait(self, file: int, event: int, until: float) -> None:
        poll = select.poll()
        poll.register(file, event)
        while True:
            left = until - time.monotonic()
            if left <= 0:
                left += self._pardoned()
            if left <= 0:
                raise DeadlinePassed
            if poll.poll(min(left, WATCH_SECONDS) * 1000):
                return
            self._watch()
