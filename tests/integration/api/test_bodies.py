"""Bodies that come in: how many large ones at once, and what becomes of one that stands still."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.types import Message

from semantik_pipeline.api import bodies
from semantik_pipeline.api.bodies import MEGABYTE, Bodies
from semantik_pipeline.errors import ServiceUnavailable
from semantik_pipeline.settings import load_settings
from tests.integration.api.conftest import Api


def request(*pieces: bytes, length: int | None = None, ends: bool = False, rest: float = 0.0) -> Request:
    """A request whose body comes in these pieces, with so many seconds before each, and then ends or stands still."""
    coming = list(pieces)

    async def receive() -> Message:
        if not coming:
            await asyncio.Event().wait()
        await asyncio.sleep(rest)
        return {"type": "http.request", "body": coming.pop(0), "more_body": bool(coming) or not ends}

    said = [(b"content-length", b"%d" % length)] if length is not None else [(b"transfer-encoding", b"chunked")]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": said}, receive)


class Taking:
    """Bodies of files by somebody, where nothing else is said."""

    def __init__(self, taken: Bodies) -> None:
        self._taken = taken

    def taking(
        self, asked: Request, *, caller: str = "anna", files: bool = True
    ) -> AbstractAsyncContextManager[Request]:
        return self._taken.taking(asked, caller=caller, files=files)


def play(case: Callable[[Taking], Coroutine[Any, Any, None]], *, uploads: int = 2) -> None:
    async def play() -> None:
        await case(Taking(Bodies(load_settings(api={"concurrent_uploads": uploads, "max_upload_mb": 3}).api)))

    asyncio.run(play())


@pytest.mark.parametrize("length", [2 * MEGABYTE, None])
def test_so_many_large_bodies_come_in_at_once_and_the_others_wait(
    monkeypatch: pytest.MonkeyPatch, length: int | None
) -> None:
    monkeypatch.setattr(bodies, "PATIENCE", 0.05)

    async def case(taking: Taking) -> None:
        first, second = (taking.taking(request(length=length), caller=caller) for caller in ("anna", "bert"))
        await first.__aenter__()
        async with second:
            with pytest.raises(ServiceUnavailable) as refused:
                await taking.taking(request(length=length), caller="cora").__aenter__()
            assert refused.value.retry_after
            async with taking.taking(request(length=1000)):  # a small one needs no turn
                pass
        async with taking.taking(request(length=length), caller="cora"):  # the second one's turn
            pass
        await first.__aexit__(None, None, None)

    play(case)


def test_a_body_that_stands_still_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "PAUSE", 0.05)

    async def case(taking: Taking) -> None:
        with pytest.raises(HTTPException) as refused:
            async with taking.taking(request(b"some", length=2 * MEGABYTE)) as read:
                await read.body()
        assert refused.value.status_code == 408

    play(case)


def test_a_body_is_measured_as_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    async def case(taking: Taking) -> None:
        with pytest.raises(HTTPException) as refused:
            async with taking.taking(request(*[b"x" * MEGABYTE] * 4)) as read:
                await read.body()
        assert refused.value.status_code == 413

    play(case)


def test_a_caller_that_sends_a_refused_body_to_its_end_reads_the_refusal(api: Api, url: str) -> None:
    """A proxy does that. If the server closed the connection before, the proxy would answer 502."""
    size = 16 * MEGABYTE + 1
    at = urlsplit(url)
    head = (
        f"POST {at.path}/collections HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {api.keys['admin']}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {size}\r\n\r\n"
    )
    with socket.create_connection((at.hostname, at.port), timeout=20) as connection:
        connection.sendall(head.encode())
        answered = connection.recv(12)
        connection.sendall(b"x" * size)
        connection.sendall(f"GET {at.path}/health/live HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n".encode())
        while came := connection.recv(10_000):
            answered += came
    assert answered.startswith(b"HTTP/1.1 413") and b"HTTP/1.1 200" in answered


def test_one_caller_leaves_a_turn_to_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "PATIENCE", 0.05)

    async def case(taking: Taking) -> None:
        large = 2 * MEGABYTE
        async with taking.taking(request(length=large)), taking.taking(request(length=large)):
            with pytest.raises(ServiceUnavailable):
                await taking.taking(request(length=large)).__aenter__()
            async with taking.taking(request(length=large), caller="bert"):
                pass
        async with taking.taking(request(length=large)):
            pass

    play(case, uploads=3)
    with pytest.raises(ServiceUnavailable):
        play(case, uploads=2)
    play(one_at_a_time, uploads=1)


async def one_at_a_time(taking: Taking) -> None:
    for _ in range(2):
        async with taking.taking(request(length=2 * MEGABYTE)):
            pass


def test_a_body_that_trickles_is_given_up_though_it_never_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "PAUSE", 0.1)

    async def case(taking: Taking) -> None:
        trickling = request(*[b"x"] * 300, length=2 * MEGABYTE, ends=True, rest=0.005)
        with pytest.raises(HTTPException) as refused:
            async with taking.taking(trickling) as read:
                await read.body()
        assert refused.value.status_code == 408

    play(case)


def test_a_body_that_keeps_its_pace_may_take_longer_than_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "PAUSE", 5.0)
    monkeypatch.setattr(bodies, "PACE", 1)
    monkeypatch.setattr(bodies, "time", SimpleNamespace(monotonic=itertools.count(0, 3.0).__next__))  # 3 s a piece

    async def case(taking: Taking) -> None:
        async with taking.taking(request(*[b"xx"] * 5, length=2 * MEGABYTE, ends=True, rest=0.001)) as read:
            assert await read.body() == b"xx" * 5

    play(case)


def test_a_turn_ends_when_the_body_is_here_and_that_of_files_when_they_are_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bodies, "PATIENCE", 0.05)

    async def case(taking: Taking) -> None:
        async with taking.taking(request(b"some", length=2 * MEGABYTE, ends=True), files=False) as read:
            assert await read.body() == b"some"
            async with taking.taking(request(length=2 * MEGABYTE)):  # in its place, while it is worked on
                pass
        async with taking.taking(request(b"some", length=2 * MEGABYTE, ends=True)) as read:
            assert await read.body() == b"some"
            with pytest.raises(ServiceUnavailable):
                await taking.taking(request(length=2 * MEGABYTE), caller="bert").__aenter__()

    play(case, uploads=1)
