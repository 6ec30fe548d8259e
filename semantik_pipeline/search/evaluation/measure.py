"""Ask every judged query and measure the answers: nDCG@10, recall@100, MRR@10."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from semantik_pipeline.documents import SearchHit
from semantik_pipeline.search.evaluation.dataset import Dataset
from semantik_pipeline.search.evaluation.ranking import as_run, rank_documents
from semantik_pipeline.search.query import search
from semantik_pipeline.search.request import MAX_LIMIT, SearchQuery, candidates_for

#: Names as reported, and as ir_measures spells them.
MEASURES = {"ndcg@10": "nDCG@10", "recall@100": "R@100", "mrr@10": "RR@10"}
#: Documents that recall@100 looks at.
DEPTH = 100

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class EvaluationReport:
    """Means over the queries that count; ``per_query`` has each one's own measures by query id.

    ``warnings`` are those of the searches, each once.
    """

    per_query: dict[str, dict[str, float]]
    warnings: list[str] = field(default_factory=list)

    def mean(self, measure: str) -> float:
        """The mean of one of MEASURES' names; 0 for no queries."""
        values = [measures[measure] for measures in self.per_query.values()]
        return math.fsum(values) / len(values) if values else 0.0

    def only(self, query_ids: Iterable[str]) -> EvaluationReport:
        """The report over some of the queries (the odd ones, say)."""
        wanted = set(query_ids)
        return replace(self, per_query={id: measures for id, measures in self.per_query.items() if id in wanted})

    def to_dict(self) -> dict[str, Any]:
        return {**{name: self.mean(name) for name in MEASURES}, "queries": len(self.per_query)}


def unique_id(hit: SearchHit) -> str:
    """The dataset's id of a hit's document, where the two are the same."""
    return hit.document


def evaluate(
    runtime: Any,
    dataset: Dataset,
    template: SearchQuery,
    on_progress: Progress | None = None,
    document_id: Callable[[SearchHit], str] = unique_id,
) -> EvaluationReport:
    """Ask each judged query as ``template`` says (its text is replaced) and measure the documents that come back.

    A document's score is its best chunk's. The reranker gets as many candidates as in a search for ``template.limit``
    hits, and no deadline unless the template sets one: quality, not this machine's speed, is what is measured.
    ``on_progress`` is called with queries done and queries in all. Raises what :func:`search` raises.
    """
    template = replace(
        template,
        candidates=template.candidates or candidates_for(template.limit),
        rerank_deadline=math.inf if template.rerank_deadline is None else template.rerank_deadline,
    )
    ask = _Asker(runtime, template, document_id)
    run: dict[str, dict[str, float]] = {}
    for done, query_id in enumerate(dataset.judged, 1):
        run[query_id] = as_run(ask.documents(dataset.queries[query_id]))
        if on_progress:
            on_progress(done, len(dataset.judged))
    return EvaluationReport(per_query=measure(dataset, run), warnings=list(ask.warnings))


def measure(dataset: Dataset, run: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Each judged query's measures; a query without an answer has 0 in all of them."""
    import ir_measures

    measures = {ir_measures.parse_measure(spelled): name for name, spelled in MEASURES.items()}
    qrels = {query_id: dataset.qrels[query_id] for query_id in dataset.judged}
    per_query = {query_id: dict.fromkeys(MEASURES, 0.0) for query_id in qrels}
    for metric in ir_measures.iter_calc(list(measures), qrels, run):
        per_query[metric.query_id][measures[metric.measure]] = metric.value
    return per_query


class _Asker:
    """Asks queries and remembers how many chunks it takes to get DEPTH documents."""

    def __init__(self, runtime: Any, template: SearchQuery, document_id: Callable[[SearchHit], str]) -> None:
        self.runtime, self.template, self.document_id = runtime, template, document_id
        self.limit = 2 * DEPTH  # as deep as the legs of any search, so that scores are those of a search
        self.warnings: dict[str, None] = {}

    def documents(self, text: str) -> list[str]:
        while True:
            answer = search(self.runtime, replace(self.template, text=text, limit=self.limit))
            documents = rank_documents(answer.hits, self.document_id, DEPTH)
            if len(documents) >= DEPTH or len(answer.hits) < self.limit or self.limit == MAX_LIMIT:
                self.warnings.update(dict.fromkeys(answer.warnings))
                return documents
            self.limit = min(self.limit * 2, MAX_LIMIT)
