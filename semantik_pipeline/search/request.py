"""Turns a query into a checked plan."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, get_args

from semantik_pipeline.contracts.filter_bounds import MOST_LEVELS
from semantik_pipeline.contracts.filters import parse_filter
from semantik_pipeline.errors import UsageError
from semantik_pipeline.questions import SearchQuery
from semantik_pipeline.search.facets import check_facets
from semantik_pipeline.search.postprocess_choice import ChosenPostprocessor, chosen_postprocessors
from semantik_pipeline.search.rerank_choice import ChosenReranker, chosen_rerankers
from semantik_pipeline.search.understanding.meaning import Interpretation, meaning
from semantik_pipeline.search.understanding.planning import filters
from semantik_pipeline.settings import Fusion

MAX_LIMIT = 1000
#: A longer query is cut to so many characters, with a warning. No embedding model has a window of that length.
MAX_QUERY_CHARACTERS = 8000

MODES = ("hybrid", "dense", "sparse")
FUSIONS = get_args(Fusion)


@dataclass(frozen=True, kw_only=True)
class SearchPlan:
    """A checked query with every default filled in.

    ``candidates`` is how many fused hits are kept, at least ``given``. ``to_rerank`` is how many of them the first of
    the ``rerankers`` (possibly none) may read. A reranker reads fewer if it declares fewer to be worth reading for
    ``reranked_for`` hits; None: the caller chose the number, and it is not reduced.

    ``text`` is the interpreted text, without lone surrogates and at most MAX_QUERY_CHARACTERS long. If the query is
    only a filter it is empty, and documents are listed. ``words`` is the text of the BM25 leg if it differs. ``loose``
    is the filter without the conditions on what chunks must contain or must not contain (phrases and exclusions).
    """

    text: str
    limit: int
    offset: int = 0
    beyond: int = 0
    mode: str
    filter: dict[str, Any] | None
    principals: Collection[str] | None = None
    dense_weight: float
    fusion: str
    candidates: int
    to_rerank: int
    reranked_for: int | None = None
    rerank_weight: float
    rerank_deadline: float
    score_threshold: float | None = None
    rerankers: tuple[ChosenReranker, ...] = ()
    facets: tuple[str, ...] = ()
    facet_limit: int | None = 10  # None: all values, to be added up
    explain: bool = False
    explain_document: str | None = None
    postprocessors: tuple[ChosenPostprocessor, ...] = ()
    interpretation: Interpretation | None = None
    words: str | None = None
    loose: dict[str, Any] | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def last(self) -> int:
        """The rank of the page's last hit."""
        return self.offset + self.limit

    @property
    def given(self) -> int:
        """The rank of the last hit that is returned, on the page or beyond it."""
        return self.last + self.beyond

    @property
    def phrases(self) -> tuple[str, ...]:
        """The phrases that a hit must contain literally."""
        return self.interpretation.phrases if self.interpretation else ()


def candidates_for(limit: int, per_hit: int = 5) -> int:
    """Return how many candidates a reranker gets for ``limit`` hits: ``per_hit`` times as many, within 20..200."""
    return min(max(limit * per_hit, 20), 200)


def plan_search(query: SearchQuery, settings: Any, collection: dict[str, Any]) -> SearchPlan:
    """Check the query and fill in the defaults: the collection's configuration, then ``settings`` (``search``).

    Raises UsageError that names the invalid value.
    """
    _check(query)
    text, warnings = _readable(query.text)
    interpretation = meaning(text) if query.interpret else None
    text = interpretation.text if interpretation else text
    hits = query.reranked_for or query.limit
    to_rerank = (query.candidates or candidates_for(hits)) if query.rerank else 0
    own = collection.get("search") or {}
    rerankers = chosen_rerankers(query.reranker, collection, settings.reranker)
    return SearchPlan(
        text=text,
        limit=query.limit,
        offset=query.offset,
        beyond=query.beyond,
        mode=query.mode,
        **filters(query, interpretation or Interpretation(text=text)),
        principals=query.principals,
        dense_weight=_share("dense_weight", _given(query.dense_weight, own.get("dense_weight"), settings.dense_weight)),
        fusion=_given(query.fusion, own.get("fusion"), settings.fusion),
        candidates=max(query.offset + query.limit + query.beyond, to_rerank),
        to_rerank=to_rerank,
        reranked_for=hits if query.candidates is None else None,
        rerank_weight=_share(
            "rerank_weight", _given(query.rerank_weight, own.get("rerank_weight"), settings.rerank_weight)
        ),
        rerank_deadline=_given(query.rerank_deadline, settings.rerank_deadline),
        score_threshold=query.score_threshold,
        rerankers=rerankers if query.rerank and text else (),
        facets=tuple(dict.fromkeys(query.facets)),
        facet_limit=query.facet_limit,
        explain=query.explain,
        explain_document=query.explain_document,
        postprocessors=chosen_postprocessors(query.postprocessors, collection, settings.postprocessors),
        interpretation=interpretation,
        warnings=[*warnings, *(interpretation.warnings if interpretation else ())],
    )


def _check(query: SearchQuery) -> None:
    if not isinstance(query.text, str) or not _readable(query.text)[0]:
        raise UsageError("The query is empty.", "Give a text to search for.")
    if not 1 <= query.limit <= MAX_LIMIT:
        raise UsageError(f"The limit {query.limit} is out of range.", f"Choose a limit from 1 to {MAX_LIMIT}.")
    if not 0 <= query.offset <= MAX_LIMIT - query.limit:
        told = f"Hits {query.offset} to {query.offset + query.limit} are not all among the first {MAX_LIMIT}."
        raise UsageError(told, "Narrow the search with a filter.")
    if not 0 <= query.beyond <= MAX_LIMIT - query.offset - query.limit:
        raise UsageError(f"{query.beyond} hits beyond the page are not all among the first {MAX_LIMIT}.")
    if query.score_threshold is not None and not math.isfinite(query.score_threshold):
        raise UsageError(f"score_threshold is {query.score_threshold}; it must be a score, 0..1.")
    if query.candidates is not None and not 1 <= query.candidates <= MAX_LIMIT:
        raise UsageError(f"{query.candidates} candidates are out of range.", f"Choose from 1 to {MAX_LIMIT}.")
    if query.filter is not None and not isinstance(query.filter, dict):
        raise UsageError(
            f"The filter is a {type(query.filter).__name__}, not a JSON object.",
            'It looks like {"must": [{"key": "language", "match": {"value": "en"}}]}.',
        )
    parse_filter(query.filter, levels=MOST_LEVELS)
    check_facets(query.facets, query.facet_limit, query.principals)
    if query.explain_document is not None and _readable(query.explain_document)[0] != query.explain_document.strip():
        raise UsageError(
            f"explain_document is {query.explain_document[:80]!r}, which can't be the name of a document.",
            "Give a document's unique id, its path, or the end of one.",
        )
    if query.rerank_deadline is not None and not query.rerank_deadline >= 0:
        raise UsageError(f"rerank_deadline is {query.rerank_deadline}; it must be a number of seconds, 0 or more.")
    _one_of("mode", query.mode, MODES)
    _one_of("fusion", query.fusion, (None, *FUSIONS))


def _one_of(name: str, value: Any, known: tuple) -> None:
    if value not in known:
        raise UsageError(f"There is no {name} {value!r}.", f"Choose one of {', '.join(k for k in known if k)}.")


def _share(name: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise UsageError(f"{name} is {value}; it must be a number from 0 to 1.")
    return value


def _given(*values: Any) -> Any:
    """Return the first value that is not None."""
    return next((value for value in values if value is not None), None)


def _readable(text: str) -> tuple[str, list[str]]:
    """Return the text as valid UTF-8 of limited length, and warnings about changes.

    Lone surrogates and NUL are replaced: tokenizers reject the former, PostgreSQL the latter.
    """
    clean = text.encode("utf-8", "replace").decode("utf-8").replace("\x00", " ").strip()
    if len(clean) <= MAX_QUERY_CHARACTERS:
        return clean, []
    return clean[:MAX_QUERY_CHARACTERS], [f"the query was cut to its first {MAX_QUERY_CHARACTERS} characters"]
