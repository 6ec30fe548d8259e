"""Hits, and how they were found."""

from __future__ import annotations

from typing import Any, TypedDict


class Scores(TypedDict):
    """Where a hit's score comes from: of each leg as the store gave it, of both together (0..1), of the reranker."""

    dense: float | None
    sparse: float | None
    fused: float | None
    rerank: float | None


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


class RerankerReport(TypedDict):
    """What a reranker did: how many passages of a collection it scored, and why not all that it was due to read."""

    collection: str
    id: str
    scored: int
    due: int
    milliseconds: float
    reason: str | None


class Found(TypedDict):
    """Hits, the best first, and how they were found."""

    hits: list[Hit]
    next_offset: int | None
    reranked: bool
    rerankers: list[RerankerReport]
    timings_ms: dict[str, float]
    warnings: list[str]


class Answers(TypedDict):
    """The answers, in the order of the questions."""

    answers: list[Found]
