"""Running postprocessors in a row within a deadline, whatever they do.

They run in another thread, so that the answer leaves at the deadline even if one is still at work: it is abandoned,
with those after it, and what the ones before it did counts.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from semantik_pipeline.documents import SearchHit
from semantik_pipeline.search.deadlines import DEADLINE, is_late
from semantik_pipeline.search.faults import told
from semantik_pipeline.search.idle_threads import IdleThreads
from semantik_pipeline.search.places import seconds_left

#: Abandoned runs that a plugin may leave: one that hangs costs no thread for each search ...
MAX_ABANDONED = 8
#: ... and that all of them may leave in a process.
MAX_ABANDONED_OF_ALL = 32

_threads = IdleThreads("postprocess")

#: What is set when the run ends -> the plugin at which it was abandoned.
_abandoned: dict[threading.Event, str] = {}
_counting = threading.Lock()

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
    """Let each work on what the one before left, until that moment of ``time.monotonic``. One that fails is left out, and
    so is one of which too many runs of the past still hang."""
    refused = _refused(links)
    links = [link for link in links if link.plugin not in refused]
    outcome = _run(links, hits, until) if links else Outcome(hits=hits)
    return replace(outcome, failed=refused | outcome.failed)


def _refused(links: Sequence[Link]) -> dict[str, str]:
    """Why these get no run, by plugin."""
    with _counting:
        for ended in [ended for ended in _abandoned if ended.is_set()]:
            del _abandoned[ended]
        hanging = Counter(_abandoned.values())
    if hanging.total() >= MAX_ABANDONED_OF_ALL:
        reason = f"{hanging.total()} runs of the past still hang: {', '.join(sorted(hanging))}"
        return {link.plugin: reason for link in links}
    return {
        link.plugin: f"{hanging[link.plugin]} runs of it still hang"
        for link in links
        if hanging[link.plugin] >= MAX_ABANDONED
    }


def _run(links: Sequence[Link], hits: Hits, until: float) -> Outcome:
    if time.monotonic() >= until:
        return Outcome(hits=hits, failed={link.plugin: DEADLINE for link in links})
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
    late = next((plugin for plugin, reason in outcome.failed.items() if reason == DEADLINE), None)
    if late is not None:  # the first of them is at work, those after it are not reached
        with _counting:
            _abandoned[ended] = late
    return outcome


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
            word = said.get(timeout=seconds_left(until))
        except queue.Empty:
            failed |= {link.plugin: DEADLINE for link in links[-waiting:]}
            break
        if word.hits is None:
            failed[word.plugin] = word.reason or ""
        else:
            hits = word.hits
            steps.append((word.plugin, hits))
    return Outcome(hits=hits, steps=steps, failed=failed)
