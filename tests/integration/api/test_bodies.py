"""Bodies that come in: how many large ones at once, and what becomes of one that stands still."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.types import Message

from semantik_pipeline.api import bodies
from semantik_pipeline.api.bodies import MEGABYTE, Bodies
from semantik_pipeline.errors import ServiceUnavailable
from semantik_pipeline.settings import load_settings


def request(*pieces: bytes, length: int | None = None) -> Request:
    """A request whose body comes in these pieces and then stands still."""
    coming = list(pieces)

    async def receive() -> Message:
        if not coming:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": coming.pop(0), "more_body": True}

    said = [(b"content-length", b"%d" % length)] if length is not None else [(b"transfer-encoding", b"chunked")]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": said}, receive)


def play(case: Callable[[Bodies], Coroutine[Any, Any, None]]) -> None:
    async def play() -> None:
        await case(Bodies(load_settings(api={"uploads": 2, "max_upload_mb": 3}).api))

    asyncio.run(play())


@pytest.mark.parametrize("length", [2 * MEGABYTE, None])
def test_so_many_large_bodies_come_in_at_once_and_the_others_wait(
    monkeypatch: pytest.MonkeyPatch, length: int | None
) -> None:
    monkeypatch.setattr(bodies, "PATIENCE", 0.05)

    async def case(taking: Bodies) -> None:
        first, second = (taking.taking(request(length=length), files=True) for _ in range(2))
        await first.__aenter__()
        async with second:
            with pytest.raises(ServiceUnavailable) as refused:
                await taking.taking(request(length=length), files=True).__aenter__()
            assert refused.value.retry_after
            async with taking.taking(request(length=1000), files=True):  # a small one needs no turn
                pass
        async with taking.taking(request(length=length), files=True):  # the second one's turn
            pass
        await first.__aexit__(None, None, None)

    play(case)


def test_a_body_that_stands_still_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "PAUSE", 0.05)

    async def case(taking: Bodies) -> None:
        with pytest.raises(HTTPException) as refused:
            async with taking.taking(request(b"some", length=2 * MEGABYTE), files=True) as read:
                await read.body()
        assert refused.value.status_code == 408

    play(case)


def test_a_body_is_measured_as_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    async def case(taking: Bodies) -> None:
        with pytest.raises(HTTPException) as refused:
            async with taking.taking(request(*[b"x" * MEGABYTE] * 4), files=True) as read:
                await read.body()
        assert refused.value.status_code == 413

    play(case)
