"""Retrieves candidates that may be shown: both legs in one call to the store, fused and checked against the ledger."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from semantik_pipeline.documents import Leg, SearchRequest
from semantik_pipeline.search.fusion import Candidate, fuse, leg_of
from semantik_pipeline.search.listing import listed
from semantik_pipeline.search.request import MAX_LIMIT, SearchPlan
from semantik_pipeline.search.understanding.confining import confined
from semantik_pipeline.search.visibility import shown

if TYPE_CHECKING:
    import numpy as np

    from semantik_pipeline.ledger.catalog.collections import SearchView
    from semantik_pipeline.runtime import Runtime

#: The minimum depth of each leg. Scores are normalized over this many results however deep a leg goes, so that all
#: pages have the same scores. Min-max needs the leg's lower end to tell a good score from a fair one: on Cranfield's
#: odd queries, nDCG@10 is 0.428 at 50, 0.434 at 100 and 0.439 at 200, and no better at 300 to 1,000.
LEG_DEPTH = 200
#: The maximum depth of a leg, however many of its results may not be shown.
MAX_LEG_DEPTH = 10_000


@dataclass(frozen=True, kw_only=True)
class Retrieved:
    """The result of a retrieval.

    ``candidates`` may be shown, best first. ``legs`` are the results that they were fused from, each best first, with
    points that may not be shown. The first ``scored`` of each leg (None: all) determined the scores. ``whole``: the
    legs have everything that matches. ``requests`` has the request of each leg. ``shares`` has each leg's scores mapped
    to 0..1 if they are taken over several collections; None: over ``legs`` alone.
    """

    candidates: list[Candidate] = field(default_factory=list)
    legs: dict[str, Leg] = field(default_factory=dict)
    scored: int | None = LEG_DEPTH
    whole: bool = True
    requests: dict[str, SearchRequest] = field(default_factory=dict)
    shares: dict[str, dict[str, float]] | None = None


def retrieve(runtime: Runtime, view: SearchView, plan: SearchPlan, vector: np.ndarray | None) -> Retrieved:
    """Return the best ``plan.candidates`` that may be shown, with their payloads; fewer if there are no more.

    ``vector`` is the query's embedding, (d,) float32; None without a dense leg. The legs are read without payloads:
    most payloads would not be used, and they take half the time of the search. Reads deeper while too few may be shown.
    """
    index = runtime.existing_index(runtime.generation(view.generation_id))
    if index is None:
        return Retrieved()
    if not plan.text:
        return Retrieved(candidates=listed(runtime, view.generation_id, index, plan))
    requests = _requests(runtime, view, plan, vector)
    reading = confined(runtime, view, index, plan, requests, enough=LEG_DEPTH, most=MAX_LEG_DEPTH)
    if reading is not None:
        requests = reading.requests()
    depth, scored = _first_depth(plan), True
    while True:
        by_name = _legs(runtime, index, requests, {LEG_DEPTH, depth} if scored else {depth})
        limit = LEG_DEPTH if scored else None
        found = _first_shown(runtime, view.generation_id, index, _fused(plan, by_name, limit), plan)
        exhausted = depth >= MAX_LEG_DEPTH or all(len(leg) < depth for leg in by_name.values())
        enough = len(found) >= plan.given
        if exhausted and not enough and reading is not None and reading.deeper():
            requests = reading.requests()
            continue
        if enough or exhausted:
            ended = all(len(leg) < (limit or depth) for leg in by_name.values())
            whole = ended and (reading is None or reading.exhausted)
            return Retrieved(candidates=found, legs=by_name, scored=limit, whole=whole, requests=requests)
        # If fewer than half are found, most are hidden, and the deeper points that are shown need scores of their own.
        scored = scored and len(found) >= LEG_DEPTH / 2
        depth = min(depth * 4, MAX_LEG_DEPTH)


def fused_with_others(
    runtime: Runtime, view: SearchView, plan: SearchPlan, retrieved: Retrieved, shares: dict[str, dict[str, float]]
) -> Retrieved:
    """Return ``retrieved`` with the best candidates by ``shares``, which are taken over several collections.

    The payloads of points that were candidates before are not read again.
    """
    index = runtime.existing_index(runtime.generation(view.generation_id))
    legs = {name: leg for name, leg in retrieved.legs.items() if name in shares}
    if index is None or not legs:
        return replace(retrieved, shares=shares)
    known = {candidate.id: candidate for candidate in retrieved.candidates}
    fused = _fused(plan, legs, retrieved.scored, shares)
    found = _first_shown(runtime, view.generation_id, index, fused, plan, known)
    return replace(retrieved, candidates=found, legs=legs, shares=shares)


def _fused(
    plan: SearchPlan, legs: dict[str, Leg], scored: int | None, shares: dict[str, dict[str, float]] | None = None
) -> Iterator[Candidate]:
    return fuse(legs, dense_weight=plan.dense_weight, method=plan.fusion, scored=scored, shares=shares)


def _first_depth(plan: SearchPlan) -> int:
    """Return how deep the legs are read at first. Hits beyond the page don't make it deeper."""
    if plan.candidates <= LEG_DEPTH + plan.beyond:
        return max(LEG_DEPTH, plan.candidates)
    return max(MAX_LIMIT, plan.candidates)


def _legs(runtime: Runtime, index: str, requests: dict[str, SearchRequest], depths: set[int]) -> dict[str, Leg]:
    """Read the legs, each point once.

    Each of the ``depths`` is a request of its own. The request for the points that determine the scores is the same on
    each page; deeper points are read by another one, because a deeper search may order equal scores differently.
    """
    asked = [(name, replace(one, limit=depth)) for depth in sorted(depths) for name, one in requests.items()]
    answers = runtime.host.call(runtime.store.search, index, [one for _, one in asked])
    if len(depths) == 1:
        return {name: leg_of(answer) for name, answer in zip(requests, answers, strict=True)}
    legs: dict[str, dict[str, float]] = {}
    for (name, _), answer in zip(asked, answers, strict=True):
        leg = legs.setdefault(name, {})
        for id, score in leg_of(answer).by_id.items():
            leg.setdefault(id, score)
    return {name: Leg(list(leg), list(leg.values())) for name, leg in legs.items()}


def _requests(
    runtime: Runtime, view: SearchView, plan: SearchPlan, vector: np.ndarray | None
) -> dict[str, SearchRequest]:
    legs: dict[str, SearchRequest] = {}
    if plan.mode in ("dense", "hybrid"):
        legs["dense"] = SearchRequest(vector=vector, filter=plan.filter, with_payload=False)
    if plan.mode in ("sparse", "hybrid"):
        legs["sparse"] = _sparse_leg(runtime, view, plan)
    return legs


def learned(view: SearchView) -> bool:
    """Return whether the collection's sparse leg is by a learned model instead of BM25."""
    return bool((view.config.get("sparse") or {}).get("plugin"))


def _sparse_leg(runtime: Runtime, view: SearchView, plan: SearchPlan) -> SearchRequest:
    """Return a request by the query's words (BM25), or by the query's vector of the collection's sparse model."""
    if learned(view):
        vector = runtime.query_vectors.sparse(runtime, view, plan.text)
        return SearchRequest(sparse=vector, filter=plan.filter, with_payload=False)
    languages = runtime.index_languages.of(runtime, view)
    text = plan.words or plan.text
    return SearchRequest(text=text, filter=plan.filter, with_payload=False, languages=languages)


def _first_shown(
    runtime: Runtime,
    generation_id: int,
    index: str,
    fused: Iterator[Candidate],
    plan: SearchPlan,
    known: Mapping[str, Candidate] = MappingProxyType({}),
) -> list[Candidate]:
    """Return the first ``plan.candidates`` of the fused points that may be shown, with their payloads.

    ``known`` candidates, by id, have their payloads and were checked before.
    """
    found: list[Candidate] = []
    wanted = plan.candidates
    for batch in _batches(fused, wanted):
        ids = [candidate.id for candidate in batch if candidate.id not in known]
        payloads = _payloads(runtime, index, ids) if ids else {}
        new = [replace(candidate, payload=payloads[candidate.id]) for candidate in batch if candidate.id in payloads]
        may_be_shown = shown(runtime, generation_id, new, plan.principals)
        there = {**known, **{candidate.id: candidate for candidate in may_be_shown}}
        found += [replace(one, payload=there[one.id].payload) for one in batch if one.id in there]
        if len(found) >= wanted:
            break
    return found[:wanted]


def _payloads(runtime: Runtime, index: str, ids: list[str]) -> dict[str, dict[str, Any]]:
    page, _ = runtime.host.call(runtime.store.scroll, index, filter={"must": [{"has_id": ids}]}, limit=len(ids))
    return {point.id: point.payload for point in page}


def _batches(candidates: Iterator[Candidate], size: int) -> Iterator[list[Candidate]]:
    """Yield batches, each twice as long as the one before: points that are hidden are rare, but then there are many."""
    while batch := list(islice(candidates, size)):
        yield batch
        size *= 2
