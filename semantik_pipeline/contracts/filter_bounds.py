"""Limits of a filter, checked before any of it is read: what Python, JSON and every store can handle."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from semantik_pipeline.errors import UsageError

#: The most levels of JSON in a caller's filter. A filter within a filter takes two, an object and a list.
MOST_LEVELS = 64
#: The same, with what a search adds around the filter. A server's JSON parser stops at 128.
MOST_AROUND = 96


def check_bounds(filter: Any, levels: int = MOST_AROUND) -> None:
    """Raise UsageError for more than that many ``levels``, and for text that is not Unicode (lone surrogates).

    It does not use recursion, so no filter is too deep for it.
    """
    left: list[tuple[Any, int]] = [(filter, 0)]
    while left:
        one, level = left.pop()
        if isinstance(one, str):
            _check_text(one)
        elif isinstance(one, dict | list | tuple | set | frozenset):
            if level == levels:
                raise UsageError(f"The filter has more than {levels} levels of JSON.", "Nest it less deeply.")
            left += [(inner, level + 1) for inner in _inside(one)]


def _inside(one: Any) -> Iterable[Any]:
    """Return what to check. For a long list of texts or of numbers, that is one text, or nothing."""
    if isinstance(one, dict):
        return [*one, *one.values()]
    kinds = set(map(type, one))
    return ["".join(one)] if kinds == {str} else () if kinds == {int} else one


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        shown = text[max(0, error.start - 20) : error.start + 20]
        raise UsageError(f"The filter has an unpaired surrogate: {shown!r}.", "Write it as valid Unicode.") from None


def number(value: float) -> float:
    """Return the number as stores compare it, in float64. Raises ValueError for one that float64 can't hold."""
    try:
        found = float(value)
    except OverflowError as error:
        raise ValueError("too large") from error
    if abs(found) < float("inf"):
        return found
    raise ValueError("not finite")


def instant(text: Any) -> datetime:
    """Read an ISO 8601 date or time, and return it in UTC. Without a zone, it is taken as UTC.

    Raises ValueError for text that is not a date or time, and for one outside the years 1 to 9999 in UTC.
    """
    try:
        found = datetime.fromisoformat(text)
        return found.replace(tzinfo=found.tzinfo or UTC).astimezone(UTC)
    except (TypeError, OverflowError) as error:
        raise ValueError(str(error)) from error
