"""Turns ranked chunks into ranked documents. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from semantik_pipeline.contracts.document_scores import document_score
from semantik_pipeline.documents import SearchHit


def rank(hits: Iterable[SearchHit], identify: Callable[[SearchHit], str], depth: int) -> list[str]:
    """Return the first ``depth`` items that the hits count as (for example, their documents), each once.

    Items are ranked by the scores of their hits together (``document_score``), equal ones in the order of their best
    hits. ``hits`` are best first.
    """
    scores: dict[str, list[float]] = {}
    for hit in hits:
        scores.setdefault(identify(hit), []).append(hit.score)
    return sorted(scores, key=lambda one: -document_score(scores[one]))[:depth]


def as_run(found: list[str]) -> dict[str, float]:
    """Return scores that preserve exactly this order: ir_measures sorts by score and breaks ties in its own way."""
    return {one: float(len(found) - position) for position, one in enumerate(found)}
