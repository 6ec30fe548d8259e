"""Compares several ways of searching on the same queries: quality, latency, and whether differences are significant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from semantik_pipeline.search.answer import SearchAnswer
from semantik_pipeline.search.evaluation.asking import Asker
from semantik_pipeline.search.evaluation.judged import Judged
from semantik_pipeline.search.evaluation.measure import MEASURES, EvaluationReport, report_of
from semantik_pipeline.search.evaluation.significance import holm, paired_p
from semantik_pipeline.search.evaluation.ways import Way, rerankers_of
from semantik_pipeline.search.query import search

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime

#: The measure that decides which way is better.
DECISIVE = "ndcg@10"
#: Queries that each way is asked once more to measure the duration; p50 is their median.
TIMED = 25
#: A difference with a smaller p, adjusted for the number of ways, is significant.
SIGNIFICANT = 0.05

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A way and its measurements.

    ``difference`` (of the means of DECISIVE), ``p`` and ``p_adjusted`` (for the number of ways) compare it with the
    default; they are None for the default itself. ``parts`` are the means of DECISIVE by kind of query.
    """

    way: Way
    report: EvaluationReport
    p50_ms: float | None = None
    difference: float | None = None
    p: float | None = None
    p_adjusted: float | None = None
    parts: dict[str, float] = field(default_factory=dict)

    def mean(self, measure: str = DECISIVE) -> float:
        return self.report.mean(measure)

    @property
    def verdict(self) -> str:
        """``default``, ``better``, ``worse``, or ``alike`` if the difference is not significant."""
        if self.p_adjusted is None or self.difference is None:
            return "default"
        if self.p_adjusted >= SIGNIFICANT:
            return "alike"
        return "better" if self.difference > 0 else "worse"

    def to_dict(self) -> dict[str, Any]:
        return {
            "way": self.way.name,
            "default": self.way.default,
            **{name: self.mean(name) for name in MEASURES},
            "p50_ms": self.p50_ms,
            "difference": self.difference,
            "p": self.p,
            "p_adjusted": self.p_adjusted,
            "verdict": self.verdict,
            "parts": self.parts,
            "warnings": self.report.warnings,
        }


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The compared ``ways``, best first.

    ``left_out`` maps the names of ways that could not be used to the reason. ``verbatim``: the queries consist of words
    of the documents that they should find.
    """

    ways: list[Compared]
    left_out: dict[str, str] = field(default_factory=dict)
    verbatim: bool = False

    @property
    def default(self) -> Compared:
        return next(one for one in self.ways if one.way.default)


def compare(runtime: Runtime, judged: Judged, ways: Sequence[Way], on_progress: Progress | None = None) -> Comparison:
    """Ask each judged query in all ways, and return the ways with their measurements. One of the ways is the default.

    All ways get one query before the next, so that each query is embedded once and all ways run under the same load.
    ``on_progress`` is called with the number of searches done and of all searches. Raises what :func:`search` raises.
    """
    usable, left_out = _usable(runtime, judged, ways)
    askers = [Asker(runtime, judged, way.query) for way in usable]
    total = len(judged.judged) * len(askers)
    for number, query_id in enumerate(judged.judged):
        for done, asker in enumerate(askers, number * len(askers) + 1):
            asker.ask(query_id)
            if on_progress:
                on_progress(done, total)
        if number < TIMED:
            _time(askers, query_id)
    found = [
        Compared(way=way, report=report_of(judged, asker), p50_ms=asker.p50_ms)
        for way, asker in zip(usable, askers, strict=True)
    ]
    ordered = sorted(_judged(judged, found), key=lambda one: (-one.mean(), one.way.name))
    return Comparison(ways=ordered, left_out=left_out, verbatim=judged.verbatim)


def _time(askers: Sequence[Asker], query_id: str) -> None:
    """Ask the query in each way once more and record the duration.

    Ways of one collection share a model, and only one of them has embedded the query.
    """
    embedding: dict[str, float] = {}
    for asker in askers:
        embedding[asker.collection] = max(embedding.get(asker.collection, 0.0), asker.embedding_ms(query_id))
    for asker in askers:
        asker.time(query_id, embedding[asker.collection])


def _usable(runtime: Runtime, judged: Judged, ways: Sequence[Way]) -> tuple[list[Way], dict[str, str]]:
    """Return the ways that work, and for the others the reason: for example, a reranker without its model.

    This also loads what the ways need, so that no timed query waits for it.
    """
    usable, left_out = [], dict[str, str]()
    for way in ways:
        answer = _tried(runtime, judged, way)
        if answer.rerankers and not answer.reranked and not way.default:
            left_out[way.name] = "; ".join(answer.warnings) or "it reranked nothing"
        else:
            usable.append(way)
    return usable, left_out


def _tried(runtime: Runtime, judged: Judged, way: Way) -> SearchAnswer:
    """Return the answer to the first query for which the way's rerankers have candidates, else to the last query; for a
    way without rerankers, the answer to the first query."""
    reads = bool(rerankers_of(way.plan))
    for query_id in judged.judged:
        asked = judged.question(query_id, way.query)
        answer = search(runtime, replace(asked, rerank_deadline=way.query.rerank_deadline or 600.0))
        if answer.rerankers or not reads:
            break
    return answer


def _judged(judged: Judged, found: list[Compared]) -> list[Compared]:
    """Return the ways with their differences from the default."""
    asked = judged.judged
    default = next(one for one in found if one.way.default)
    theirs = default.report.scores(DECISIVE, asked)
    ps = {one.way.name: paired_p(one.report.scores(DECISIVE, asked), theirs) for one in found if one is not default}
    adjusted = holm(ps)
    parts = [{name: one.report.only(ids).mean(DECISIVE) for name, ids in judged.parts.items()} for one in found]
    return [
        replace(one, parts=own)
        if one is default
        else replace(
            one,
            parts=own,
            difference=one.mean() - default.mean(),
            p=ps[one.way.name],
            p_adjusted=adjusted[one.way.name],
        )
        for one, own in zip(found, parts, strict=True)
    ]
