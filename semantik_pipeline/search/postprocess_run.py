"""Running postprocessors in a row within a deadline, whatever they do.

They run in another thread, so that the answer leaves at the deadline even if one is still at work: it is abandoned,
with those after it, and what the ones before it did counts.
"""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from semantik_pipeline.documents import SearchHit
from semantik_pipeline.search.deadlines import DEADLINE, is_late
from semantik_pipeline.search.faults import told
from semantik_pipeline.search.idle_threads import IdleThreads
from semantik_pipeline.search.places import Place, Places, seconds_left

_threads = IdleThreads("postprocess")
_places = Places()

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
    so is one of which as many runs hang as may."""
    if not links:
        return Outcome(hits=hits)
    run = _Run(links, hits, until)
    _threads.run(run.work)
    return run.collect()


class _Run:
    """One chain: ``work`` runs in its thread and posts what each postprocessor left, ``collect`` waits for that until the
    deadline."""

    def __init__(self, links: Sequence[Link], hits: Hits, until: float) -> None:
        self._links, self._hits, self._until = links, hits, until
        self._said: queue.SimpleQueue[_Said] = queue.SimpleQueue()
        self._over = threading.Event()
        self._place: Place | None = None  # of the one that is at work

    def work(self) -> None:
        hits = self._hits
        for link in self._links:
            if self._over.is_set():
                return
            if time.monotonic() >= self._until:
                self._said.put(_Said(plugin=link.plugin, reason=DEADLINE))
                continue
            try:
                hits = self._after(link, hits)
                self._said.put(_Said(plugin=link.plugin, hits=hits))
            except BaseException as error:  # plugin code: whatever it raises, the hits before it still answer
                reason = DEADLINE if is_late(error, self._until) else told(error)
                self._said.put(_Said(plugin=link.plugin, reason=reason))

    def _after(self, link: Link, hits: Hits) -> Hits:
        """The hits as this one leaves them, within a place of its own. Raises PluginError if there is none."""
        # By its name: a search that gives it options of its own has an instance of its own.
        place = self._place = _places.take(link.plugin, sys.intern(link.plugin), self._until)
        try:
            if self._over.is_set():  # else it would hang, and nobody would have noticed
                return hits
            return link.work(hits)
        finally:
            _places.free(place)

    def collect(self) -> Outcome:
        hits, steps, failed = self._hits, list[Step](), dict[str, str]()
        for waiting in range(len(self._links), 0, -1):
            try:
                word = self._said.get(timeout=seconds_left(self._until))
            except queue.Empty:
                failed |= {link.plugin: DEADLINE for link in self._links[-waiting:]}
                break
            if word.hits is None:
                failed[word.plugin] = word.reason or ""
            else:
                hits = word.hits
                steps.append((word.plugin, hits))
        self._over.set()
        if DEADLINE in failed.values() and self._place is not None:
            _places.hang(self._place)  # of no effect on one that has ended
        return Outcome(hits=hits, steps=steps, failed=failed)
