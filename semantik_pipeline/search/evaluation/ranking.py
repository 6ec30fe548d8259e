"""From ranked chunks to ranked documents. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from semantik_pipeline.documents import SearchHit


def rank(hits: Iterable[SearchHit], identify: Callable[[SearchHit], str], depth: int) -> list[str]:
    """The first ``depth`` of what the hits count as (their documents, say), in the order of the best hits, each once.
    ``hits`` are best first."""
    return list(dict.fromkeys(identify(hit) for hit in hits))[:depth]


def as_run(found: list[str]) -> dict[str, float]:
    """Scores that keep exactly this order: measuring tools sort by score and break ties their own way."""
    return {one: float(len(found) - position) for position, one in enumerate(found)}
