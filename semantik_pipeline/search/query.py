"""The entry point of search: query → candidates → fusion → rerank → hits."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from semantik_pipeline.errors import FingerprintMismatch, ServiceUnavailable, UsageError
from semantik_pipeline.questions import SearchQuery
from semantik_pipeline.search.answer import SearchAnswer, passing, to_hits
from semantik_pipeline.search.blending import Reranking, unranked
from semantik_pipeline.search.explanation import explained
from semantik_pipeline.search.facets import Facets, count_facets
from semantik_pipeline.search.fusion import Candidate
from semantik_pipeline.search.postprocessing import Postprocessed, check_postprocessors, postprocess
from semantik_pipeline.search.request import SearchPlan, plan_search
from semantik_pipeline.search.reranking import rerank
from semantik_pipeline.search.rerankings import Rerankings
from semantik_pipeline.search.retrieval import Retrieved, fused_with_others, learned, retrieve
from semantik_pipeline.search.stopwatch import Stopwatch
from semantik_pipeline.search.stored_vectors import stored_vectors
from semantik_pipeline.search.understanding.planning import interpret
from semantik_pipeline.search.why_missing import Way, why_absent
from semantik_pipeline.stages.lost_index import HINT, is_lost

if TYPE_CHECKING:
    import numpy as np

    from semantik_pipeline.ledger.catalog.collections import SearchView
    from semantik_pipeline.runtime import Runtime

log = logging.getLogger(__name__)

#: The warning for a hybrid search with one leg only, by that leg.
ALONE = {"dense": "by meaning alone", "sparse": "by words alone"}


def search(runtime: Runtime, query: SearchQuery) -> SearchAnswer:
    """Answer a query from the collection's active generation, as recorded in the ledger.

    ``runtime`` provides ``settings``, ``ledger``, ``store``, ``host``, ``embedder``, ``completeness``,
    ``index_languages``, ``query_vectors`` and ``tally``. Blocks; thread-safe.
    Raises UsageError (empty query, unknown collection, bad filter), DimensionMismatch, PluginNotFoundError (the
    embedding plugin, or a plugin that the query names) and ServiceUnavailable (store).
    """
    return search_view(runtime, runtime.ledger.search_view(query.collection), query)


def check_search(runtime: Runtime, query: SearchQuery, collection: dict[str, Any] | None = None) -> SearchPlan:
    """Check a query and return its plan, without loading a plugin or reading the index.

    ``collection`` is the collection's configuration. Raises UsageError for an invalid query, PluginNotFoundError for a
    reranker or postprocessor that the query names and that is not loaded, and PluginConfigError for invalid options.
    """
    plan = plan_search(query, runtime.settings.search, collection or {})
    for reranker in plan.rerankers:
        if reranker.named:
            runtime.host.registry.get(reranker.plugin, "reranker")
    return check_postprocessors(runtime.host, plan)


def search_view(runtime: Runtime, view: SearchView, query: SearchQuery) -> SearchAnswer:
    """Answer a query from the view's generation, which need not be the active one. Otherwise like :func:`search`."""
    one = OneSearch(runtime, view, query)
    one.gather()
    return one.finish(one.reranked())


class OneSearch:
    """The steps of one search. Steps that the plan does not need are skipped. The constructor raises what
    :func:`check_search` raises."""

    def __init__(self, runtime: Runtime, view: SearchView, query: SearchQuery) -> None:
        self.watch = Stopwatch()
        self.runtime, self.view, self._query = runtime, view, query
        self.plan = check_search(runtime, query, view.config)
        self.retrieved = Retrieved()
        self._counts = Facets()
        self._vector: np.ndarray | None = None
        self._lacking: list[str] = []

    @contextmanager
    def _blaming(self) -> Iterator[None]:
        """Raise ServiceUnavailable instead of UsageError if the index no longer exists although this process knew it.

        That is not the query's fault: the index was dropped, or its generation has just been retired.
        """
        try:
            yield
        except UsageError as error:
            if not is_lost(self.runtime, self.view.index):
                raise
            log.error("The store no longer has the index %s: %s", self.view.index, error)
            raise ServiceUnavailable(
                f"The index of the collection {self.view.collection!r} is missing.", HINT
            ) from error

    def gather(self) -> None:
        """Set ``retrieved`` to the candidates, count facets, and check the index for lost points."""
        with self._blaming():
            self._gather()

    def _gather(self) -> None:
        if self.plan.interpretation is not None:
            with self.watch.step("interpret"):
                self.plan = interpret(self.runtime, self.view, self._query, self.plan)
        self._vector = self._embedded()
        with self.watch.step("retrieve"):
            self.retrieved = retrieve(self.runtime, self.view, self.plan, self._vector)
            self._lacking = self.runtime.completeness.warnings(self.runtime, self.view)
        self._counts = self._counted(self.retrieved)

    def fuse_with_others(self, shares: dict[str, dict[str, float]]) -> None:
        """Set ``retrieved`` to the best candidates by ``shares``, which are taken over several collections."""
        with self._blaming(), self.watch.step("retrieve"):
            self.retrieved = fused_with_others(self.runtime, self.view, self.plan, self.retrieved, shares)

    def finish(self, outcome: Reranking) -> SearchAnswer:
        """Postprocess the reranked candidates and return the answer."""
        with self._blaming():
            done = self._postprocessed(self.retrieved, outcome, self._vector)
            explanation = self._document_explanation(self.retrieved, outcome, done)
        counted = self._counts
        answer = SearchAnswer(
            hits=done.hits,
            reranked=outcome.reranked,
            rerankers=[asdict(report) for report in outcome.reports],
            timings_ms=self.watch.timings_ms(),
            warnings=[*self.plan.warnings, *self._lacking, *counted.warnings, *outcome.warnings, *done.warnings],
            facets=counted.counts,
            document_explanation=explanation,
            interpretation=None if self.plan.interpretation is None else self.plan.interpretation.to_dict(),
        )
        for step, milliseconds in answer.timings_ms.items():
            self.runtime.tally.observe("search_step_duration_seconds", milliseconds / 1000, step=step)
        return answer

    def _embedded(self) -> np.ndarray | None:
        """Return the query's dense vector; None if there is no dense leg.

        A vector of a learned sparse model is computed too. It stays in the cache, where the sparse leg finds it.
        """
        runtime, view, text = self.runtime, self.view, self.plan.text
        by_model = self.plan.mode != "dense" and learned(view)
        if not text or (self.plan.mode == "sparse" and not by_model):
            return None
        with self.watch.step("embed"):
            if by_model:
                self._or_by("dense", lambda: runtime.query_vectors.sparse(runtime, view, text))
            if self.plan.mode == "sparse":
                return None
            vector: np.ndarray | None = self._or_by(
                "sparse", lambda: runtime.query_vectors.of(runtime, view, [text])[0]
            )
            return vector

    def _or_by(self, other: str, embed: Callable[[], Any]) -> Any:
        """Return the result of ``embed``. If its model is not the one that the index was built with, a hybrid search
        continues with the ``other`` leg alone and a warning, and the result is None; other searches raise
        FingerprintMismatch."""
        try:
            return embed()
        except FingerprintMismatch as error:
            if self.plan.mode != "hybrid":
                raise
            said = f"{ALONE[other]}: {error.message}"
            self.plan = replace(self.plan, mode=other, warnings=[*self.plan.warnings, said])
            return None

    def _counted(self, retrieved: Retrieved) -> Facets:
        if not self.plan.facets:
            return Facets()
        with self.watch.step("facets"):
            return count_facets(self.runtime, self.view, self.plan, retrieved)

    def reranked(
        self,
        candidates: Sequence[Candidate] | None = None,
        *,
        views: Mapping[str, SearchView] = MappingProxyType({}),
        further: bool | None = None,
    ) -> Reranking:
        """Rerank the ``candidates`` (None: those of this search) with the plan's rerankers.

        ``views`` maps ids of candidates from other collections to their views. For a ``further`` page (None: if the
        plan has an offset), the judgements for the page before are used again, if they are still kept.
        """
        candidates = self.retrieved.candidates if candidates is None else candidates
        if not (self.plan.rerankers and candidates and self.plan.text):
            return unranked(candidates)
        host, embedding = self.runtime.host, self.view.config.get("embedding")
        indexes = " ".join(dict.fromkeys(view.index for view in views.values())) or self.view.index

        def vectors(some: Sequence[Candidate]) -> list[np.ndarray | None]:
            return list(stored_vectors(self.runtime, {one.id: views.get(one.id, self.view) for one in some}).values())

        with self.watch.step("rerank"):
            return Rerankings.of(self.runtime).reranked(
                indexes,
                self.plan,
                candidates,
                lambda: rerank(host, self.plan, candidates, embedding, vectors),
                further=self.plan.offset > 0 if further is None else further,
            )

    def _postprocessed(self, retrieved: Retrieved, outcome: Reranking, vector: np.ndarray | None) -> Postprocessed:
        """Return the page, with an explanation of each hit if the plan asks for them."""
        plan, ranked = self.plan, outcome.ranked
        explanations = explained(plan, retrieved, outcome) if plan.explain else {}
        if not (plan.postprocessors and ranked):
            ids = [entry.candidate.id for entry in passing(ranked, plan)]
            return Postprocessed(hits=to_hits(ranked, plan, explanations), ids=ids)

        def deeper(count: int) -> Retrieved:
            more = replace(plan, candidates=count)
            found = retrieve(self.runtime, self.view, more, vector)
            if retrieved.shares is None:
                return found
            return fused_with_others(self.runtime, self.view, more, found, retrieved.shares)

        with self.watch.step("postprocess"):
            return postprocess(self.runtime, self.view, plan, ranked, deeper=deeper, explanations=explanations)

    def _document_explanation(
        self, retrieved: Retrieved, outcome: Reranking, done: Postprocessed
    ) -> dict[str, Any] | None:
        """Explain why the plan's ``explain_document`` is not among the hits; None if the plan names no document."""
        if self.plan.explain_document is None:
            return None
        with self.watch.step("explain"):
            names = ("added", "deeper", "explained", "ids", "left_out", "hits")
            way = Way(retrieved=retrieved, reranking=outcome, **{name: getattr(done, name) for name in names})
            return why_absent(self.runtime, self.view, self.plan, way)
