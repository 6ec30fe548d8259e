"""Running a reranker within a deadline, whatever it does.

The candidates go to it in slices, best first. They run in a thread of their own, so that the answer leaves at the
deadline even if a slice is still being scored: that slice is abandoned, the ones before it count.
"""

from __future__ import annotations

import atexit
import queue
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from semantik_pipeline.contracts import RerankerCapabilities
from semantik_pipeline.documents import RerankResult
from semantik_pipeline.search.rerank_check import accepted

#: Documents in a slice: what is lost at the deadline is less than this, and a batch of 16 still fills a CPU.
SLICE = 16
#: Runs at once in a process, abandoned ones included, so that a reranker that hangs costs no thread for each search.
MAX_RUNS = 16
#: Seconds an exiting process waits for an abandoned slice; native code cut off in its middle may abort the process.
GRACE_AT_EXIT = 2.0
DEADLINE = "deadline"

_abandoned: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
_free_runs = threading.BoundedSemaphore(MAX_RUNS)

#: Scores the texts of one slice.
Scorer = Callable[[list[str], list[dict]], Sequence[RerankResult]]


@dataclass(frozen=True, kw_only=True)
class RerankOutcome:
    """``scores`` by position of the text; ``reason`` why some texts have none (None: the reranker left them out)."""

    scores: dict[int, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    reason: str | None = None


def slices(count: int, capabilities: RerankerCapabilities) -> Iterator[range]:
    """Positions 0..count in order, in ranges that the reranker takes."""
    size = max(1, min(SLICE, capabilities.max_documents)) if capabilities.supports_batching else 1
    for start in range(0, count, size):
        yield range(start, min(start + size, count))


def score_within(
    deadline: float, scorer: Scorer, texts: list[str], metadata: list[dict], capabilities: RerankerCapabilities
) -> RerankOutcome:
    """Score as many texts as ``deadline`` seconds allow. Never raises what the scorer raises: it becomes a reason."""
    if not _free_runs.acquire(blocking=False):
        return RerankOutcome(reason=f"{MAX_RUNS} runs are still busy")
    run = _Run(scorer, texts, metadata, list(slices(len(texts), capabilities)))
    thread = threading.Thread(target=run.work, name="rerank", daemon=True)
    thread.start()
    outcome = run.collect(time.monotonic() + deadline)
    if outcome.reason == DEADLINE:
        _let_finish_at_exit(thread)
    return outcome


class _Run:
    """One reranking: ``work`` runs in its thread and posts slices, ``collect`` waits for them."""

    def __init__(self, scorer: Scorer, texts: list[str], metadata: list[dict], parts: list[range]) -> None:
        self.scorer, self.texts, self.metadata, self.parts = scorer, texts, metadata, parts
        self.posted: queue.SimpleQueue = queue.SimpleQueue()
        self.over = threading.Event()

    def work(self) -> None:
        try:
            for part in self.parts:
                if self.over.is_set():
                    return
                within = slice(part.start, part.stop)
                # Checked here, not by the one who waits: a result list can be endless.
                self.posted.put((part, accepted(self.scorer(self.texts[within], self.metadata[within]), len(part))))
        except BaseException as error:  # plugin code: whatever it raises, the fused order still answers
            self.posted.put((None, error))
        finally:
            _free_runs.release()

    def collect(self, until: float) -> RerankOutcome:
        scores: dict[int, float] = {}
        warnings: list[str] = []
        reason = None
        for _ in self.parts:
            try:
                left = min(max(0.0, until - time.monotonic()), threading.TIMEOUT_MAX)
                part, answer = self.posted.get(timeout=left)
            except queue.Empty:
                reason = DEADLINE
                break
            if part is None:
                reason = f"{type(answer).__name__}: {answer}"
                break
            good, violations = answer
            scores.update({part.start + index: score for index, score in good.items()})
            warnings.extend(violations)
        self.over.set()
        return RerankOutcome(scores=scores, warnings=warnings, reason=reason)


def _let_finish_at_exit(thread: threading.Thread) -> None:
    if not _abandoned:
        atexit.unregister(_wait_for_abandoned)
        atexit.register(_wait_for_abandoned)
    _abandoned.add(thread)


def _wait_for_abandoned() -> None:
    until = time.monotonic() + GRACE_AT_EXIT
    for thread in list(_abandoned):
        thread.join(max(0.0, until - time.monotonic()))
