"""A hit as a search shows it. Frozen; change is ``dataclasses.replace``.

Of the values that flow these are the last; everybody imports them from :mod:`.documents`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Span:
    """From character ``start`` to before ``end`` of a hit's text."""

    start: int
    end: int


@dataclass(frozen=True)
class Highlight(Span):
    """A place in a hit's text that meets ``term``, a word or a phrase of the query."""

    term: str


@dataclass(frozen=True)
class Passage:
    """A chunk beside a hit, or the part of it that the hit does not have; offsets are the document's."""

    text: str
    start: int
    end: int
    ordinal: int
    section: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class SearchHit:
    """A chunk that answers a query. ``document`` is the document's unique id.

    What follows the explanation is postprocessors' work. Of a hit in ``grouped_hits`` the rank is that within its document.
    """

    rank: int
    score: float
    document: str
    title: str | None
    text: str
    start: int
    end: int
    metadata: dict[str, Any]
    scores: dict[str, float | None]
    explanation: dict[str, Any] | None = None  # how it got its score, if that was asked for
    highlights: list[Highlight] = field(default_factory=list)
    passage: Span | None = None  # the part of the text that answers best
    grouped_hits: list[SearchHit] = field(default_factory=list)  # other hits of the same document
    context_before: list[Passage] = field(default_factory=list)  # in the document's order
    context_after: list[Passage] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)  # documents that say nearly the same, and were left out

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> SearchHit:
        """The hit that ``dataclasses.asdict``, and then perhaps JSON, made this of."""
        passage = told.get("passage")
        return cls(
            **{
                **told,
                "highlights": [Highlight(**one) for one in told.get("highlights", ())],
                "passage": Span(**passage) if passage else None,
                "grouped_hits": [cls.from_dict(one) for one in told.get("grouped_hits", ())],
                "context_before": [Passage(**one) for one in told.get("context_before", ())],
                "context_after": [Passage(**one) for one in told.get("context_after", ())],
            }
        )
