"""Progress and rates of an operation, computed from periodic reports of the ledger. Uses no clock and no terminal."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semantik_pipeline.ledger.operations.lifecycle import Progress

#: Stages of documents, in order, with the names that the output shows.
STAGES = {"chunk": "parsing", "extract": "extracting", "embed": "embedding", "upsert": "indexing"}

#: Length in seconds of the window over which rates are computed.
WINDOW = 30.0

#: Before the remaining time of a stage is estimated, samples must span ``ENOUGH`` seconds, and the share ``BEGUN`` of
#: the stage must be done. If the samples span the whole window, a smaller share is enough.
ENOUGH, BEGUN = 10.0, 0.1

#: A smaller gain in a stage's share is a rounding error. This is the gain of one chunk in a billion.
ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Progress at the time ``at`` (seconds). ``done`` counts the documents that have passed each stage."""

    at: float
    seen: int
    reading: bool
    documents: int
    done: dict[str, int]
    chunks: int
    embedded: int

    def share(self, stage: str) -> float:
        """Return the share of a stage's work that is done, from 0 to 1."""
        if not self.documents:
            return 0.0
        share = self.done[stage] / self.documents
        if stage == "embed" and self.done["chunk"]:
            expected = self.chunks * self.documents / self.done["chunk"]  # so a document in progress counts partly
            share = max(share, min(1.0, self.embedded / expected) if expected else 0.0)
        return share


def sample(at: float, progress: Progress) -> Sample:
    """Return the sample for a progress report of the ledger. It covers new and changed documents only."""
    documents = sum(progress.stages.values())
    waiting = 0
    done = {}
    for stage in STAGES:
        waiting += progress.stages.get(stage, 0)
        done[stage] = documents - waiting
    return Sample(
        at=at,
        seen=progress.seen,
        reading=progress.sources_running > 0,
        documents=documents,
        done=done,
        chunks=progress.chunks,
        embedded=progress.chunks_embedded,
    )


class Pace:
    """The samples of the last ``window`` seconds, and the rates that follow from them."""

    def __init__(self, window: float = WINDOW) -> None:
        self._window = window
        self._samples: deque[Sample] = deque()

    def add(self, latest: Sample) -> None:
        self._samples.append(latest)
        while len(self._samples) > 2 and latest.at - self._samples[1].at >= self._window:
            self._samples.popleft()

    @property
    def looks(self) -> int:
        """Number of samples that are kept."""
        return len(self._samples)

    @property
    def chunks_per_second(self) -> float:
        """Chunks embedded per second, over the window."""
        if not self._samples:
            return 0.0
        first, last = self._samples[0], self._samples[-1]
        return (last.embedded - first.embedded) / (last.at - first.at) if last.at > first.at else 0.0

    def per_second(self) -> dict[str, float]:
        """Return the documents per second that each stage finished, over the window."""
        if len(self._samples) < 2:
            return dict.fromkeys(STAGES, 0.0)
        first, last = self._samples[0], self._samples[-1]
        span = last.at - first.at
        return {stage: max(0, last.done[stage] - first.done[stage]) / span if span else 0.0 for stage in STAGES}

    def bottleneck(self) -> tuple[str, float] | None:
        """Return the stage that needs the most time at its current rate, and its remaining seconds.

        Returns None while that can't be estimated: sources are still being read, a stage made no progress in the
        window, or a stage began too recently (while a model loads, the rate is not known).
        """
        last = self._samples[-1] if self._samples else None
        if last is None or last.reading or not last.documents:
            return None
        left = {stage: self._left(stage) for stage in STAGES if last.share(stage) < 1}
        known = {stage: seconds for stage, seconds in left.items() if seconds is not None}
        return max(known.items(), key=lambda one: one[1], default=None) if len(known) == len(left) else None

    def _left(self, stage: str) -> float | None:
        """Return the remaining seconds of the stage, or None if they can't be estimated."""
        last = self._samples[-1]
        first = next((one for one in reversed(self._samples) if not one.share(stage)), self._samples[0])
        span, done = last.at - first.at, last.share(stage)
        gain = done - first.share(stage) * first.documents / last.documents  # the first sample knew of fewer documents
        if span < ENOUGH or gain <= ROUNDING or (done < BEGUN and span < WINDOW):
            return None
        return (1 - done) * span / gain

    def seconds_left(self) -> float | None:
        """Return the remaining seconds of the slowest stage, see :meth:`bottleneck`."""
        slowest = self.bottleneck()
        return None if slowest is None else slowest[1]


def since_start(progress: Progress) -> Pace:
    """Return the pace since the operation began, from a single progress report."""
    now = sample(progress.age, progress)
    pace = Pace(window=float("inf"))
    nothing = dict.fromkeys(STAGES, 0)
    pace.add(Sample(at=0.0, seen=0, reading=True, documents=now.documents, done=nothing, chunks=now.chunks, embedded=0))
    pace.add(now)
    return pace


def measured(progress: Progress, pace: Pace) -> dict[str, Any]:
    """Return the progress as JSON: counts and rates of each stage, the slowest stage, and the remaining seconds."""
    now = sample(0.0, progress)
    rates = pace.per_second()
    moving = progress.state == "running" and progress.reason is None
    slowest = pace.bottleneck() if moving else None
    return {
        "phase": progress.phase,
        "seen": progress.seen,
        "reading": now.reading,
        "documents": now.documents,
        "stages": {
            stage: {
                "done": now.done[stage],
                "waiting": progress.stages.get(stage, 0),
                "per_second": round(rates[stage], 2),
            }
            for stage in STAGES
        },
        "quarantined": progress.stages.get("quarantined", 0),
        "chunks": {"total": now.chunks, "embedded": now.embedded, "per_second": round(pace.chunks_per_second, 2)},
        "bottleneck": slowest[0] if slowest else None,
        "seconds_left": round(slowest[1], 1) if slowest else None,
    }
