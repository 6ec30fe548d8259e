"""Asks queries in one way of searching, and records the documents found and the durations."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING

from semantik_pipeline.questions import SearchQuery
from semantik_pipeline.search.answer import SearchAnswer
from semantik_pipeline.search.evaluation.judged import Judged
from semantik_pipeline.search.evaluation.ranking import as_run, rank
from semantik_pipeline.search.query import search
from semantik_pipeline.search.request import MAX_LIMIT

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime

#: The number of documents that recall@100 considers.
DEPTH = 100


class Asker:
    """Asks queries with the parameters of ``template``, whose text is replaced. ``verbatim`` queries are not
    interpreted.

    The reranker gets as many candidates as in a search for ``template.limit`` hits, and no deadline unless the template
    sets one, because quality is measured, not the speed of this machine. ``run`` has the documents found for each
    query, in the format of ir_measures. ``warnings`` are those of the searches, each once.
    """

    def __init__(self, runtime: Runtime, judged: Judged, template: SearchQuery) -> None:
        self._runtime, self._judged = runtime, judged
        self._template = replace(
            template,
            reranked_for=template.limit,
            rerank_deadline=math.inf if template.rerank_deadline is None else template.rerank_deadline,
            postprocessors=template.postprocessors or (),  # the ranking is measured, not its presentation
        )
        self._limit = 2 * DEPTH  # not deeper than the legs of an ordinary search, so that the scores are the same
        self._milliseconds: list[float] = []
        self._embedding: dict[str, float] = {}
        self.run: dict[str, dict[str, float]] = {}
        self.warnings: dict[str, None] = {}

    def ask(self, query_id: str) -> SearchAnswer:
        """Ask the query, deep enough for DEPTH documents if there are so many. The depth is kept for the next query."""
        while True:
            answer = search(self._runtime, self._asked(query_id, self._limit))
            found = rank(answer.hits, lambda hit: self._judged.identify(query_id, hit), DEPTH)
            if len(found) >= DEPTH or len(answer.hits) < self._limit or self._limit == MAX_LIMIT:
                break
            self._limit = min(self._limit * 2, MAX_LIMIT)
        self.warnings.update(dict.fromkeys(answer.warnings))
        self.run[query_id] = as_run(found)
        self._embedding[query_id] = answer.timings_ms.get("embed", 0.0)
        return answer

    def time(self, query_id: str, embedding: float) -> None:
        """Ask the query again for ``template.limit`` hits, as a user would, and record the duration.

        ``embedding`` is the milliseconds of the query's first embedding. With several ways of searching, only the first
        one embeds the query, and the others use the cache; each way's duration must include the embedding.
        """
        began = time.perf_counter()
        answer = search(self._runtime, self._asked(query_id, self._template.limit))
        milliseconds = (time.perf_counter() - began) * 1000
        if "embed" in answer.timings_ms:
            milliseconds += embedding - answer.timings_ms["embed"]
        self._milliseconds.append(milliseconds)

    def embedding_ms(self, query_id: str) -> float:
        """Return how long this way took to embed the query; 0 if it was not asked."""
        return self._embedding.get(query_id, 0.0)

    @property
    def collection(self) -> str:
        """The collection that is searched."""
        return self._template.collection

    @property
    def p50_ms(self) -> float | None:
        """The median of the recorded durations; None if there are none."""
        return round(median(self._milliseconds), 2) if self._milliseconds else None

    def _asked(self, query_id: str, limit: int) -> SearchQuery:
        return replace(self._judged.question(query_id, self._template), limit=limit)
