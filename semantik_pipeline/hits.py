"""A hit as a search shows it. Frozen; change is ``dataclasses.replace``.

Of the values that flow these are the last; everybody imports them from :mod:`.documents`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
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
    section: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SearchHit:
    """A chunk that answers a query. ``document`` is the document's unique id.

    What follows the explanation is postprocessors' work. Of a hit in ``more`` the rank is that within its document.
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
    highlights: tuple[Highlight, ...] = ()
    passage: Span | None = None  # the part of the text that answers best
    more: tuple[SearchHit, ...] = ()  # other hits of the same document
    before: tuple[Passage, ...] = ()  # in the document's order, as `after`
    after: tuple[Passage, ...] = ()
    also_in: tuple[str, ...] = ()  # documents that say nearly the same, and were left out

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> SearchHit:
        """The hit that ``dataclasses.asdict``, and then perhaps JSON, made this of."""
        passage = told.get("passage")
        return cls(
            **{
                **told,
                "highlights": tuple(Highlight(**one) for one in told.get("highlights", ())),
                "passage": Span(**passage) if passage else None,
                "more": tuple(cls.from_dict(one) for one in told.get("more", ())),
                "before": _passages(told.get("before", ())),
                "after": _passages(told.get("after", ())),
                "also_in": tuple(told.get("also_in", ())),
            }
        )


def _passages(told: Iterable[Mapping[str, Any]]) -> tuple[Passage, ...]:
    return tuple(Passage(**{**one, "section": tuple(one.get("section", ()))}) for one in told)
