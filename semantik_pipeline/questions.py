"""A search query as the command line, the API, the core and search workers exchange it.

Its JSON form is the body of ``POST /search``. ``search/request.py`` validates it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from semantik_pipeline.settings import Fusion

#: Fields that have another name in the API. All others have the same name.
IN_API = {
    "text": "query",
    "limit": "top_k",
    "mode": "search_mode",
    "rerank": "use_reranker",
    "reranker": "reranker_id",
    "candidates": "rerank_top_k",
}

#: Fields that callers of the API can't set: the server determines the caller and the deadlines.
NOT_IN_API = ("principals", "rerank_deadline", "reranked_for", "beyond")


@dataclass(frozen=True, kw_only=True)
class SearchQuery:
    """A query to one collection. For search options, None means: the collection's ``search`` part, else the settings.

    ``filter`` is Qdrant's filter JSON. ``reranker`` names one plugin, or several that run in order, each on the best
    hits of the previous one. ``dense_weight`` and ``rerank_weight`` are shares, 0..1; ``rerank_deadline`` is in
    seconds. ``candidates`` is how many of the fused hits the reranker gets; None: as many as a search for
    ``reranked_for`` hits needs (None: ``limit``), so that a large ``limit`` does not make the reranker read more.

    ``offset`` skips that many of the best hits; ``score_threshold`` drops hits with a lower score (0..1, see
    docs/search.md). ``beyond`` requests that many extra hits after the page; one shows whether there is a next page.

    ``principals`` are the caller's: the query finds documents open to one of them or to everybody; None: all documents.

    ``facets`` are fields whose values are counted; at most ``facet_limit`` values of each are returned. ``explain``
    adds to each hit how it got its score. ``explain_document`` asks why this document (its unique id, its path or the
    end of either) is not among the hits.

    ``postprocessors`` process the hits in order, each ``"ID"`` or ``{"plugin": "ID", "options": {...}}``; an empty list
    disables them.

    ``interpret``: phrases in quotes, ``-word`` and ``field:value`` have the meaning that docs/search.md describes, and
    typing errors are corrected. Otherwise the text is searched unchanged.
    """

    text: str
    collection: str = "default"
    limit: int = 10
    offset: int = 0
    beyond: int = 0
    mode: Literal["hybrid", "dense", "sparse"] = "hybrid"
    rerank: bool = True
    reranker: str | Sequence[str] | None = None
    filter: dict[str, Any] | None = None
    dense_weight: float | None = None
    fusion: Fusion | None = None
    rerank_weight: float | None = None
    rerank_deadline: float | None = None
    candidates: int | None = None
    reranked_for: int | None = None
    score_threshold: float | None = None
    principals: Collection[str] | None = None
    facets: tuple[str, ...] = ()
    facet_limit: int = 10
    explain: bool = False
    explain_document: str | None = None
    postprocessors: Sequence[str | dict[str, Any]] | None = None
    interpret: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "facets", tuple(self.facets))
        if self.principals is not None:  # a sorted tuple has a JSON form, which search workers need
            object.__setattr__(self, "principals", tuple(sorted(self.principals)))
        if self.reranker is not None and not isinstance(self.reranker, str):
            object.__setattr__(self, "reranker", tuple(self.reranker))

    def to_body(self) -> dict[str, Any]:
        """Return the body of ``POST /search`` for the same query; fields with their default value are left out."""
        given = ((one, getattr(self, one.name)) for one in fields(self) if one.name not in NOT_IN_API)
        return {
            IN_API.get(one.name, one.name): value
            for one, value in given
            if one.default is MISSING or value != one.default
        }

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> SearchQuery:
        """Build a query from such a body, which must be for a single collection."""
        return cls(**{_OURS.get(name, name): value for name, value in body.items()})


_OURS = {theirs: ours for ours, theirs in IN_API.items()}
