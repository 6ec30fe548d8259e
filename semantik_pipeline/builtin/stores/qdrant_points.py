"""Converts points, search legs and answers to and from qdrant-client's types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from semantik_pipeline.builtin.stores.bm25 import Bm25Vectors, sparse_query
from semantik_pipeline.builtin.stores.checks import query_vector, slices, sparse_rows, vector_rows
from semantik_pipeline.builtin.stores.client_filters import client_filter
from semantik_pipeline.contracts.vectordb import Filter
from semantik_pipeline.documents import IndexSpec, Point, ScoredPoint, SearchRequest
from semantik_pipeline.errors import UsageError

if TYPE_CHECKING:
    from qdrant_client import models

#: Ids in one operation.
IDS = 1000


def structs_of(
    name: str, points: Sequence[Point], spec: IndexSpec, bm25: Bm25Vectors | None
) -> list[models.PointStruct]:
    from qdrant_client import models

    made = []
    rows, terms_of = vector_rows(name, points, spec.dimension), sparse_rows(name, points, spec)
    for point, dense, given in zip(points, rows, terms_of, strict=True):
        vectors: dict[str, Any] = {"dense": dense}
        if given is not None:
            vectors["sparse"] = models.SparseVector(indices=given.indices, values=given.values)
        elif bm25 is not None:
            terms = bm25.document(point.sparse_text, point.language)
            vectors["sparse"] = models.SparseVector(indices=terms.indices, values=terms.values)
        made.append(models.PointStruct(id=point.id, vector=vectors, payload=point.payload))
    return made


def query_of(
    name: str, request: SearchRequest, spec: IndexSpec, bm25: Bm25Vectors | None, only_indexed: bool
) -> models.QueryRequest | None:
    """The leg in the server's format; None for a BM25 leg without terms, which finds nothing."""
    from qdrant_client import models

    query: Any = query_vector(name, request, spec)
    using = "dense"
    if query is None:
        terms = sparse_query(bm25, request)
        if not terms.indices:
            return None
        query, using = models.SparseVector(indices=terms.indices, values=terms.values), "sparse"
    return models.QueryRequest(
        query=query,
        using=using,
        filter=client_filter(request.filter),
        limit=request.limit,
        with_payload=request.with_payload,
        params=models.SearchParams(indexed_only=True) if only_indexed and using == "dense" else None,
    )


def scored_points(hits: Sequence[models.ScoredPoint]) -> list[ScoredPoint]:
    return [ScoredPoint(id=str(hit.id), score=hit.score, payload=hit.payload or {}) for hit in hits]


def selections(name: str, ids: Sequence[str] | None, filter: Filter | None) -> list[models.Filter]:
    """Filters that together select the points with these ids that match ``filter``."""
    if ids is not None:
        return [client_filter(filter, list(some)) for some in slices(ids, IDS)]
    if filter is None:
        raise UsageError(f"No points of {name} are selected.", "Give ids, a filter, or both.")
    return [client_filter(filter)]
