"""Keeps threads for the next run: starting a thread for each search would take as long as the work itself."""

from __future__ import annotations

import contextvars
import os
import queue
import threading
from collections import defaultdict
from collections.abc import Callable

Work = Callable[[], None]


class IdleThreads:
    """A pool with as many threads as there have been runs at once. It has no limit: callers bound the runs."""

    def __init__(self, name: str) -> None:
        self._name = name
        # by process id: a forked process has none of the threads
        self._idle: dict[int, list[queue.SimpleQueue[Work]]] = defaultdict(list)

    def run(self, work: Work) -> None:
        """Run ``work`` in an idle thread, or a new one, in a new context. ``work`` must not raise."""
        try:
            inbox = self._idle[os.getpid()].pop()
        except IndexError:
            inbox = queue.SimpleQueue()
            threading.Thread(target=self._serve, args=(inbox,), name=self._name, daemon=True).start()
        inbox.put(work)

    def _serve(self, inbox: queue.SimpleQueue[Work]) -> None:
        while True:
            contextvars.Context().run(inbox.get())
            self._idle[os.getpid()].append(inbox)
