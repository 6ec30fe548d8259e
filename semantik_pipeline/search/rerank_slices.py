"""Runs a reranker within a deadline.

The reranker gets the candidates in slices, best first: a small slice, then slices sized by the pace of the slice
before. They run in another thread, so that the answer leaves at the deadline even if a slice is still being scored.
That slice is abandoned; the slices before it count.
"""

from __future__ import annotations

import atexit
import queue
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from semantik_pipeline.contracts import RerankerCapabilities
from semantik_pipeline.documents import RerankResult
from semantik_pipeline.errors import PluginError
from semantik_pipeline.search.deadlines import DEADLINE, is_late
from semantik_pipeline.search.faults import told
from semantik_pipeline.search.idle_threads import IdleThreads
from semantik_pipeline.search.places import Place, Places, seconds_left
from semantik_pipeline.search.rerank_check import accepted

#: The target duration of a slice, by the pace of the one before. About this much work is lost at the deadline.
SLICE_SECONDS = 0.1
#: The target duration of the first slice, by the pace of the previous search: the machine may be busier by now.
FIRST_SECONDS = 0.025
#: How many times larger than the one before a slice may be: the pace of a few documents says little about many.
GROWTH = 4
#: The share of the time left that a slice is planned to take: a slice that is still running at the deadline is lost.
HOPE = 0.7
#: Seconds of the deadline, but at most a tenth of it, that are reserved for waking up and blending.
AFTERWARDS_SECONDS = 0.015
#: Seconds that an exiting process waits for abandoned slices: interrupted native code may abort the process.
GRACE_AT_EXIT = 2.0

#: The events that are set when abandoned runs end.
_abandoned: weakref.WeakSet[threading.Event] = weakref.WeakSet()
_threads = IdleThreads("rerank")
_places = Places()

#: Scores one slice of the candidates.
Scorer = Callable[[slice], Sequence[RerankResult]]


@dataclass(frozen=True, kw_only=True)
class RerankOutcome:
    """The result of one reranking.

    ``scores`` are by position of the candidate. ``reason`` says why some have none; None: the reranker left them out.
    ``pace`` is seconds per document in the last slice that finished, or a lower bound of it if none finished in time.
    """

    scores: dict[int, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    reason: str | None = None
    pace: float | None = None


def next_slice(
    before: int, seconds: float, left: float, capabilities: RerankerCapabilities, known: float | None = None
) -> int:
    """Return the size of the next slice, after a slice of ``before`` documents took ``seconds``.

    It is the smallest of: GROWTH × ``before``; the reranker's maximum; what fits into SLICE_SECONDS at that pace, but
    not less than the first slice; and what fits into HOPE × ``left`` seconds. It is 0 if not a single document fits.

    ``before`` 0 means the first slice, which has at least one document. Without a ``known`` pace (seconds per document
    in the previous search), it has as many as the reranker declares. Otherwise, it has what fits into FIRST_SECONDS or
    as many as the reranker declares, whichever is more, limited by the reranker's maximum and by HOPE × ``left``
    seconds.
    """
    largest = max(1, capabilities.max_documents) if capabilities.supports_batching else 1
    first = max(1, min(capabilities.first_documents, largest))
    if before == 0:
        if known is None:
            return first
        known = max(known, 1e-9)
        return max(1, int(min(max(first, FIRST_SECONDS / known), largest, HOPE * max(0.0, left) / known)))
    pace = max(seconds / before, 1e-9)
    short = max(first, int(min(SLICE_SECONDS / pace, largest)))
    return int(min(GROWTH * before, short, HOPE * max(0.0, left) / pace))


def score_within(
    deadline: float,
    scorer: Scorer,
    count: int,
    capabilities: RerankerCapabilities,
    known: float | None = None,
    *,
    of: tuple[str, object],
) -> RerankOutcome:
    """Score as many of ``count`` candidates as ``deadline`` seconds allow.

    ``known`` is the pace of the previous search. ``of`` is the reranker's id and the reranker itself. Exceptions of the
    scorer are not raised; they become the outcome's ``reason``. If MAX_RUNS of the reranker are running, waits for one
    to end, unless all of them hang.
    """
    until = time.monotonic() + deadline - min(AFTERWARDS_SECONDS, deadline / 10)
    try:
        place = _places.take(*of, until)
    except PluginError as error:
        return RerankOutcome(reason=error.message)
    run = _Run(scorer, count, capabilities, until, known, place)
    _threads.run(run.work)
    outcome = run.collect()
    if outcome.reason == DEADLINE and not run.ended.is_set():
        _places.hang(place)
        _let_finish_at_exit(run.ended)
    return outcome


class _Run:
    """One reranking. ``work`` runs in another thread and posts slices; ``collect`` waits for these, until the
    deadline."""

    def __init__(
        self,
        scorer: Scorer,
        count: int,
        capabilities: RerankerCapabilities,
        until: float,
        known: float | None,
        place: Place,
    ) -> None:
        self.scorer, self.count = scorer, count
        self.capabilities, self.until, self.known = capabilities, until, known
        self.place = place
        self.posted: queue.SimpleQueue[_Posted] = queue.SimpleQueue()
        self.over = threading.Event()
        self.ended = threading.Event()
        self.first = 0  # documents in the first slice
        self.began = time.monotonic()

    def work(self) -> None:
        try:
            self.posted.put(_Posted(end=True, reason=self._score_all()))
        except BaseException as error:  # plugin code may raise anything; the search answers in the fused order
            self.posted.put(_Posted(end=True, reason=DEADLINE if is_late(error, self.until) else told(error)))
        finally:
            _places.free(self.place)
            self.ended.set()

    def _score_all(self) -> str | None:
        """Score and post the slices. Returns why it ended early, or None."""
        start, count, seconds = 0, 0, 0.0
        while start < self.count:
            began = time.monotonic()
            count = next_slice(count, seconds, self.until - began, self.capabilities, self.known)
            if count == 0 or self.over.is_set():
                return DEADLINE
            part = slice(start, min(start + count, self.count))
            self.first = self.first or part.stop
            answer = self.scorer(part)
            # Check here, not in collect(): a result list can be endless, and collect() must not miss the deadline.
            good, violations = accepted(answer, part.stop - part.start)
            seconds, found = time.monotonic() - began, {start + at: score for at, score in good.items()}
            self.posted.put(_Posted(scores=found, warnings=violations, pace=seconds / (part.stop - start)))
            start = part.stop
        return None

    def collect(self) -> RerankOutcome:
        scores: dict[int, float] = {}
        warnings: list[str] = []
        pace = None
        while True:
            try:
                posted = self.posted.get(timeout=seconds_left(self.until))
            except queue.Empty:
                posted = _Posted(end=True, reason=DEADLINE)
            scores.update(posted.scores)
            warnings.extend(posted.warnings)
            pace = pace if posted.pace is None else posted.pace
            if posted.end:
                self.over.set()
                if pace is None and posted.reason == DEADLINE and self.first:
                    pace = (time.monotonic() - self.began) / self.first
                return RerankOutcome(scores=scores, warnings=warnings, reason=posted.reason, pace=pace)


@dataclass(frozen=True, kw_only=True)
class _Posted:
    """A message of a run: a slice's scores by position and its pace, or (``end``) the end of the run and its reason."""

    scores: dict[int, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    pace: float | None = None
    end: bool = False
    reason: str | None = None


def _let_finish_at_exit(ended: threading.Event) -> None:
    if not _abandoned:
        atexit.unregister(_wait_for_abandoned)
        atexit.register(_wait_for_abandoned)
    _abandoned.add(ended)


def _wait_for_abandoned() -> None:
    until = time.monotonic() + GRACE_AT_EXIT
    for ended in list(_abandoned):
        ended.wait(max(0.0, until - time.monotonic()))
