"""Lists the documents that meet a filter, each once, for queries without text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from semantik_pipeline.contracts.filters import Clauses, HasId, parse_filter, root
from semantik_pipeline.search.fusion import Candidate
from semantik_pipeline.search.visibility import shown

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime
    from semantik_pipeline.search.request import SearchPlan

#: Payload fields that are the same in all chunks of a document. Other fields can differ between chunks, and so can
#: extractors' results (entities, keywords, a language).
OF_DOCUMENT = frozenset(
    {
        *("document_id", "document", "source", "source_type", "title", "path", "media_type", "metadata"),
        *("principals", "size", "created", "modified", "indexed"),
    }
)

#: Points that one request to the store reads.
PAGE = 200


def listed(runtime: Runtime, generation_id: int, index: str, plan: SearchPlan) -> list[Candidate]:
    """Return a candidate for each of the first ``plan.candidates`` documents with a chunk that meets the filter and may
    be shown.

    They are in the store's order and have equal scores. A candidate is the document's first chunk if the filter
    concerns only fields of documents, else a chunk that meets the filter.
    """
    of_documents = _asks_documents(parse_filter(plan.filter))
    first = [{"key": "ordinal", "match": {"value": 0}}] if of_documents else []
    must = [*first, *([plan.filter] if plan.filter else [])]
    found: dict[int, Candidate] = {}
    after: str | None = None
    while len(found) < plan.candidates:
        # Exclude documents that were found, so that the chunks of a long document are not all read.
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
    """Return whether either all chunks of a document meet the filter or none does."""
    if clauses is None:
        return True
    inside = (*clauses.must, *clauses.should, *clauses.must_not, *clauses.min_should)
    return all(
        _asks_documents(one)
        if isinstance(one, Clauses)
        else not isinstance(one, HasId) and root(one.key).strip('"') in OF_DOCUMENT
        for one in inside
    )
