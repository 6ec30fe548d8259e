"""Several collections asked one question: their hits in one order. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice

from semantik_pipeline.documents import SearchHit
from semantik_pipeline.questions import SearchQuery
from semantik_pipeline.search.answer import SearchAnswer
from semantik_pipeline.search.facets import MOST_VALUES


@dataclass(frozen=True, kw_only=True)
class HitOf:
    """A hit, and the collection that has it. Its rank is among all of them."""

    collection: str
    hit: SearchHit


def whole(query: SearchQuery, collection: str) -> SearchQuery:
    """What each collection is asked, that any page of all their hits can be cut from the answers, and their facets added
    up."""
    limit = query.offset + query.limit
    return replace(query, collection=collection, offset=0, limit=limit, facet_limit=MOST_VALUES)


def merged(answers: Mapping[str, SearchAnswer], *, offset: int, limit: int) -> list[HitOf]:
    """The hits of all answers by their scores, which are 0..1 in each; of equal ones those of the first collection
    first. A collection's own order stays, also where a postprocessor made it another than that of the scores."""
    each = [[HitOf(collection=name, hit=hit) for hit in answer.hits] for name, answer in answers.items()]
    page = islice(heapq.merge(*each, key=lambda one: -one.hit.score), offset, offset + limit)
    return [replace(one, hit=replace(one.hit, rank=rank)) for rank, one in enumerate(page, offset + 1)]
