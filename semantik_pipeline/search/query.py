"""The one entry of search: query → candidates → fusion → rerank → hits."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from typing import Any

from semantik_pipeline.search.absence import Way, why_absent
from semantik_pipeline.search.answer import SearchAnswer, passing, to_hits
from semantik_pipeline.search.blending import unranked
from semantik_pipeline.search.explanation import explained
from semantik_pipeline.search.facets import Facets, count_facets
from semantik_pipeline.search.fusion import Candidate
from semantik_pipeline.search.postprocessing import Postprocessed, check_postprocessors, postprocess
from semantik_pipeline.search.request import SearchPlan, SearchQuery, plan_search
from semantik_pipeline.search.reranking import rerank
from semantik_pipeline.search.retrieval import retrieve
from semantik_pipeline.search.stopwatch import Stopwatch
from semantik_pipeline.search.understanding.planning import understand


def search(runtime: Any, query: SearchQuery) -> SearchAnswer:
    """Answer one query from the generation that the ledger says is active.

    ``runtime`` gives ``settings``, ``ledger``, ``store``, ``host``, ``embedder``, ``completeness``,
    ``index_languages``, ``query_vectors`` and ``tally``. Blocks;
    may be called from several threads. Raises UsageError (empty query, unknown collection, bad filter), DimensionMismatch,
    PluginNotFoundError (the embedding plugin, or a reranker that the query names) and ServiceUnavailable (store).
    """
    return search_view(runtime, runtime.ledger.search_view(query.collection), query)


def check_search(runtime: Any, query: SearchQuery, collection: dict[str, Any] | None = None) -> SearchPlan:
    """The plan of a query, made before anything is loaded or asked; ``collection`` is a collection's configuration.

    Raises UsageError for what makes no sense, and PluginNotFoundError for a reranker that the query names and that is
    not loaded.
    """
    plan = plan_search(query, runtime.settings.search, collection or {})
    for reranker in plan.rerankers:
        if reranker.named:
            runtime.host.registry.get(reranker.plugin, "reranker")
    return check_postprocessors(runtime.host, plan)


def search_view(runtime: Any, view: Any, query: SearchQuery) -> SearchAnswer:
    """The same from a generation of the caller's choice, which need not be the active one."""
    watch = Stopwatch()
    plan = check_search(runtime, query, view.config)
    if plan.understood is not None:
        with watch.step("understand"):
            plan = understand(runtime, view, query, plan)
    vector = None
    if plan.mode != "sparse" and plan.text:
        with watch.step("embed"):
            (vector,) = runtime.query_vectors.of(runtime, view, [plan.text])
    with watch.step("retrieve"):
        retrieved = retrieve(runtime, view, plan, vector)
        lacking = runtime.completeness.warnings(runtime, view)
    counted = Facets()
    if plan.facets:
        with watch.step("facets"):
            counted = count_facets(runtime, view, plan, retrieved)
    candidates = retrieved.candidates
    outcome = unranked(candidates)
    if plan.rerankers and candidates and plan.text:
        with watch.step("rerank"):
            outcome = rerank(runtime.host, plan, candidates, view.config.get("embedding"))
    explanations = explained(plan, retrieved, outcome) if plan.explain else {}
    if plan.postprocessors and candidates:
        deeper = partial(_candidates, runtime, view, plan, vector)
        with watch.step("postprocess"):
            done = postprocess(runtime, view, plan, outcome.ranked, deeper=deeper, explanations=explanations)
    else:
        ids = [entry.candidate.id for entry in passing(outcome.ranked, plan)]
        done = Postprocessed(hits=to_hits(outcome.ranked, plan, explanations), ids=ids)
    absent = None
    if plan.explain_document is not None:
        with watch.step("explain"):
            way = Way(retrieved=retrieved, reranking=outcome, ids=done.ids, left_out=done.left_out, hits=done.hits)
            absent = why_absent(runtime, view, plan, way)
    timings = watch.timings_ms()
    for step, milliseconds in timings.items():
        runtime.tally.observe("search_seconds", milliseconds / 1000, step=step)
    return SearchAnswer(
        hits=done.hits,
        reranked=outcome.reranked,
        rerankers=[asdict(report) for report in outcome.reports],
        timings_ms=timings,
        warnings=[*plan.warnings, *lacking, *counted.warnings, *outcome.warnings, *done.warnings],
        facets=counted.counts,
        absent=absent,
        understood=None if plan.understood is None else plan.understood.to_dict(),
    )


def _candidates(runtime: Any, view: Any, plan: SearchPlan, vector: Any, count: int) -> list[Candidate]:
    """The best so many candidates."""
    return retrieve(runtime, view, replace(plan, candidates=count), vector).candidates
