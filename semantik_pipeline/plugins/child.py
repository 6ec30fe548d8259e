"""A pool of killable child processes, in which plugin code for parsing, chunking and extracting runs.

A hang, a crash or a leak costs one document, and Python code in a child never holds the interpreter lock that the
model in this process needs. Children are fresh interpreters, not forks, so they inherit no lock, socket or thread.
Each loads its plugins once and is kept for later requests. Run as a module, this file is a child's entry point.
"""

from __future__ import annotations

import pickle
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semantik_pipeline.errors import ChildOutOfMemory, PluginError, ServiceUnavailable
from semantik_pipeline.plugins import frames
from semantik_pipeline.plugins.state import PluginState, read_state

if TYPE_CHECKING:
    from semantik_pipeline.plugins.child_process import ChildProcess

#: Seconds between two calls of ``waiting`` while a request waits for a free child.
WAITING_SECONDS = 1.0


class _Slots:
    """Semaphore whose slots go to those who wait, first come, first served.

    A loop that gives a slot back and takes one again at once would overtake everybody who waits on an ordinary one.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    def acquire(self, waiting: Callable[[], None]) -> None:
        """Take a slot. ``waiting`` is called every second until there is one; what it raises ends the wait."""
        me = object()
        with self._changed:
            self._waiting.append(me)
        try:
            while True:
                with self._changed:
                    if self._changed.wait_for(lambda: self._free and self._waiting[0] is me, WAITING_SECONDS):
                        self._free -= 1
                        return
                waiting()
        finally:
            with self._changed:
                self._waiting.remove(me)
                self._changed.notify_all()

    def release(self) -> None:
        with self._changed:
            self._free += 1
            self._changed.notify_all()


class ChildPool:
    """Up to ``size`` children, started on demand. Thread-safe; requests wait while all children are busy."""

    def __init__(
        self,
        size: int,
        state_file: Path | str | PluginState,
        *,
        kinds: Iterable[str] | None,
        memory_mb: int,
    ) -> None:
        """Read the plugin state once, so that children that start later load the same plugins.

        ``memory_mb`` is how much memory, in MiB, a request may use in addition to that of an idle child.
        """
        self._size = max(1, size)
        self._state = state_file if isinstance(state_file, PluginState) else read_state(state_file)
        self._kinds = None if kinds is None else tuple(kinds)
        self._memory_mb = memory_mb
        self._slots = _Slots(self._size)
        self._lock = threading.Lock()
        self._idle: list[ChildProcess] = []
        self._all: set[ChildProcess] = set()
        self._closed = False
        # The kernel kills a child when the *thread* that started it ends (PR_SET_PDEATHSIG), and the callers' threads
        # may end early. This thread lives as long as the pool.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="semantik-child-starter")

    def run(
        self,
        function: Callable[..., Any],
        *args: Any,
        deadline: float,
        services: dict[str, Callable[..., Any]] | None = None,
        waiting: Callable[[], None] = lambda: None,
    ) -> Any:
        """Run ``function(host, *args)`` in a child and return its result.

        ``function`` must be a module-level function. Its ``host`` is a PluginHost in the child;
        ``host.service(name, *args)`` calls ``services[name]`` in this process and thread. ``deadline`` is in seconds,
        counted from the moment a child is available, without the time that services take. ``waiting()`` is called
        every second until a child is available, and once more at that moment.

        Raises the function's own exception (with ``child_traceback``), ChildTimeout, ChildCrashed or ChildOutOfMemory;
        ServiceUnavailable if no child can be started.
        """
        what = f"{getattr(function, '__qualname__', function)}"
        if getattr(function, "__module__", "") == "__main__":
            raise PluginError(f"{what} is defined in the program's main module, which a child process can't import.")
        request = frames.dump((function, args))
        self._slots.acquire(waiting)
        try:
            child = self._take()
            try:
                child.await_ready()
                waiting()
                tag, body = child.ask(what, request, deadline, services or {})
            except BaseException:  # after any exception the child may still be busy, so it can't be reused
                self._discard(child)
                raise
            self._give_back(child, keep=tag != frames.OUT_OF_MEMORY)
        finally:
            self._slots.release()
        return self._outcome(what, tag, body)

    def close(self) -> None:
        """Kill all children; running requests fail. Idempotent."""
        with self._lock:
            self._closed = True
            children = list(self._all)
        for child in children:
            child.kill()
        self._starter.shutdown(wait=True)
        with self._lock:
            leftover, self._all, self._idle = self._all, set(), []
        for child in leftover:
            child.kill()

    def _take(self) -> ChildProcess:
        """Return a child for exclusive use, starting one if none is idle.

        The caller must hold one of ``_slots``, which guarantees that a child is idle or may be started.
        """
        while True:
            with self._lock:
                if self._closed:
                    raise PluginError("The pool of child processes is closed.")
                child = self._idle.pop() if self._idle else None
            if child is None:
                try:
                    self._starter.submit(self._start).result()
                except (OSError, RuntimeError) as error:  # the system has no process, pipe or thread left
                    raise ServiceUnavailable(f"A child process for plugins could not start: {error}.") from error
            elif child.alive:  # it may have been killed while it was idle
                return child
            else:
                self._discard(child)

    def _start(self) -> None:
        """Start one more idle child, unless the pool is full.

        The pool can be full: if the starter's thread could not be created, the failed start stays in the executor's
        queue and runs later, with the next thread.
        """
        from semantik_pipeline.plugins.child_process import ChildProcess

        with self._lock:
            if self._closed or len(self._all) >= self._size:
                return
        child = ChildProcess(self._state, self._kinds, self._memory_mb)
        with self._lock:
            self._all.add(child)
            self._idle.append(child)

    def _give_back(self, child: ChildProcess, *, keep: bool) -> None:
        if not keep or child.bloated:
            return self._discard(child)
        with self._lock:
            if not self._closed:
                return self._idle.append(child)
        return self._discard(child)

    def _discard(self, child: ChildProcess) -> None:
        with self._lock:
            self._all.discard(child)
        child.kill()

    def _outcome(self, what: str, tag: bytes, body: bytes) -> Any:
        if tag == frames.VALUE:
            return pickle.loads(body)
        if tag == frames.OUT_OF_MEMORY:
            raise ChildOutOfMemory(
                f"{what} needed more than {self._memory_mb} MiB of memory.",
                "To process it anyway, raise child.memory_mb.",
            )
        from semantik_pipeline.plugins.child_errors import rebuild

        raise rebuild(body)


if __name__ == "__main__":
    import sys

    from semantik_pipeline.plugins.child_loop import main

    main(int(sys.argv[1]))
