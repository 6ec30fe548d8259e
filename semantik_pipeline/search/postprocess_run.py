"""Runs a chain of postprocessors within a deadline.

The chain runs in another thread, so that the answer leaves at the deadline even if a postprocessor is still running.
That postprocessor and those after it are abandoned; the results of those before it count.
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
    """One postprocessor of a chain. ``work`` returns checked hits; it may raise any exception."""

    plugin: str
    work: Callable[[Hits], Hits]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of a chain: ``hits`` after the last postprocessor that finished.

    ``steps`` has each postprocessor that finished, with the hits after it. ``failed`` maps the others to the reason.
    """

    hits: Hits
    steps: list[Step] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Said:
    plugin: str
    hits: Hits | None = None
    reason: str | None = None


def run_chain(links: Sequence[Link], hits: Hits, until: float) -> Outcome:
    """Run each link on the hits of the one before it, until ``until`` (on the clock ``time.monotonic``).

    A link that fails is left out, and so is a plugin of which the maximum number of runs hang.
    """
    if not links:
        return Outcome(hits=hits)
    run = _Run(links, hits, until)
    _threads.run(run.work)
    return run.collect()


class _Run:
    """One run of a chain. ``work`` runs in its own thread and posts each postprocessor's result; ``collect`` waits for
    the results until the deadline."""

    def __init__(self, links: Sequence[Link], hits: Hits, until: float) -> None:
        self._links, self._hits, self._until = links, hits, until
        self._said: queue.SimpleQueue[_Said] = queue.SimpleQueue()
        self._over = threading.Event()
        self._place: Place | None = None  # of the postprocessor that is running

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
            except BaseException as error:  # plugin code may raise anything; the search answers with the hits before it
                reason = DEADLINE if is_late(error, self._until) else told(error)
                self._said.put(_Said(plugin=link.plugin, reason=reason))

    def _after(self, link: Link, hits: Hits) -> Hits:
        """Return the hits after this link. Raises PluginError if there is no place for its run, and what it raises."""
        # The name is the key, not the instance: a search with its own options has its own instance.
        place = self._place = _places.take(link.plugin, sys.intern(link.plugin), self._until)
        try:
            if self._over.is_set():  # a run that began now could hang without being marked so: collect() has returned
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
            _places.hang(self._place)  # no effect if the run has ended
        return Outcome(hits=hits, steps=steps, failed=failed)
