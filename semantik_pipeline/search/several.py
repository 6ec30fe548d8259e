"""Searches several collections with one query, in parallel, and merges their hits.

Collections with comparable scores (the same embedding model, sparse leg, fusion, weights and rerankers) are searched
*together*. Each leg's scores are normalized over all of them, so that a collection without relevant documents has no
high scores, and the best candidates of all are reranked once, within one deadline. Scores of other collections can't be
compared.
"""

from __future__ import annotations

import contextvars
import heapq
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import chain, islice, zip_longest
from typing import TYPE_CHECKING, Any, TypeVar

from semantik_pipeline.documents import SearchHit
from semantik_pipeline.questions import SearchQuery
from semantik_pipeline.search.answer import SearchAnswer
from semantik_pipeline.search.blending import Reranking, blend_judged, unranked
from semantik_pipeline.search.facets import Counts, merged_facets
from semantik_pipeline.search.fusion import normalised
from semantik_pipeline.search.postprocessing import comparing
from semantik_pipeline.search.query import OneSearch

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime

#: The maximum of collections that are searched in parallel.
SIDE_BY_SIDE = 8

One = TypeVar("One")
Made = TypeVar("Made")


@dataclass(frozen=True, kw_only=True)
class HitOf:
    """A hit and its collection. The hit's rank is among the hits of all collections."""

    collection: str
    hit: SearchHit


@dataclass(frozen=True, kw_only=True)
class SeveralAnswers:
    """Each collection's answer. ``together`` has the groups that were searched together; each collection is in one
    group. ``facets`` are those of all collections; an answer has its own collection's."""

    answers: dict[str, SearchAnswer]
    together: list[list[str]]
    facets: Counts = field(default_factory=dict)


def search_several(runtime: Runtime, query: SearchQuery, among: Sequence[str]) -> SeveralAnswers:
    """Search the collections ``among`` with one query. Raises what :func:`search` raises for the first that fails."""
    asked = {name: OneSearch(runtime, runtime.ledger.search_view(name), whole(query, name)) for name in among}
    for one in asked.values():
        one.plan = replace(one.plan, facet_limit=None)
    _side_by_side(OneSearch.gather, list(asked.values()))
    groups: dict[str, list[str]] = {}
    for name, one in asked.items():
        groups.setdefault(_means(one), []).append(name)
    together = list(groups.values())

    def rerank(names: list[str]) -> list[Reranking]:
        return _reranked([asked[name] for name in names], further=query.offset > 0)

    outcomes = list(chain.from_iterable(_side_by_side(rerank, together)))
    order = [asked[name] for name in chain.from_iterable(together)]
    done = _side_by_side(lambda one: one[0].finish(one[1]), list(zip(order, outcomes, strict=True)))
    found = dict(zip(chain.from_iterable(together), done, strict=True))
    _say_what_saw_each_alone(asked, found)
    facets = merged_facets([found[name].facets for name in among], query.facet_limit)
    return SeveralAnswers(answers={name: _cut(found[name], query) for name in among}, together=together, facets=facets)


def _say_what_saw_each_alone(asked: Mapping[str, OneSearch], found: dict[str, SearchAnswer]) -> None:
    """Warn about postprocessors that compare hits but saw each collection's hits separately.

    Each collection has its own index and context. The warning is added once, to the first of the collections.
    """
    having: dict[str, list[str]] = {}
    for name, one in asked.items():
        for plugin in comparing(one.runtime.host, one.plan) if found[name].hits else ():
            having.setdefault(plugin, []).append(name)
    for plugin, names in having.items():
        if len(names) > 1:
            first = found[names[0]]
            told = f"{plugin} processed each collection separately, and did not compare hits across collections"
            found[names[0]] = replace(first, warnings=[*first.warnings, told])


def _cut(answer: SearchAnswer, query: SearchQuery) -> SearchAnswer:
    """Limit the answer's facets to the query's number of values. More values were counted only to be added up."""
    return replace(answer, facets={key: values[: query.facet_limit] for key, values in answer.facets.items()})


def whole(query: SearchQuery, collection: str) -> SearchQuery:
    """Return the query for one collection: all hits up to the end of the page, so that the page of the merged hits can
    be cut from the answers. The reranker reads the same number of candidates on each page."""
    return replace(
        query,
        collection=collection,
        offset=0,
        limit=query.offset + query.limit,
        reranked_for=query.reranked_for or query.limit,
    )


def merged(several: SeveralAnswers, *, offset: int, limit: int) -> list[HitOf]:
    """Merge the hits and return the page.

    Within a group that was searched together, hits are merged by score; with equal scores, the first collection's hits
    come first. Several groups alternate: the first hit of each, the second of each, and so on. A collection's own order
    is kept, even where a postprocessor changed it so that it is not by score.
    """
    groups = [
        heapq.merge(*(_hits(name, several.answers[name]) for name in names), key=lambda one: -one.hit.score)
        for names in several.together
    ]
    every = (one for row in zip_longest(*groups) for one in row if one is not None)
    page = islice(every, offset, offset + limit)
    return [replace(one, hit=replace(one.hit, rank=rank)) for rank, one in enumerate(page, offset + 1)]


def _hits(collection: str, answer: SearchAnswer) -> list[HitOf]:
    return [HitOf(collection=collection, hit=hit) for hit in answer.hits]


def _side_by_side(work: Callable[[One], Made], asked: Sequence[One]) -> list[Made]:
    """Run ``work`` on each item in parallel. Returns the results in order; raises what the first that fails raises."""
    if len(asked) == 1:
        return [work(asked[0])]
    contexts = [contextvars.copy_context() for _ in asked]
    with ThreadPoolExecutor(min(SIDE_BY_SIDE, len(asked)), thread_name_prefix="several") as threads:
        return list(threads.map(lambda context, one: context.run(work, one), contexts, asked))


def _means(one: OneSearch) -> str:
    """Return a key that is equal for searches with comparable scores."""
    plan, generation = one.plan, one.runtime.generation(one.view.generation_id)
    chosen = [(reranker.plugin, reranker.options) for reranker in plan.rerankers]
    ways = [plan.mode, plan.fusion, plan.dense_weight, chosen, plan.rerank_weight, bool(plan.text)]
    made_by = [generation.fingerprints.get("embed"), one.view.config.get("sparse")]
    return json.dumps([*ways, *made_by], sort_keys=True, default=str)


def _reranked(some: Sequence[OneSearch], *, further: bool) -> list[Reranking]:
    """Rerank the best candidates of all searches together. Returns each search's part of the result."""
    if len(some) == 1:
        return [some[0].reranked(further=further)]
    if some[0].plan.text:
        shares = _shares_of_all(some)
        _side_by_side(lambda one: one.fuse_with_others(shares), some)
    every = sorted(chain.from_iterable(one.retrieved.candidates for one in some), key=lambda one: -one.fused)
    asker = max(some, key=lambda one: len(one.plan.interpretation.corrections) if one.plan.interpretation else 0)
    views = {candidate.id: one.view for one in some for candidate in one.retrieved.candidates}
    outcome = asker.reranked(every, views=views, further=further)
    return [_part(outcome, one, asker.plan, warned=one is asker) for one in some]


def _shares_of_all(some: Sequence[OneSearch]) -> dict[str, dict[str, float]]:
    """Return each leg's scores mapped to 0..1 over all searches."""
    legs: dict[str, dict[str, float]] = {}
    for one in some:
        for name, leg in one.retrieved.legs.items():
            if leg:
                legs.setdefault(name, {}).update(leg[: one.retrieved.scored].by_id)
    legs = {name: dict(sorted(leg.items(), key=lambda point: -point[1])) for name, leg in legs.items()}
    return normalised(legs, some[0].plan.fusion)


def _part(outcome: Reranking, one: OneSearch, plan: Any, *, warned: bool) -> Reranking:
    """Return the part of the outcome that concerns one collection. ``warned``: it gets the warnings for all."""
    mine = {candidate.id for candidate in one.retrieved.candidates}
    judgements = {entry.candidate.id: entry.judgements for entry in outcome.ranked}
    every = unranked([entry.candidate for entry in outcome.ranked], judgements).ranked
    order = sorted(every, key=lambda entry: -entry.score)
    reports = []
    for report in outcome.reports:
        read = order[: report.candidates]
        own = [entry for entry in read if entry.candidate.id in mine]
        scored = sum(entry.judgement_of(report.id) is not None for entry in own)
        # A reranker that could not start has no candidates, and its reason concerns every collection.
        said = report.reason if scored < len(own) or not report.candidates else None
        reports.append(replace(report, scored=scored, candidates=len(own), reason=said))
        if report.scored:
            order = blend_judged(order, report.id, plan.rerank_weight)
    return Reranking(
        ranked=[entry for entry in outcome.ranked if entry.candidate.id in mine],
        reports=reports,
        warnings=outcome.warnings if warned else [],
        among_others=outcome.blended,
    )
