"""Search: one query, or several at once, in one collection or in several."""

from __future__ import annotations

import contextvars
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

from fastapi import Request

from semantik_pipeline.api import trusted
from semantik_pipeline.api.dependencies import Reader, TheRuntime
from semantik_pipeline.api.models.explanations import DocumentExplanation, FacetValue, ScoreExplanation
from semantik_pipeline.api.models.hits import ContextPassage, Highlight, TextSpan
from semantik_pipeline.api.models.query_interpretation import QueryInterpretation
from semantik_pipeline.api.models.search import (
    BatchSearchRequest,
    BatchSearchResponse,
    HitScores,
    RerankerReport,
    SearchHit,
    SearchRequest,
    SearchResponse,
)
from semantik_pipeline.api.problems import documented
from semantik_pipeline.api.routing import guarded
from semantik_pipeline.contracts.auth import Principal
from semantik_pipeline.runtime import Runtime
from semantik_pipeline.search import SearchAnswer, SearchQuery, merged
from semantik_pipeline.search.batches import embed_together, plan_together
from semantik_pipeline.search.facets import Counts
from semantik_pipeline.search.permitted import check_question
from semantik_pipeline.search.request import MAX_LIMIT
from workers.remote_search import Searching

router = guarded("search", "/search")

#: Number of searches of a batch that run at once. Their queries are embedded together, and several search workers can
#: share them.
SIDE_BY_SIDE = 8


@router.post("", operation_id="search", summary="Search one collection, or several.", responses=documented(404))
def ask(request: Request, runtime: TheRuntime, caller: Reader, asked: SearchRequest) -> SearchResponse:
    _require(runtime, caller, asked)
    _count(request, caller, [asked])
    return _found(request, caller, asked)


@router.post("/batch", operation_id="search_batch", summary="Run several searches at once.", responses=documented(404))
def batch(request: Request, runtime: TheRuntime, caller: Reader, asked: BatchSearchRequest) -> BatchSearchResponse:
    for one in asked.searches:
        _require(runtime, caller, one)
    _count(request, caller, asked.searches)
    here = runtime.settings.search.execution == "local"
    planned = plan_together(runtime, _each(caller, asked.searches), here=here)
    if here:
        embed_together(runtime, planned)
    ask_one = partial(_found, request, caller)
    contexts = [contextvars.copy_context() for _ in asked.searches]
    with ThreadPoolExecutor(min(SIDE_BY_SIDE, len(contexts)), thread_name_prefix="batch") as threads:
        results = threads.map(lambda context, one: context.run(ask_one, one), contexts, asked.searches)
        return BatchSearchResponse(results=list(results))


def _each(caller: Principal, searches: list[SearchRequest]) -> Iterator[SearchQuery]:
    """Yield each query once for each of its collections."""
    for one in searches:
        asked = replace(one.question(), principals=caller.principals)
        yield from (replace(asked, collection=name) for name in one.among)


def _require(runtime: Runtime, caller: Principal, asked: SearchRequest) -> None:
    for collection in asked.among:
        caller.require("reader", collection)
    check_question(asked.filter, caller.principals)
    options = [one.options for one in asked.postprocessors or () if not isinstance(one, str)]
    # only an administrator's options may name environment variables or hosts
    trusted.check_collection(runtime.settings, caller, {"postprocessors": options})


def _count(request: Request, caller: Principal, searches: list[SearchRequest]) -> None:
    """Count the searches against the caller's rate: each search counts once for each collection, and once more with
    ``explain_document``. The request itself has already been counted as one."""
    asked = sum(len(one.among) + (one.explain_document is not None) for one in searches)
    request.app.state.rates.more(caller.name, asked - 1)


def _found(request: Request, caller: Principal, asked: SearchRequest) -> SearchResponse:
    """Run the search. It requests one hit more than the page has, which shows whether there is another page."""
    beyond = min(1, MAX_LIMIT - asked.offset - asked.top_k)
    query = replace(asked.question(), beyond=beyond, principals=caller.principals)
    answers, hits, facets = _answered(request.app.state.searching, query, asked.among)
    return SearchResponse(
        hits=hits[: asked.top_k],
        next_offset=asked.offset + asked.top_k if len(hits) > asked.top_k else None,
        reranked=any(answer.reranked for answer in answers.values()),
        rerankers=_reports(answers),
        timings_ms=_timings(answers),
        warnings=_warnings(answers),
        facets={key: [FacetValue.model_validate(one) for one in values] for key, values in facets.items()},
        document_explanation=_document_explanation(answers[asked.among[0]]),
        interpretation=_interpretation([*answers.values()]),
    )


def _answered(
    searching: Searching, query: SearchQuery, among: list[str]
) -> tuple[dict[str, SearchAnswer], list[SearchHit], Counts]:
    """Search the collections. Returns the answer of each, in their order; the merged page of their hits; and the facets
    counted over all of them."""
    if len(among) == 1:
        answer = searching(replace(query, collection=among[0]))
        return {among[0]: answer}, [_hit(among[0], hit) for hit in answer.hits], answer.facets
    several = searching.several(query, among)
    page = merged(several, offset=query.offset, limit=query.limit + query.beyond)
    return several.answers, [_hit(one.collection, one.hit) for one in page], several.facets


def _hit(collection: str, hit: Any) -> SearchHit:
    return SearchHit(
        rank=hit.rank,
        collection=collection,
        document=hit.document,
        title=hit.title,
        text=hit.text,
        start=hit.start,
        end=hit.end,
        score=hit.score,
        rerank_score=hit.scores.get("rerank"),
        scores=HitScores.model_validate(hit.scores),
        metadata=hit.metadata,
        explanation=None if hit.explanation is None else ScoreExplanation.model_validate(hit.explanation),
        highlights=[Highlight(start=one.start, end=one.end, term=one.term) for one in hit.highlights],
        passage=None if hit.passage is None else TextSpan(start=hit.passage.start, end=hit.passage.end),
        grouped_hits=[_hit(collection, one) for one in hit.grouped_hits],
        context_before=[ContextPassage.model_validate(vars(one)) for one in hit.context_before],
        context_after=[ContextPassage.model_validate(vars(one)) for one in hit.context_after],
        duplicates=hit.duplicates,
    )


def _interpretation(answers: list[SearchAnswer]) -> QueryInterpretation | None:
    """The interpretation of the first answer, with the corrections of all of them, which may differ by collection."""
    told = [answer.interpretation for answer in answers if answer.interpretation is not None]
    if not told:
        return None
    corrections = {word: meant for one in reversed(told) for word, meant in one["corrections"].items()}
    return QueryInterpretation.model_validate({**told[0], "corrections": corrections})


def _document_explanation(answer: SearchAnswer) -> DocumentExplanation | None:
    told = answer.document_explanation
    if told is None:
        return None
    named = ("document", "cause", "message")
    details = {name: value for name, value in told.items() if name not in named}
    return DocumentExplanation(**{name: told[name] for name in named}, details=details)


def _reports(answers: dict[str, SearchAnswer]) -> list[RerankerReport]:
    return [RerankerReport(collection=name, **one) for name, answer in answers.items() for one in answer.rerankers]


def _timings(answers: dict[str, SearchAnswer]) -> dict[str, float]:
    """The longest time of each step, because the collections are searched concurrently."""
    longest: dict[str, float] = {}
    for answer in answers.values():
        longest |= {step: max(took, longest.get(step, 0.0)) for step, took in answer.timings_ms.items()}
    return {step: round(milliseconds, 2) for step, milliseconds in longest.items()}


def _warnings(answers: dict[str, SearchAnswer]) -> list[str]:
    """The warnings of all answers; with several collections, each starts with its collection's name."""
    if len(answers) == 1:
        return [warning for answer in answers.values() for warning in answer.warnings]
    return [f"{name}: {warning}" for name, answer in answers.items() for warning in answer.warnings]
