"""Search hits and their parts. Frozen; change a value with ``dataclasses.replace``.

Import them from :mod:`.documents`, together with the pipeline's other values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Span:
    """A part of a hit's text, from character ``start`` to before ``end``."""

    start: int
    end: int


@dataclass(frozen=True)
class Highlight(Span):
    """A place in a hit's text that matches ``term``, a word or a phrase of the query."""

    term: str


@dataclass(frozen=True)
class Passage:
    """A chunk next to a hit, or the part of it that the hit does not contain; offsets are those of the document."""

    text: str
    start: int
    end: int
    ordinal: int
    section: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class SearchHit:
    """A chunk that answers a query. ``document`` is the document's unique id.

    The fields after ``explanation`` are set by postprocessors. In ``grouped_hits``, ``rank`` is the rank within the
    document.
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
    explanation: dict[str, Any] | None = None  # how the score was computed, if requested
    highlights: list[Highlight] = field(default_factory=list)
    passage: Span | None = None  # the part of the text that best answers the query
    grouped_hits: list[SearchHit] = field(default_factory=list)  # other hits of the same document
    context_before: list[Passage] = field(default_factory=list)  # in document order
    context_after: list[Passage] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)  # documents left out because their text is nearly the same

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> SearchHit:
        """Rebuild a hit from the result of ``dataclasses.asdict``, also after a round trip through JSON."""
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
