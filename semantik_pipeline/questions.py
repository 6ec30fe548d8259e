"""A question as everybody passes it on: the command line, the API, the core, search workers.

Its form in JSON is the body of ``POST /search``. Checking it is the core's (``search/request.py``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from semantik_pipeline.settings import Fusion

#: Fields that the API calls otherwise. All others have one name.
IN_API = {
    "text": "query",
    "limit": "top_k",
    "mode": "search_mode",
    "rerank": "use_reranker",
    "reranker": "reranker_id",
    "candidates": "rerank_top_k",
}

#: Fields that no caller of the API sets: a server knows who asks, and how long it waits.
NOT_IN_API = ("principals", "rerank_deadline", "reranked_for", "beyond")


@dataclass(frozen=True, kw_only=True)
class SearchQuery:
    """One question to one collection.

    ``filter`` is Qdrant's filter JSON. ``reranker`` names a plugin, or several in a row, each
    of which reads the best of what the one before gave (None: the collection's, else the settings').
    ``dense_weight`` and ``rerank_weight`` are shares, 0..1; ``rerank_deadline`` is in seconds. ``candidates`` is how
    many of the fused hits the reranker gets; None: as many as suit a search for ``reranked_for`` hits (None: ``limit``),
    so that one who asks for more hits than a person sees lets it read no more. ``offset`` leaves out that many of the best
    hits, and ``score_threshold`` those with a lower score (0..1, see docs/search.md). ``beyond`` asks for so many hits
    behind the page beside it: one shows whether there is another page. None means: as the collection says (its part
    ``search``), else the settings.

    ``principals`` are the caller's: it finds what is open to one of them or to everybody; None means everything.

    ``facets`` are fields whose values are counted, at most ``facet_limit`` of each told. ``explain`` asks for each hit
    how it got its score, ``explain_document`` why this document (by its unique id, its path or the end of one) is not
    among the hits.

    ``postprocessors`` work on the hits one after the other, each ``"ID"`` or ``{"plugin": "ID", "options": {…}}``; an
    empty list leaves all out.

    ``interpret``: phrases in quotes, ``-word`` and ``field:value`` mean what docs/search.md says, and typing errors are
    mended; else the text is asked as it stands.
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
        if self.principals is not None:  # as JSON has it, for search workers
            object.__setattr__(self, "principals", tuple(sorted(self.principals)))
        if self.reranker is not None and not isinstance(self.reranker, str):
            object.__setattr__(self, "reranker", tuple(self.reranker))

    def to_body(self) -> dict[str, Any]:
        """The body of ``POST /search`` that asks the same; what nobody set is left out."""
        given = ((one, getattr(self, one.name)) for one in fields(self) if one.name not in NOT_IN_API)
        return {
            IN_API.get(one.name, one.name): value
            for one, value in given
            if one.default is MISSING or value != one.default
        }

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> SearchQuery:
        """What such a body asks of one collection; it names no others."""
        return cls(**{_OURS.get(name, name): value for name, value in body.items()})


_OURS = {theirs: ours for ours, theirs in IN_API.items()}
