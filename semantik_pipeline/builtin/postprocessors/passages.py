"""Finds the part of a text that answers best, by the query's words that occur together in it. Pure functions."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from semantik_pipeline.documents import Highlight, Span

#: The end of a sentence, or of a line that stands on its own. The pattern starts with a set of characters, which the
#: regular expression engine searches for quickly.
_END = re.compile(
    r"""[.!?…。！？\n](?:(?<=[.!?…])["'”’)\]]*\s|(?<=[。！？])|(?<=\n)(?=[^\S\n]*(?:\n|[-*•#|]|\d+[.)]\s)))\s*"""
)


def best_passage(text: str, matches: Sequence[Highlight], length: int) -> Span | None:
    """The best run of whole sentences of at most ``length`` characters; None if nothing matches.

    The run with the most different terms wins, then the one with the most matches, then the first. A longer sentence is
    cut between words. ``matches`` are in order and do not overlap."""
    if not matches:
        return None
    whole = trimmed(text, 0, len(text))
    if whole.end - whole.start <= length:
        return whole
    places = _Places(matches)
    starts, ends = _bounds(text)
    best, most, before = whole, (0, 0), slice(0)
    for first, start in enumerate(starts):
        end = ends[max(first, bisect_right(ends, start + length) - 1)]
        if end - start > length:
            start, end = _cut(text, start, end, places, length)
        within = places.within(start, end)
        if within != before and (worth := places.worth(within)) > most:  # most windows have the same matches
            best, most = Span(start, end), worth
        before = within
    return trimmed(text, best.start, best.end) if most[0] else None


def sentences_of(text: str) -> list[Span]:
    """The sentences of the text, without the white space between them."""
    return list(map(Span, *_bounds(text)))


def _bounds(text: str) -> tuple[list[int], list[int]]:
    """Where each sentence starts, and where each ends."""
    starts, ends = list[int](), list[int]()
    at = 0
    for end in (*(found.end() for found in _END.finditer(text)), len(text)):
        start, stop = _trimmed(text, at, end)
        if stop > start:
            starts.append(start)
            ends.append(stop)
        at = end
    return starts, ends


def trimmed(text: str, start: int, end: int) -> Span:
    """The span without white space at its ends."""
    return Span(*_trimmed(text, start, end))


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    inner = text[start:end].lstrip()
    return end - len(inner), end - len(inner) + len(inner.rstrip())


class _Places:
    """Sorted matches, looked up by position."""

    def __init__(self, matches: Sequence[Highlight]) -> None:
        self._terms = [one.term for one in matches]
        self.starts = [one.start for one in matches]
        self.ends = [one.end for one in matches]

    def within(self, start: int, end: int) -> slice:
        """The matches that are completely in this part of the text."""
        return slice(bisect_left(self.starts, start), bisect_right(self.ends, end))

    def worth(self, within: slice) -> tuple[int, int]:
        """The number of different terms among these matches, and the number of matches."""
        inside = self._terms[within]
        return len(set(inside)), len(inside)


def _cut(text: str, begin: int, stop: int, places: _Places, length: int) -> tuple[int, int]:
    """At most ``length`` characters of a long sentence, around the place with the most terms."""
    windows = [(start, min(start + length, stop)) for start in places.starts[places.within(begin, stop)]]
    best = max(windows, key=lambda one: places.worth(places.within(*one)), default=(begin, begin + length))
    inside = places.ends[places.within(*best)]
    reached = inside[-1] if inside else best[0]
    start = max(begin, min(best[0] - (length - (reached - best[0])) // 4, best[0]))
    end = min(start + length, stop)
    if start > begin:
        space = text.find(" ", start, best[0])
        start = space + 1 if space >= 0 else start
    if end < stop:
        space = text.rfind(" ", max(reached, start + 1), end)
        end = space if space > 0 else end
    return start, end
