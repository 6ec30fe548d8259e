"""Hits, and how they were found."""

from __future__ import annotations

from typing import Any, TypedDict


class Scores(TypedDict):
    """Where a hit's score comes from: of each leg as the store gave it, of both together (0..1), of the reranker."""

    dense: float | None
    sparse: float | None
    fused: float | None
    rerank: float | None


class FacetValue(TypedDict):
    """A value of a field, and how many of the documents that the query matches have it."""

    value: str | int | float | bool
    count: int


class LegPart(TypedDict):
    """What a leg said of a hit; None: it missed it."""

    rank: int | None
    score: float | None
    normalised: float
    weight: float


class FusedPart(TypedDict):
    """What came of the legs."""

    method: str
    rank: int
    score: float


class RerankPart(TypedDict):
    """What a reranker said of a hit, and what came of it."""

    plugin: str
    score: float | None
    share: float
    weight: float
    rank: int
    blended: float


class Moved(TypedDict):
    """Where a postprocessor moved a hit from and to; None: it brought it in."""

    plugin: str
    before: int | None
    after: int


class ScorePart(TypedDict):
    """What a leg, a reranker or a postprocessor adds to a hit's score."""

    of: str
    adds: float


class Explanation(TypedDict):
    """How a hit got its score. The parts add up to it."""

    legs: dict[str, LegPart]
    fused: FusedPart
    rerankers: list[RerankPart]
    postprocessors: list[Moved]
    parts: list[ScorePart]


class Absent(TypedDict):
    """Why a document is not among the hits."""

    document: str
    cause: str
    told: str
    details: dict[str, Any]


class Span(TypedDict):
    """From character ``start`` to before ``end`` of a hit's text."""

    start: int
    end: int


class Highlight(Span):
    """A place in a hit's text that meets a word or a phrase of the query."""

    term: str


class Passage(TypedDict):
    """A chunk beside a hit, or the part of it that the hit does not have; offsets are the document's."""

    text: str
    start: int
    end: int
    ordinal: int
    section: list[str]


class Hit(TypedDict):
    """A passage that answers."""

    rank: int
    collection: str
    document: str
    title: str | None
    text: str
    start: int
    end: int
    score: float
    rerank_score: float | None
    scores: Scores
    metadata: dict[str, Any]
    explanation: Explanation | None
    highlights: list[Highlight]
    passage: Span | None
    more: list[Hit]
    before: list[Passage]
    after: list[Passage]
    also_in: list[str]


class RerankerReport(TypedDict):
    """What a reranker did: how many passages of a collection it scored, and why not all that it was due to read."""

    collection: str
    id: str
    scored: int
    due: int
    milliseconds: float
    reason: str | None


class QueryFilter(TypedDict):
    """``field:value`` of a query."""

    field: str
    value: str
    excluded: bool


class Understood(TypedDict):
    """What a query says beside its words."""

    text: str
    phrases: list[str]
    excluded: list[str]
    filters: list[QueryFilter]
    corrections: dict[str, str]


class Found(TypedDict):
    """Hits, the best first, and how they were found."""

    hits: list[Hit]
    next_offset: int | None
    reranked: bool
    rerankers: list[RerankerReport]
    timings_ms: dict[str, float]
    warnings: list[str]
    facets: dict[str, list[FacetValue]]
    absent: Absent | None
    understood: Understood | None


class Answers(TypedDict):
    """The answers, in the order of the questions."""

    answers: list[Found]
