"""What a filter may hold, before any of it is read: what Python, JSON and every store can take."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from semantik_pipeline.errors import UsageError

#: Levels of JSON, an object and a list for each filter within a filter, of what somebody asks with ...
MOST_LEVELS = 64
#: ... and of that with what a search puts around it. A server's JSON parser ends at 128.
MOST_AROUND = 96


def check_bounds(filter: Any, levels: int = MOST_AROUND) -> None:
    """Raise UsageError for more ``levels`` than that, and for text that is no Unicode (lone surrogates).

    Goes down without recursion, so that nothing is too deep for it.
    """
    left: list[tuple[Any, int]] = [(filter, 0)]
    while left:
        one, level = left.pop()
        if isinstance(one, str):
            _check_text(one)
        elif isinstance(one, dict | list | tuple | set | frozenset):
            if level == levels:
                raise UsageError(f"The filter has more than {levels} levels of JSON.", "Put less into one another.")
            left += [(inner, level + 1) for inner in _inside(one)]


def _inside(one: Any) -> Iterable[Any]:
    """What is to be looked at; of a long list of texts or numbers that is one text, or nothing."""
    if isinstance(one, dict):
        return [*one, *one.values()]
    kinds = set(map(type, one))
    return ["".join(one)] if kinds == {str} else () if kinds == {int} else one


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        shown = text[max(0, error.start - 20) : error.start + 20]
        raise UsageError(f"The filter holds half a character: {shown!r}.", "Text is Unicode.") from None


def number(value: float) -> float:
    """The number as stores compare it, in float64. Raises ValueError for one that has no place there."""
    try:
        found = float(value)
    except OverflowError as error:
        raise ValueError("too large") from error
    if abs(found) < float("inf"):
        return found
    raise ValueError("not finite")


def instant(text: Any) -> datetime:
    """What a date or a time as ISO 8601 writes it says, in UTC; what names no zone is UTC. Raises ValueError for what is
    none, and for what lies outside the years 1 to 9999 there."""
    try:
        found = datetime.fromisoformat(text)
        return found.replace(tzinfo=found.tzinfo or UTC).astimezone(UTC)
    except (TypeError, OverflowError) as error:
        raise ValueError(str(error)) from error
