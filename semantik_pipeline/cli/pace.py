"""How far an operation is and how fast it goes, from what the ledger says every now and then. No clock, no terminal."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semantik_pipeline.ledger.operations.lifecycle import Progress

#: Stages of documents, in order, and what people call them.
STAGES = {"chunk": "parsing", "extract": "extracting", "embed": "embedding", "upsert": "indexing"}

#: Seconds of the past that a rate is taken over.
WINDOW = 30.0

#: Seconds that samples must span before anything is foretold from them; and the share of a stage that must be done by
#: then, unless they span the whole window.
ENOUGH, BEGUN = 10.0, 0.1

#: A smaller gain in a stage's share is a rounding error: a chunk of a billion counts for as much.
ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What was known at a time (in seconds). ``done`` counts the documents that are past each stage."""

    at: float
    seen: int
    reading: bool
    documents: int
    done: dict[str, int]
    chunks: int
    embedded: int

    def share(self, stage: str) -> float:
        """The part of a stage's work that is done, 0..1."""
        if not self.documents:
            return 0.0
        share = self.done[stage] / self.documents
        if stage == "embed" and self.done["chunk"]:
            expected = self.chunks * self.documents / self.done["chunk"]  # a document in work counts by its chunks
            share = max(share, min(1.0, self.embedded / expected) if expected else 0.0)
        return share


def sample(at: float, progress: Progress) -> Sample:
    """What a report of the ledger says about the documents that are new or changed."""
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
    """Remembers the samples of the last seconds."""

    def __init__(self, window: float = WINDOW) -> None:
        self._window = window
        self._samples: deque[Sample] = deque()

    def add(self, latest: Sample) -> None:
        self._samples.append(latest)
        while len(self._samples) > 2 and latest.at - self._samples[1].at >= self._window:
            self._samples.popleft()

    @property
    def looks(self) -> int:
        """Samples that are remembered."""
        return len(self._samples)

    @property
    def chunks_per_second(self) -> float:
        """Chunks that were embedded in the window, by its length."""
        if not self._samples:
            return 0.0
        first, last = self._samples[0], self._samples[-1]
        return (last.embedded - first.embedded) / (last.at - first.at) if last.at > first.at else 0.0

    def per_second(self) -> dict[str, float]:
        """Documents that each stage finished in the window, by its length."""
        if len(self._samples) < 2:
            return dict.fromkeys(STAGES, 0.0)
        first, last = self._samples[0], self._samples[-1]
        span = last.at - first.at
        return {stage: max(0, last.done[stage] - first.done[stage]) / span if span else 0.0 for stage in STAGES}

    def bottleneck(self) -> tuple[str, float] | None:
        """The stage that still needs the most time at its present rate, and the seconds it needs. None as long as nobody
        can tell: documents are still being found, a stage has not moved in the window, or it began too short a while ago
        (a model that loads says nothing of how fast it will be)."""
        if not self._samples or self._samples[-1].reading:
            return None
        last = self._samples[-1]
        left = {stage: self._left(stage) for stage in STAGES if last.share(stage) < 1}
        known = {stage: seconds for stage, seconds in left.items() if seconds is not None}
        return max(known.items(), key=lambda one: one[1], default=None) if len(known) == len(left) else None

    def _left(self, stage: str) -> float | None:
        """Seconds that the stage still needs; None if that can't be told."""
        last = self._samples[-1]
        first = next((one for one in reversed(self._samples) if not one.share(stage)), self._samples[0])
        span, done = last.at - first.at, last.share(stage)
        gain = done - first.share(stage) * first.documents / last.documents  # it knew of fewer documents
        if span < ENOUGH or gain <= ROUNDING or (done < BEGUN and span < WINDOW):
            return None
        return (1 - done) * span / gain

    def seconds_left(self) -> float | None:
        """What the slowest stage still needs, see :meth:`bottleneck`."""
        slowest = self.bottleneck()
        return None if slowest is None else slowest[1]


def since_start(progress: Progress) -> Pace:
    """The pace over an operation's whole life, from a single look at it."""
    now = sample(progress.age, progress)
    pace = Pace(window=float("inf"))
    nothing = dict.fromkeys(STAGES, 0)
    pace.add(Sample(at=0.0, seen=0, reading=True, documents=now.documents, done=nothing, chunks=now.chunks, embedded=0))
    pace.add(now)
    return pace


def measured(progress: Progress, pace: Pace) -> dict[str, Any]:
    """What a progress comes to: ``documents`` past each stage, of how many, at which rate; where the time goes."""
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
