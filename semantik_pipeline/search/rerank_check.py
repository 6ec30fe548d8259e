"""What a reranker answers is checked, result by result, before it may move a hit. Pure."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from typing import Any

#: Results that are looked at for each document that was given.
PATIENCE = 10


def accepted(results: Any, count: int) -> tuple[dict[int, float], list[str]]:
    """The usable scores by index, and a sentence for each kind of violation.

    Usable: an integer index within 0..count, seen once (the first one counts), with a finite score. A list that goes on
    and on is not read to its end.
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
    """Put the result's score into ``scores``, or say what is wrong with it."""
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
