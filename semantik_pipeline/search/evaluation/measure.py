"""Measures a run with ir_measures: nDCG@10, recall@100 and MRR@10 of each judged query."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from semantik_pipeline.questions import SearchQuery
from semantik_pipeline.search.evaluation.asking import Asker
from semantik_pipeline.search.evaluation.judged import Judged

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime

#: The names in reports -> the names in ir_measures.
MEASURES = {"ndcg@10": "nDCG@10", "recall@100": "R@100", "mrr@10": "RR@10"}

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class EvaluationReport:
    """The measures of each judged query, by query id, and their means.

    ``warnings`` are those of the searches, each once.
    """

    per_query: dict[str, dict[str, float]]
    warnings: list[str] = field(default_factory=list)

    def mean(self, measure: str) -> float:
        """Return the mean of a measure (a name in MEASURES); 0 without queries."""
        values = [measures[measure] for measures in self.per_query.values()]
        return math.fsum(values) / len(values) if values else 0.0

    def scores(self, measure: str, query_ids: Sequence[str]) -> list[float]:
        """Return one measure of each of these queries, in their order."""
        return [self.per_query[query_id][measure] for query_id in query_ids]

    def only(self, query_ids: Iterable[str]) -> EvaluationReport:
        """Return the report limited to some of the queries."""
        wanted = set(query_ids)
        return replace(self, per_query={id: measures for id, measures in self.per_query.items() if id in wanted})

    def to_dict(self) -> dict[str, Any]:
        return {**{name: self.mean(name) for name in MEASURES}, "queries": len(self.per_query)}


def evaluate(
    runtime: Runtime, judged: Judged, template: SearchQuery, on_progress: Progress | None = None
) -> EvaluationReport:
    """Ask each judged query with the parameters of ``template`` (see :class:`Asker`) and measure the answers.

    Documents are ranked by their chunks' scores together (``document_score``), as the postprocessor ``group`` ranks
    them. ``on_progress`` is called with the number of queries done and of all queries. Raises what :func:`search`
    raises.
    """
    asker = Asker(runtime, judged, template)
    for done, query_id in enumerate(judged.judged, 1):
        asker.ask(query_id)
        if on_progress:
            on_progress(done, len(judged.judged))
    return report_of(judged, asker)


def report_of(judged: Judged, asker: Asker) -> EvaluationReport:
    """Return the report of an asker that has asked all judged queries."""
    return EvaluationReport(per_query=measure(judged, asker.run), warnings=list(asker.warnings))


def measure(judged: Judged, run: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Return each judged query's measures. A query without an answer has 0 in all of them."""
    import ir_measures

    measures = {ir_measures.parse_measure(spelled): name for name, spelled in MEASURES.items()}
    qrels = {query_id: judged.qrels[query_id] for query_id in judged.judged}
    per_query = {query_id: dict.fromkeys(MEASURES, 0.0) for query_id in qrels}
    for metric in ir_measures.iter_calc(list(measures), qrels, run):
        per_query[metric.query_id][measures[metric.measure]] = metric.value
    return per_query
