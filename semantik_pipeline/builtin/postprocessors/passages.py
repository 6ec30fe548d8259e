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
    sentences = sentences_of(text)
    ends = [sentence.end for sentence in sentences]
    best, most, before = whole, (0, 0), slice(0)
    for first, begin in enumerate(sentences):
        end = ends[max(first, bisect_right(ends, begin.start + length) - 1)]
        window = Span(begin.start, end) if end - begin.start <= length else _cut(text, begin, places, length)
        within = places.within(window)
        if within != before and (worth := places.worth(within)) > most:  # most windows have the same matches
            best, most = window, worth
        before = within
    return trimmed(text, best.start, best.end) if most[0] else None


def sentences_of(text: str) -> list[Span]:
    """The sentences of the text, without the white space between them."""
    ends = [found.end() for found in _END.finditer(text)]
    spans = (trimmed(text, start, end) for start, end in zip([0, *ends], [*ends, len(text)], strict=True))
    return [span for span in spans if span.end > span.start]


def trimmed(text: str, start: int, end: int) -> Span:
    """The span without white space at its ends."""
    inner = text[start:end].lstrip()
    return Span(end - len(inner), end - len(inner) + len(inner.rstrip()))


class _Places:
    """Sorted matches, looked up by position."""

    def __init__(self, matches: Sequence[Highlight]) -> None:
        self._matches = matches
        self._terms = [one.term for one in matches]
        self._starts = [one.start for one in matches]
        self._ends = [one.end for one in matches]

    def within(self, window: Span) -> slice:
        """The matches that are completely in the window."""
        return slice(bisect_left(self._starts, window.start), bisect_right(self._ends, window.end))

    def worth(self, within: slice) -> tuple[int, int]:
        """The number of different terms among these matches, and the number of matches."""
        inside = self._terms[within]
        return len(set(inside)), len(inside)

    def of(self, within: slice) -> Sequence[Highlight]:
        return self._matches[within]


def _cut(text: str, sentence: Span, places: _Places, length: int) -> Span:
    """At most ``length`` characters of a long sentence, around the place with the most terms."""
    windows = [Span(one.start, min(one.start + length, sentence.end)) for one in places.of(places.within(sentence))]
    best = max(
        windows, key=lambda one: places.worth(places.within(one)), default=Span(sentence.start, sentence.start + length)
    )
    within = places.of(places.within(best))
    reached = within[-1].end if within else best.start
    start = max(sentence.start, min(best.start - (length - (reached - best.start)) // 4, best.start))
    end = min(start + length, sentence.end)
    if start > sentence.start:
        space = text.find(" ", start, best.start)
        start = space + 1 if space >= 0 else start
    if end < sentence.end:
        space = text.rfind(" ", max(reached, start + 1), end)
        end = space if space > 0 else end
    return Span(start, end)
