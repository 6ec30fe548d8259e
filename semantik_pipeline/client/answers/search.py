"""Responses of searches."""

from __future__ import annotations

from typing import Any, TypedDict


class HitScores(TypedDict):
    """Scores of a hit at each step: in each search leg (as the store returned it), fused (0..1), and reranked."""

    dense: float | None
    sparse: float | None
    fused: float | None
    rerank: float | None


class FacetValue(TypedDict):
    """A value of a field, and the number of matching documents that have it."""

    value: str | int | float | bool
    count: int


class LegExplanation(TypedDict):
    """Rank and score of a hit in one leg of the search; None: the leg did not find it."""

    rank: int | None
    score: float | None
    normalised: float
    weight: float


class FusionExplanation(TypedDict):
    """Rank and score of a hit after the legs were combined."""

    method: str
    rank: int
    score: float


class RerankerExplanation(TypedDict):
    """The effect of a reranker on a hit."""

    plugin: str
    score: float | None
    normalised: float
    weight: float
    rank: int
    blended: float


class PostprocessorExplanation(TypedDict):
    """A postprocessor that moved a hit or changed its score. ``rank_before`` is None if it added the hit."""

    plugin: str
    rank_before: int | None
    rank_after: int


class ScoreContribution(TypedDict):
    """What a leg, a reranker or a postprocessor contributes to the score of a hit."""

    component: str
    value: float


class ScoreExplanation(TypedDict):
    """How a hit got its score. The contributions add up to it."""

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
    """Characters ``start`` (inclusive) to ``end`` (exclusive) of a hit's text."""

    start: int
    end: int


class Highlight(TextSpan):
    """A part of a hit's text that matches a word or phrase of the query."""

    term: str


class ContextPassage(TypedDict):
    """A neighbouring chunk, without text that is in the hit. Offsets are in characters of the document's text."""

    text: str
    start: int
    end: int
    ordinal: int
    section: list[str]


class SearchHit(TypedDict):
    """A chunk that matches the query."""

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
    """What a reranker did with the hits of a collection. ``reason``: why it did not score all ``candidates``."""

    collection: str
    id: str
    scored: int
    candidates: int
    duration_ms: float
    reason: str | None


class QueryFilter(TypedDict):
    """A filter in the query: ``field:value``."""

    field: str
    value: str
    excluded: bool


class QueryInterpretation(TypedDict):
    """How a query was interpreted."""

    text: str
    phrases: list[str]
    excluded: list[str]
    filters: list[QueryFilter]
    corrections: dict[str, str]


class SearchResponse(TypedDict):
    """Hits, best first."""

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
    """The responses, in the order of the searches."""

    results: list[SearchResponse]
