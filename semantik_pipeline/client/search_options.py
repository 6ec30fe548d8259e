"""The options of a search, as keyword arguments and as a dict."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, Required, TypedDict


class SearchOptions(TypedDict, total=False):
    """The options of a search; docs/search.md describes each of them. An option that is missing or None gets the
    server's default: the collection ``default``, 10 hits, and otherwise the collection's configuration."""

    collection: str | None
    collections: Collection[str] | None
    top_k: int
    offset: int
    search_mode: Literal["hybrid", "dense", "sparse"]
    filter: Mapping[str, Any] | None
    use_reranker: bool
    reranker_id: str | Sequence[str] | None
    rerank_top_k: int | None
    fusion: Literal["minmax", "rrf", "dbsf"] | None
    dense_weight: float | None
    rerank_weight: float | None
    score_threshold: float | None
    facets: Collection[str]
    facet_limit: int
    explain: bool
    explain_document: str | None
    postprocessors: Sequence[str | Mapping[str, Any]] | None
    interpret: bool


class SearchRequest(SearchOptions):
    """A search of a batch."""

    query: Required[str]
