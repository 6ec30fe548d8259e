"""One way of searching, asked one query after the other: documents, and how long it took."""

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

#: Documents that recall@100 looks at.
DEPTH = 100


class Asker:
    """Asks queries as ``template`` says (its text is replaced), those that are ``verbatim`` as they stand.

    The reranker gets as many candidates as in a search for ``template.limit`` hits, and no deadline unless the template
    sets one: quality, not this machine's speed, is what is measured. ``run`` has the documents of what was asked, as
    measuring tools take them; ``warnings`` what the searches said, each once.
    """

    def __init__(self, runtime: Runtime, judged: Judged, template: SearchQuery) -> None:
        self._runtime, self._judged = runtime, judged
        self._template = replace(
            template,
            reranked_for=template.limit,
            rerank_deadline=math.inf if template.rerank_deadline is None else template.rerank_deadline,
            postprocessors=template.postprocessors or (),  # a ranking is measured, not how it is shown
        )
        self._limit = 2 * DEPTH  # as deep as the legs of any search, so that scores are those of a search
        self._milliseconds: list[float] = []
        self._embedding: dict[str, float] = {}
        self.run: dict[str, dict[str, float]] = {}
        self.warnings: dict[str, None] = {}

    def ask(self, query_id: str) -> SearchAnswer:
        """Ask so deep that there are DEPTH documents, where there are so many; remembers how deep that was."""
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
        """Ask again, as a person does who wants ``template.limit`` hits, with a clock beside it.

        ``embedding`` is how many milliseconds the query's own embedding took: with several ways it is remembered after
        the first, and still each of them is held to account for it.
        """
        began = time.perf_counter()
        answer = search(self._runtime, self._asked(query_id, self._template.limit))
        milliseconds = (time.perf_counter() - began) * 1000
        if "embed" in answer.timings_ms:
            milliseconds += embedding - answer.timings_ms["embed"]
        self._milliseconds.append(milliseconds)

    def embedding_ms(self, query_id: str) -> float:
        """How long this way took for the embedding of a query that it was asked."""
        return self._embedding.get(query_id, 0.0)

    @property
    def collection(self) -> str:
        """Which one is asked."""
        return self._template.collection

    @property
    def p50_ms(self) -> float | None:
        """The median of what was timed."""
        return round(median(self._milliseconds), 2) if self._milliseconds else None

    def _asked(self, query_id: str, limit: int) -> SearchQuery:
        return replace(self._judged.question(query_id, self._template), limit=limit)
