"""Requests that take long keep nobody out of what is quick."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from semantik_pipeline.api.threads import POOLS, Threads
from semantik_pipeline.search import SearchAnswer
from semantik_pipeline.settings import load_settings
from tests.integration.api.conftest import Api
from tests.integration.api.test_every_route import app, operations

__all__ = ["app"]  # the fixture


@contextmanager
def busy(api: Api, count: int) -> Iterator[None]:
    """So many searches that are in hand until the block ends."""
    begun, over = threading.Semaphore(0), threading.Event()

    def slow(query: Any) -> SearchAnswer:
        begun.release()
        assert over.wait(60)
        raise AssertionError("nobody reads this answer")

    slow.close = lambda: None  # type: ignore[attr-defined]
    api.client.app.state.searching = slow  # type: ignore[attr-defined]
    with ThreadPoolExecutor(count) as pool:
        for _ in range(count):
            pool.submit(api.post, "/search", json={"query": "x"}, by="reader")
        try:
            assert begun.acquire(timeout=30)
            yield
        finally:
            over.set()


def test_searches_starve_neither_probes_nor_callers(make_api: Callable[..., Api]) -> None:
    api = make_api(api={"threads": 1})
    with busy(api, 3):  # one is answered, two wait for its thread
        assert api.good(api.get("/health/live", by=None)) == {"status": "alive"}
        assert api.good(api.get("/health/ready", by=None))["status"] == "ready"
        assert api.get("/fleet", by=None).status_code == 401
        api.good(api.get("/collections", by="reader"))


def test_what_may_take_long_is_an_operation_that_there_is(app: Any) -> None:
    assert set(POOLS) <= {operation["operationId"] for _, _, operation in operations(app)}


def test_what_is_left_is_waited_for_and_counted() -> None:
    threads, over = Threads(load_settings().api), threading.Event()

    def work() -> None:
        with threads.counted():
            over.wait(60)

    working = threading.Thread(target=work)
    working.start()
    until = time.monotonic() + 30
    while not threads.left(time.monotonic()):
        assert working.is_alive() and time.monotonic() < until
        time.sleep(0.001)
    over.set()
    assert threads.left(time.monotonic() + 60) == 0
    working.join()


@pytest.mark.parametrize("pool", ["quick", "search", "long", "auth", "health"])
def test_a_thread_answers_as_its_function_does(pool: Any) -> None:
    import asyncio

    async def ask() -> int:
        threads = Threads(load_settings(api={"threads": 1}).api)
        with pytest.raises(ZeroDivisionError):
            await threads.run(pool, divmod, 1, 0)
        return await threads.run(pool, int, "ff", base=16)

    assert asyncio.run(ask()) == 255
