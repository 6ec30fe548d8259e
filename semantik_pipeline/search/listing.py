"""What meets a filter, where a query says nothing else: each document once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from semantik_pipeline.contracts.filters import Clauses, HasId, parse_filter, root
from semantik_pipeline.search.fusion import Candidate
from semantik_pipeline.search.visibility import shown

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime
    from semantik_pipeline.search.request import SearchPlan

#: Fields of a point that are its document's, the same in each of its chunks. All others may be a chunk's own, what
#: extractors found (entities, keywords, a language) too.
OF_DOCUMENT = frozenset(
    {
        *("document_id", "document", "source", "source_type", "title", "path", "media_type", "metadata"),
        *("principals", "size", "created", "modified", "indexed"),
    }
)

#: Points that one question to the store reads.
PAGE = 200


def listed(runtime: Runtime, generation_id: int, index: str, plan: SearchPlan) -> list[Candidate]:
    """The first ``plan.candidates`` documents that have a chunk which meets the filter and may be shown, in the store's
    order, none better than another. Each comes with its first chunk if the filter asks about documents alone, else with
    one that meets it."""
    of_documents = _asks_documents(parse_filter(plan.filter))
    first = [{"key": "ordinal", "match": {"value": 0}}] if of_documents else []
    must = [*first, *([plan.filter] if plan.filter else [])]
    found: dict[int, Candidate] = {}
    after: str | None = None
    while len(found) < plan.candidates:
        # So that a long document is not read to its end.
        known = [] if of_documents or not found else [{"key": "document_id", "match": {"any": list(found)}}]
        only = {"must": must, "must_not": known}
        page, after = runtime.host.call(runtime.store.scroll, index, filter=only, after=after, limit=PAGE)
        candidates = [Candidate(id=point.id, fused=1.0, payload=point.payload) for point in page]
        for candidate in shown(runtime, generation_id, candidates, plan.principals):
            found.setdefault(candidate.payload["document_id"], candidate)
        if after is None:
            break
    return list(found.values())[: plan.candidates]


def _asks_documents(clauses: Clauses | None) -> bool:
    """Whether the filter is met by all chunks of a document or by none."""
    if clauses is None:
        return True
    inside = (*clauses.must, *clauses.should, *clauses.must_not, *clauses.min_should)
    return all(
        _asks_documents(one)
        if isinstance(one, Clauses)
        else not isinstance(one, HasId) and root(one.key).strip('"') in OF_DOCUMENT
        for one in inside
    )
