"""Hits, and how they were found."""

from __future__ import annotations

from typing import Any, TypedDict


class HitScores(TypedDict):
    """Where a hit's score comes from: of each leg as the store gave it, of both together (0..1), of the reranker."""

    dense: float | None
    sparse: float | None
    fused: float | None
    rerank: float | None


class FacetValue(TypedDict):
    """A value of a field, and how many of the documents that the query matches have it."""

    value: str | int | float | bool
    count: int


class LegExplanation(TypedDict):
    """What a leg said of a hit; None: it missed it."""

    rank: int | None
    score: float | None
    normalised: float
    weight: float


class FusionExplanation(TypedDict):
    """What came of the legs."""

    method: str
    rank: int
    score: float


class RerankerExplanation(TypedDict):
    """What a reranker said of a hit, and what came of it."""

    plugin: str
    score: float | None
    normalised: float
    weight: float
    rank: int
    blended: float


class PostprocessorExplanation(TypedDict):
    """Where a postprocessor moved a hit from and to; None: it brought it in."""

    plugin: str
    rank_before: int | None
    rank_after: int


class ScoreContribution(TypedDict):
    """What a leg, a reranker or a postprocessor adds to a hit's score."""

    component: str
    value: float


class ScoreExplanation(TypedDict):
    """How a hit got its score. The parts add up to it."""

    legs: dict[str, LegExplanation]
    fused: FusionExplanation
    rerankers: list[RerankerExplanation]
    postprocessors: list[PostprocessorExplanation]
    contributions: list[ScoreContribution]


class DocumentExplanation(TypedDict):
    """Why a document is not among the hits."""

    document: str
    cause: str
    message: str
    details: dict[str, Any]


class TextSpan(TypedDict):
    """From character ``start`` to before ``end`` of a hit's text."""

    start: int
    end: int


class Highlight(TextSpan):
    """A place in a hit's text that meets a word or a phrase of the query."""

    term: str


class ContextPassage(TypedDict):
    """A chunk beside a hit, or the part of it that the hit does not have; offsets are the document's."""

    text: str
    start: int
    end: int
    ordinal: int
    section: list[str]


class SearchHit(TypedDict):
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
    scores: HitScores
    metadata: dict[str, Any]
    explanation: ScoreExplanation | None
    highlights: list[Highlight]
    passage: TextSpan | None
    grouped_hits: list[SearchHit]
    context_before: list[ContextPassage]
    context_after: list[ContextPassage]
    duplicates: list[str]


class RerankerReport(TypedDict):
    """What a reranker did: how many passages of a collection it scored, and why not all that it was due to read."""

    collection: str
    id: str
    scored: int
    candidates: int
    duration_ms: float
    reason: str | None


class QueryFilter(TypedDict):
    """``field:value`` of a query."""

    field: str
    value: str
    excluded: bool


class QueryInterpretation(TypedDict):
    """What a query says beside its words."""

    text: str
    phrases: list[str]
    excluded: list[str]
    filters: list[QueryFilter]
    corrections: dict[str, str]


class SearchResponse(TypedDict):
    """Hits, the best first, and how they were found."""

    hits: list[SearchHit]
    next_offset: int | None
    reranked: bool
    rerankers: list[RerankerReport]
    timings_ms: dict[str, float]
    warnings: list[str]
    facets: dict[str, list[FacetValue]]
    document_explanation: DocumentExplanation | None
    interpretation: QueryInterpretation | None


class BatchSearchResponse(TypedDict):
    """The answers, in the order of the questions."""

    results: list[SearchResponse]
