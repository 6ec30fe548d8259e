"""Running postprocessors in a row within a deadline, whatever they do.

They run in another thread, so that the answer leaves at the deadline even if one is still at work: it is abandoned,
with those after it, and what the ones before it did counts.
"""

from __future__ import annotations

import contextvars
import os
import queue
import threading
import time
import weakref
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from semantik_pipeline.documents import SearchHit
from semantik_pipeline.errors import PipelineError
from semantik_pipeline.search.deadlines import is_late

#: Abandoned runs that may be left in a process: one that hangs costs no thread for each search.
MAX_ABANDONED = 16
DEADLINE = "deadline"

#: Set when the run ends.
_abandoned: weakref.WeakSet[threading.Event] = weakref.WeakSet()

Hits = list[SearchHit]
Step = tuple[str, Hits]


@dataclass(frozen=True, kw_only=True)
class Link:
    """One postprocessor of a chain: ``work`` gives checked hits, or raises whatever it likes."""

    plugin: str
    work: Callable[[Hits], Hits]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """``hits`` after the last that was done, ``steps`` by whom, with the hits after it; ``failed`` says of each other
    one why."""

    hits: Hits
    steps: list[Step] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Said:
    plugin: str
    hits: Hits | None = None
    reason: str | None = None


def run_chain(links: Sequence[Link], hits: Hits, until: float) -> Outcome:
    """Let each work on what the one before left, until that moment of ``time.monotonic``. One that fails is left out."""
    if not links:
        return Outcome(hits=hits)
    if time.monotonic() >= until:
        return Outcome(hits=hits, failed={link.plugin: DEADLINE for link in links})
    if sum(not ended.is_set() for ended in list(_abandoned)) >= MAX_ABANDONED:
        reason = f"{MAX_ABANDONED} runs of the past still hang"
        return Outcome(hits=hits, failed={link.plugin: reason for link in links})
    said: queue.SimpleQueue[_Said] = queue.SimpleQueue()
    over, ended = threading.Event(), threading.Event()

    def work() -> None:
        try:
            _work(links, hits, until, said, over)
        finally:
            ended.set()

    _threads.run(work)
    outcome = _collected(links, hits, until, said)
    over.set()
    if DEADLINE in outcome.failed.values():
        _abandoned.add(ended)
    return outcome


class _Threads:
    """Threads that wait for the next run: to start one for each search takes as long as a short chain does."""

    def __init__(self) -> None:
        self._idle: dict[int, list[queue.SimpleQueue[Callable[[], None]]]] = defaultdict(list)  # a fork has none

    def run(self, work: Callable[[], None]) -> None:
        try:
            inbox = self._idle[os.getpid()].pop()
        except IndexError:
            inbox = queue.SimpleQueue()
            threading.Thread(target=self._serve, args=(inbox,), name="postprocess", daemon=True).start()
        inbox.put(work)

    def _serve(self, inbox: queue.SimpleQueue[Callable[[], None]]) -> None:
        while True:
            contextvars.Context().run(inbox.get())
            self._idle[os.getpid()].append(inbox)


_threads = _Threads()


def _work(
    links: Sequence[Link], hits: Hits, until: float, said: queue.SimpleQueue[_Said], over: threading.Event
) -> None:
    for link in links:
        if over.is_set():
            return
        if time.monotonic() >= until:
            said.put(_Said(plugin=link.plugin, reason=DEADLINE))
            continue
        try:
            hits = link.work(hits)
            said.put(_Said(plugin=link.plugin, hits=hits))
        except BaseException as error:  # plugin code: whatever it raises, the hits before it still answer
            said.put(_Said(plugin=link.plugin, reason=DEADLINE if is_late(error, until) else told(error)))


def _collected(links: Sequence[Link], hits: Hits, until: float, said: queue.SimpleQueue[_Said]) -> Outcome:
    steps: list[Step] = []
    failed: dict[str, str] = {}
    for waiting in range(len(links), 0, -1):
        try:
            word = said.get(timeout=min(max(0.0, until - time.monotonic()), threading.TIMEOUT_MAX))
        except queue.Empty:
            failed |= {link.plugin: DEADLINE for link in links[-waiting:]}
            break
        if word.hits is None:
            failed[word.plugin] = word.reason or ""
        else:
            hits = word.hits
            steps.append((word.plugin, hits))
    return Outcome(hits=hits, steps=steps, failed=failed)


def told(error: BaseException) -> str:
    """A plugin's error in a warning: what we say of it ourselves needs no type."""
    if isinstance(error, PipelineError):
        return error.message
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
