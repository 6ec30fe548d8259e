"""The part of a text that answers best, by the words of the query that come together in it. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from semantik_pipeline.documents import Highlight, Span

#: Where a sentence ends, or a line that stands for itself. It begins with a set of characters, which is searched for fast.
_END = re.compile(
    r"""[.!?…。！？\n](?:(?<=[.!?…])["'”’)\]]*\s|(?<=[。！？])|(?<=\n)(?=[^\S\n]*(?:\n|[-*•#|]|\d+[.)]\s)))\s*"""
)


def best_passage(text: str, matches: Sequence[Highlight], length: int) -> Span | None:
    """Of all runs of whole sentences of at most ``length`` characters the one with the most different terms, then with
    the most places, then the first. A sentence that is longer is cut between words. None where nothing matches."""
    if not matches:
        return None
    whole = trimmed(text, 0, len(text))
    if whole.end - whole.start <= length:
        return whole
    sentences = sentences_of(text)
    best, most = whole, (0, 0)
    for first, begin in enumerate(sentences):
        end = begin.end
        for last in sentences[first + 1 :]:
            if last.end - begin.start > length:
                break
            end = last.end
        window = Span(begin.start, end) if end - begin.start <= length else _cut(text, begin, matches, length)
        if (worth := _worth(matches, window)) > most:
            best, most = window, worth
    return trimmed(text, best.start, best.end) if most[0] else None


def sentences_of(text: str) -> list[Span]:
    """The text in sentences, without the white space between them."""
    ends = [found.end() for found in _END.finditer(text)]
    spans = (trimmed(text, start, end) for start, end in zip([0, *ends], [*ends, len(text)], strict=True))
    return [span for span in spans if span.end > span.start]


def trimmed(text: str, start: int, end: int) -> Span:
    """The span without white space at its ends."""
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return Span(start, end)


def _worth(matches: Sequence[Highlight], window: Span) -> tuple[int, int]:
    inside = [one.term for one in matches if window.start <= one.start and one.end <= window.end]
    return len(set(inside)), len(inside)


def _cut(text: str, sentence: Span, matches: Sequence[Highlight], length: int) -> Span:
    """At most ``length`` characters of a long sentence, around where most terms come together."""
    inside = [one for one in matches if sentence.start <= one.start and one.end <= sentence.end]
    windows = [Span(one.start, min(one.start + length, sentence.end)) for one in inside]
    best = max(
        windows, key=lambda window: _worth(matches, window), default=Span(sentence.start, sentence.start + length)
    )
    within = [one for one in inside if one.end <= best.end and one.start >= best.start]
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
