"""Threads for the blocking work of requests, in separate pools: slow requests do not block quick ones, and callers are
authenticated however many searches are running."""

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

#: Operations that may take long, and their pools. All others use "quick".
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

#: Operations that may take long if a parameter is set: the parameter, and the pool.
IF_ASKED: dict[str, tuple[str, Pool]] = {"plugins_list": ("include_health", "long")}

#: Threads for authentication. Auth plugins occupy at most MAX_ASKED of them, so 8 are always left for API keys.
AUTH = MAX_ASKED + 8

#: Threads that write or read an export. Each has a file of the export's size in the folder for temporary files.
TRANSFERS = 2

#: Threads that check the ledger, the plugins and the store for probes.
HEALTH = 4


class Threads:
    """The pools of an application: ``api.threads`` threads for quick requests, as many for searches, a fifth of that
    for slow requests, and fixed numbers for exports and imports, authentication and probes. A request that waits for a
    thread of its pool does not occupy one."""

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
        """Call the function in a thread of the pool, and return or raise what it does. If the request is cancelled, as
        all are at shutdown, the thread continues without it, and :meth:`left` counts it."""
        work = functools.partial(self._counted, functools.partial(function, *arguments, **named))
        return await to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._pools[pool])

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count the block as work that the server waits for at shutdown."""
        with self._ended:
            self._busy += 1
        try:
            yield
        finally:
            with self._ended:
                self._busy -= 1
                self._ended.notify_all()

    def left(self, until: float) -> int:
        """Wait until no thread works any more, or until this time of the monotonic clock. Returns how many still
        work."""
        with self._ended:
            self._ended.wait_for(lambda: not self._busy, max(0.0, until - time.monotonic()))
            return self._busy

    def _counted(self, work: Callable[[], Answer]) -> Answer:
        with self.counted():
            return work()


#: The threads of the application that answers the current request.
current: ContextVar[Threads] = ContextVar("threads")


def threaded(endpoint: Callable[..., Any], operation: str | None) -> Callable[..., Any]:
    """Wrap an endpoint as a coroutine function that runs it in a thread of its pool. A coroutine function is returned
    unchanged."""
    if inspect.iscoroutinefunction(endpoint):
        return endpoint
    usual: Pool = POOLS.get(operation or "", "quick")
    parameter, longer = IF_ASKED.get(operation or "", ("", usual))

    @functools.wraps(endpoint)
    async def apart(*arguments: Any, **named: Any) -> Any:
        pool = longer if named.get(parameter) else usual
        return await current.get().run(pool, endpoint, *arguments, **named)

    # evaluated here, because the names in the annotations belong to the endpoint's module
    apart.__signature__ = inspect.signature(endpoint, eval_str=True)  # type: ignore[attr-defined]
    return apart
