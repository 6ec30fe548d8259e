"""Turns scores into results."""

from __future__ import annotations

from collections.abc import Iterable

from semantik_pipeline.documents import RerankResult


def best_first(scores: Iterable[float], top_k: int | None = None) -> list[RerankResult]:
    """One result for each score, best first (equal scores keep their order): all of them or the best ``top_k``."""
    results = [RerankResult(index, float(score)) for index, score in enumerate(scores)]
    return sorted(results, key=lambda result: -result.score)[:top_k]
