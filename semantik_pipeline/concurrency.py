"""Calls that wait for servers, run concurrently, with their results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

#: Results per thread that wait for a slower one before them.
AHEAD = 4


def map_in_order(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    threads: int,
    ahead: int = 0,
    size: Callable[[Item], int] = lambda item: 0,
    limit: int = 0,
) -> Generator[tuple[Item, Result], None, None]:
    """Yield each item with ``function(item)``, in the order of ``items``, with up to ``threads`` calls at a time.

    With one thread and no ``ahead``, each call runs in the calling thread when its result is asked for. Otherwise
    ``items`` is read ahead only as far as there is room: ``ahead`` items (0: ``threads * AHEAD``), whose ``size`` is
    ``limit`` bytes together at most. A larger item is alone, from the end of all calls before it to the beginning of
    the next.

    After an error no further call begins. The first error is raised once the running calls have ended.
    """
    if threads <= 1 and not ahead:
        for item in items:
            yield item, function(item)
        return
    running, errors = deque[tuple[Item, Future[Result]]](), list[BaseException]()
    held = 0  # bytes of all items in running

    def call(item: Item) -> Result:
        if errors:
            raise CancelledError
        try:
            return function(item)
        except BaseException as error:
            errors.append(error)
            raise

    def first() -> tuple[Item, Result]:
        nonlocal held
        item, future = running[0]
        try:
            result = future.result()
        except CancelledError:
            raise errors[0] from None
        running.popleft()
        held -= size(item)
        return item, result

    with ThreadPoolExecutor(threads, thread_name_prefix="semantik-concurrent") as pool:
        try:
            for item in items:
                while running and (len(running) >= (ahead or threads * AHEAD) or held + size(item) > limit):
                    yield first()
                if size(item) > limit:
                    yield item, function(item)
                    continue
                running.append((item, pool.submit(copy_context().run, call, item)))  # for the log's fields
                held += size(item)
            while running:
                yield first()
        finally:
            for _, future in running:
                future.cancel()
