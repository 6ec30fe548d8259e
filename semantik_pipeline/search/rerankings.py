"""Keeps recent judgements of rerankers, so that all pages of an answer are cut from one list.

Under a deadline, a reranker scores more or fewer passages each time. With another order, a further page would repeat
hits of the page before, and other hits would never appear. So a further page blends the judgements for the page before
again.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from semantik_pipeline.search.blending import Judgement, RerankerReport, Reranking, blend_judged, unranked
from semantik_pipeline.search.fusion import Candidate
from semantik_pipeline.search.request import SearchPlan

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime

#: Seconds that judgements are kept after a page was last cut from them.
SECONDS = 60.0

#: The maximum of judged passages that are kept, over all lists: about 15 MB.
MOST_JUDGED = 50_000


@dataclass(frozen=True, kw_only=True)
class _Said:
    """The judgements of one list, by candidate id. Of the candidates nothing else is kept: no text and no scores."""

    until: float
    judged: dict[str, tuple[Judgement, ...]]
    reports: list[RerankerReport]
    warnings: list[str]

    @property
    def weight(self) -> int:
        return 1 + len(self.judged)


class Rerankings:
    """The judgements that a process keeps. Thread-safe."""

    @classmethod
    def of(cls, runtime: Runtime) -> Rerankings:
        """Return the instance that belongs to this runtime."""
        return _of_runtimes.setdefault(runtime, cls())

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, _Said] = OrderedDict()
        self._judged = 0
        self._lock = threading.Lock()

    def reranked(
        self,
        index: str,
        plan: SearchPlan,
        candidates: Sequence[Candidate],
        rerank: Callable[[], Reranking],
        *,
        further: bool,
    ) -> Reranking:
        """Return the result of ``rerank``. For a ``further`` page, blend the judgements of the same query on the same
        candidates again instead, if they are kept. ``index`` names the indexes that the candidates are from."""
        key = _key(index, plan, candidates)
        said = self._taken(key) if further else None
        if said is not None:
            return _again(said, plan, candidates)
        outcome = rerank()
        self._keep(key, outcome)
        return outcome

    def _taken(self, key: bytes) -> _Said | None:
        now = time.monotonic()
        with self._lock:
            said = self._kept.get(key)
            if said is None or said.until < now:
                return None
            self._kept[key] = replace(said, until=now + SECONDS)
            self._kept.move_to_end(key)
            return said

    def _keep(self, key: bytes, outcome: Reranking) -> None:
        now = time.monotonic()
        said = _Said(
            until=now + SECONDS,
            judged={one.candidate.id: one.judgements for one in outcome.ranked if one.judgements},
            reports=outcome.reports,
            warnings=outcome.warnings,
        )
        with self._lock:
            self._drop(key)
            self._kept[key] = said
            self._judged += said.weight
            while self._kept:  # drop the oldest first
                key, oldest = next(iter(self._kept.items()))
                if oldest.until >= now and self._judged <= MOST_JUDGED:
                    break
                self._drop(key)

    def _drop(self, key: bytes) -> None:
        said = self._kept.pop(key, None)
        self._judged -= said.weight if said is not None else 0


_of_runtimes: weakref.WeakKeyDictionary[Any, Rerankings] = weakref.WeakKeyDictionary()


def _key(index: str, plan: SearchPlan, candidates: Sequence[Candidate]) -> bytes:
    """Return a hash of everything that can change the judgements, the caller's principals included."""
    read = [(one.id, one.payload.get("epoch")) for one in candidates[: plan.to_rerank]]
    principals = None if plan.principals is None else sorted(plan.principals)
    chain = [(one.plugin, one.options) for one in plan.rerankers]
    sizes = [plan.to_rerank, plan.reranked_for]
    asked = [index, plan.text, plan.filter, principals, chain, plan.rerank_weight, sizes, read]
    return hashlib.sha256(json.dumps(asked, sort_keys=True, default=repr).encode()).digest()


def _again(said: _Said, plan: SearchPlan, candidates: Sequence[Candidate]) -> Reranking:
    """Blend the kept judgements with the candidates' fused scores."""
    ranked = unranked(candidates, said.judged).ranked
    for report in said.reports:
        if report.scored:
            ranked = blend_judged(ranked, report.id, plan.rerank_weight)
    reports = [replace(report, duration_ms=0.0) for report in said.reports]
    return Reranking(ranked=ranked, reports=reports, warnings=list(said.warnings))
