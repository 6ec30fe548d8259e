"""Threads in which the blocking work of requests is done, in pools of their own: what takes long keeps nobody out of what
is quick, and who calls is found out however many searches there are."""

from __future__ import annotations

import functools
import inspect
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from anyio import CapacityLimiter, to_thread

from semantik_pipeline.access import MAX_ASKED

if TYPE_CHECKING:
    from semantik_pipeline.settings import Api

Pool = Literal["quick", "search", "long", "transfer", "auth", "health"]
Answer = TypeVar("Answer")

#: Operations that may take long, and where; all others are quick.
POOLS: dict[str, Pool] = {
    "search": "search",
    "search_batch": "search",
    "sources_preview": "long",
    "collections_plan_reindex": "long",
    "collections_plan_rerun": "long",
    "collections_rerun": "long",
    "collections_verify": "long",
    "collections_export": "transfer",
    "collections_import": "transfer",
    "plugins_health": "long",
    "host_doctor": "long",
    "host_models": "long",
    "host_models_where": "long",
}

#: Operations that may take long if a parameter asks for it: which, and where.
IF_ASKED: dict[str, tuple[str, Pool]] = {"plugins_list": ("include_health", "long")}

#: Threads that find out who calls: auth plugins hold so many at most, and API keys need none of theirs.
AUTH = MAX_ASKED + 8

#: Threads that write an export or read one: each has a file of that size in the folder for temporary files.
TRANSFERS = 2

#: Threads that ask whether the parts are there, for probes.
HEALTH = 4


class Threads:
    """``api.threads`` for what is quick, as many for searches, a fifth for what takes long, and some for exports and
    imports, for who calls and for probes. What waits for a thread of its pool takes none."""

    def __init__(self, settings: Api) -> None:
        sizes: dict[Pool, int] = {
            "quick": settings.threads,
            "search": settings.threads,
            "long": max(1, settings.threads // 5),
            "transfer": TRANSFERS,
            "auth": AUTH,
            "health": HEALTH,
        }
        self._pools = {pool: CapacityLimiter(size) for pool, size in sizes.items()}
        self._busy = 0
        self._ended = threading.Condition()

    async def run(self, pool: Pool, function: Callable[..., Answer], *arguments: Any, **named: Any) -> Answer:
        """What the function returns or raises in a thread of the pool. If the request is cancelled, as at the end of
        the server all are, the thread goes on without it, and :meth:`left` counts it."""
        work = functools.partial(self._counted, functools.partial(function, *arguments, **named))
        return await to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._pools[pool])

    @contextmanager
    def counted(self) -> Iterator[None]:
        """The block is work that a server waits for at its end."""
        with self._ended:
            self._busy += 1
        try:
            yield
        finally:
            with self._ended:
                self._busy -= 1
                self._ended.notify_all()

    def left(self, until: float) -> int:
        """How many still work at this moment (of the monotonic clock), or 0 as soon as none does."""
        with self._ended:
            self._ended.wait_for(lambda: not self._busy, max(0.0, until - time.monotonic()))
            return self._busy

    def _counted(self, work: Callable[[], Answer]) -> Answer:
        with self.counted():
            return work()


#: The threads of the application that answers the request in hand.
current: ContextVar[Threads] = ContextVar("threads")


def threaded(endpoint: Callable[..., Any], operation: str | None) -> Callable[..., Any]:
    """The endpoint as a coroutine function that does its work in a thread of its pool; one that is a coroutine function
    already is left as it is."""
    if inspect.iscoroutinefunction(endpoint):
        return endpoint
    usual: Pool = POOLS.get(operation or "", "quick")
    parameter, longer = IF_ASKED.get(operation or "", ("", usual))

    @functools.wraps(endpoint)
    async def apart(*arguments: Any, **named: Any) -> Any:
        pool = longer if named.get(parameter) else usual
        return await current.get().run(pool, endpoint, *arguments, **named)

    # evaluated here: the names in the annotations are those of the endpoint's module
    apart.__signature__ = inspect.signature(endpoint, eval_str=True)  # type: ignore[attr-defined]
    return apart
