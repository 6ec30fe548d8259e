"""Threads that wait for the next run: to start one for each search takes as long as what it is to do."""

from __future__ import annotations

import contextvars
import os
import queue
import threading
from collections import defaultdict
from collections.abc import Callable

Work = Callable[[], None]


class IdleThreads:
    """As many as there are runs at once. Whoever gives them work bounds how much of it can hang."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._idle: dict[int, list[queue.SimpleQueue[Work]]] = defaultdict(list)  # by process: a fork has none

    def run(self, work: Work) -> None:
        """Let an idle thread do it, or a new one, in a context of its own. It raises nothing."""
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
