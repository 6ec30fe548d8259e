"""Several collections asked one question, side by side: their hits in one order.

Those whose scores mean the same (of one embedding model, with the same words' leg, fusion, weights and rerankers) are
asked *together*: each leg's scores are taken over all of them, so that a collection which knows nothing of the matter has
no good hits, and the best of all are reranked once, within one deadline. Others' scores can't be compared.
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

#: Collections that are asked at once.
SIDE_BY_SIDE = 8

One = TypeVar("One")
Made = TypeVar("Made")


@dataclass(frozen=True, kw_only=True)
class HitOf:
    """A hit, and the collection that has it. Its rank is among all of them."""

    collection: str
    hit: SearchHit


@dataclass(frozen=True, kw_only=True)
class SeveralAnswers:
    """Each collection's answer, and which were asked together: all of them are in one of the groups. ``facets`` are those
    of all; an answer has its own collection's."""

    answers: dict[str, SearchAnswer]
    together: list[list[str]]
    facets: Counts = field(default_factory=dict)


def search_several(runtime: Runtime, query: SearchQuery, among: Sequence[str]) -> SeveralAnswers:
    """Ask each of these collections. Raises what :func:`search` raises, for the first of them that can't be asked."""
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
    """Postprocessors work on each collection's hits, whose indexes and contexts are its own. Where that shows, a warning
    says so, once, with the first of them."""
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
    """The answer without the facets' values that were counted to be added up alone."""
    return replace(answer, facets={key: values[: query.facet_limit] for key, values in answer.facets.items()})


def whole(query: SearchQuery, collection: str) -> SearchQuery:
    """What each collection is asked, that any page of all their hits can be cut from the answers. The reranker reads as
    many on each page."""
    return replace(
        query,
        collection=collection,
        offset=0,
        limit=query.offset + query.limit,
        reranked_for=query.reranked_for or query.limit,
    )


def merged(several: SeveralAnswers, *, offset: int, limit: int) -> list[HitOf]:
    """The hits of collections that were asked together by their scores, of equal ones those of the first collection
    first; of several such groups the first of each, the second of each, and so on. A collection's own order stays, also
    where a postprocessor made it another than that of the scores."""
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
    """What ``work`` makes of each, in their order; raises what the first of them raises."""
    if len(asked) == 1:
        return [work(asked[0])]
    contexts = [contextvars.copy_context() for _ in asked]
    with ThreadPoolExecutor(min(SIDE_BY_SIDE, len(asked)), thread_name_prefix="several") as threads:
        return list(threads.map(lambda context, one: context.run(work, one), contexts, asked))


def _means(one: OneSearch) -> str:
    """The same for searches whose scores mean the same."""
    plan, generation = one.plan, one.runtime.generation(one.view.generation_id)
    chosen = [(reranker.plugin, reranker.options) for reranker in plan.rerankers]
    ways = [plan.mode, plan.fusion, plan.dense_weight, chosen, plan.rerank_weight, bool(plan.text)]
    made_by = [generation.fingerprints.get("embed"), one.view.config.get("sparse")]
    return json.dumps([*ways, *made_by], sort_keys=True, default=str)


def _reranked(some: Sequence[OneSearch], *, further: bool) -> list[Reranking]:
    """Each one's candidates in their order after the rerankers, which have read the best of all."""
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
    """Each leg's scores as shares of 0..1 among all of them."""
    legs: dict[str, dict[str, float]] = {}
    for one in some:
        for name, leg in one.retrieved.legs.items():
            if leg:
                legs.setdefault(name, {}).update(leg[: one.retrieved.scored].by_id)
    legs = {name: dict(sorted(leg.items(), key=lambda point: -point[1])) for name, leg in legs.items()}
    return normalised(legs, some[0].plan.fusion)


def _part(outcome: Reranking, one: OneSearch, plan: Any, *, warned: bool) -> Reranking:
    """What of the outcome is about this collection. What is to be said of all is said once."""
    mine = {candidate.id for candidate in one.retrieved.candidates}
    judgements = {entry.candidate.id: entry.judgements for entry in outcome.ranked}
    every = unranked([entry.candidate for entry in outcome.ranked], judgements).ranked
    order = sorted(every, key=lambda entry: -entry.score)
    reports = []
    for report in outcome.reports:
        read = order[: report.candidates]
        own = [entry for entry in read if entry.candidate.id in mine]
        scored = sum(entry.judgement_of(report.id) is not None for entry in own)
        said = (
            report.reason if scored < len(own) or not report.candidates else None
        )  # one that could not begin was due nothing
        reports.append(replace(report, scored=scored, candidates=len(own), reason=said))
        if report.scored:
            order = blend_judged(order, report.id, plan.rerank_weight)
    return Reranking(
        ranked=[entry for entry in outcome.ranked if entry.candidate.id in mine],
        reports=reports,
        warnings=outcome.warnings if warned else [],
        among_others=outcome.blended,
    )
