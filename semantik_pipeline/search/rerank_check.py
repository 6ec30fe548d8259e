"""Checks a reranker's answer, result by result, before it is used. Pure."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from typing import Any

#: Results that are read for each document that the reranker was given.
PATIENCE = 10


def accepted(results: Any, count: int) -> tuple[dict[int, float], list[str]]:
    """Return the usable scores by index, and a sentence for each kind of violation.

    A result is usable if its index is an integer from 0 to ``count - 1``, not seen before, and its score is finite. An
    endless list is not read to its end.
    """
    if not isinstance(results, Iterable):
        return {}, [f"returned a {type(results).__name__} instead of a list of results"]
    scores: dict[int, float] = {}
    faults: dict[str, int] = {}
    for number, result in enumerate(results):
        if number >= PATIENCE * (count + 1):
            return scores, [*_told(faults), "returned too many results; the rest was not read"]
        fault = _take(result, count, scores)
        if fault:
            faults[fault] = faults.get(fault, 0) + 1
    return scores, _told(faults)


def _told(faults: dict[str, int]) -> list[str]:
    return [f"{times} result(s) dropped: {fault}" for fault, times in faults.items()]


def _take(result: Any, count: int, scores: dict[int, float]) -> str | None:
    """Put the result's score into ``scores``, or return what is wrong with the result."""
    try:
        index, score = operator.index(result.index), float(result.score)
    except (AttributeError, TypeError, ValueError, OverflowError):
        return "not a RerankResult with an integer index and a number as score"
    if not 0 <= index < count:
        return "index out of range"
    if index in scores:
        return "index given twice"
    if not math.isfinite(score):
        return "score not finite"
    scores[index] = score
    return None
