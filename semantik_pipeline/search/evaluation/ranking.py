"""From ranked chunks to ranked documents. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from semantik_pipeline.contracts.document_scores import document_score
from semantik_pipeline.documents import SearchHit


def rank(hits: Iterable[SearchHit], identify: Callable[[SearchHit], str], depth: int) -> list[str]:
    """The first ``depth`` of what the hits count as (their documents, say), each once, by the scores that their hits
    give them together (``document_score``); equal ones in the order of their best hits. ``hits`` are best first."""
    scores: dict[str, list[float]] = {}
    for hit in hits:
        scores.setdefault(identify(hit), []).append(hit.score)
    return sorted(scores, key=lambda one: -document_score(scores[one]))[:depth]


def as_run(found: list[str]) -> dict[str, float]:
    """Scores that keep exactly this order: measuring tools sort by score and break ties their own way."""
    return {one: float(len(found) - position) for position, one in enumerate(found)}
