"""Finds where a text contains the words and phrases of a query. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from semantik_pipeline.builtin.postprocessors.phrases import Phrases
from semantik_pipeline.builtin.postprocessors.word_keys import (
    Key,
    keys_of,
    literal_keys,
    pieces_of,
    places_of,
    vocabulary,
    words_of,
)
from semantik_pipeline.builtin.stores.unspaced import RUN
from semantik_pipeline.documents import Highlight


class Matcher:
    """Finds the words of one query in ``texts`` of one language.

    Stop words count only within phrases, unless the query has no other words. In scripts without spaces, every two
    neighbouring characters of the query are searched for.
    """

    def __init__(self, terms: Iterable[str], phrases: Iterable[str], language: str, texts: Iterable[str]) -> None:
        terms = list(terms)
        spaced = list(dict.fromkeys(word.group() for term in terms for word in words_of(term)))
        telling = [word for word in spaced if keys_of(word, language)]
        by_key: dict[Key, str] = {}
        for word in telling or spaced:
            for key in keys_of(word, language) if telling else literal_keys(word):
                by_key.setdefault(key, word)
        words = vocabulary(language if telling else None)
        self._terms = words.meeting(pieces_of("\n".join(texts)), by_key)
        pairs = _pairs_of(terms)
        self._any_pair = re.compile("|".join(map(re.escape, pairs))) if pairs else None
        self._phrases = Phrases(phrases, language)

    def matches(self, text: str) -> list[Highlight]:
        """The matches in one of the texts, in order and without overlaps."""
        found = []
        for word, term in self._terms.items():
            if word in text:  # most words come from the other texts
                found += [Highlight(start, start + len(word), term) for start in places_of(word, text)]
        if self._any_pair is not None and not text.isascii():
            found += self._unspaced(text)
        found += self._phrases.matches(text)
        return _apart(found)

    def _unspaced(self, text: str) -> Iterator[Highlight]:
        """Matching pairs that touch or overlap are merged into one match, whose term is the matched text."""
        assert self._any_pair is not None
        start = end = -1
        at = 0
        while found := self._any_pair.search(text, at):
            if found.start() > end and end > start:
                yield Highlight(start, end, text[start:end])
            if found.start() > end:
                start = found.start()
            end = max(end, found.end())
            at = found.start() + 1
        if end > start:
            yield Highlight(start, end, text[start:end])


def _pairs_of(words: Iterable[str]) -> list[str]:
    runs = [run.group() for word in words for run in RUN.finditer(word)]
    return list(dict.fromkeys(run[at : at + 2] for run in runs for at in range(max(1, len(run) - 1))))


def _apart(found: list[Highlight]) -> list[Highlight]:
    """Sort the matches. Of those that overlap, the longest is kept, or the first of equal length."""
    kept: list[Highlight] = []
    for one in sorted(found, key=lambda one: (one.start, -one.end)):
        if not kept or one.start >= kept[-1].end:
            kept.append(one)
        elif one.end - one.start > kept[-1].end - kept[-1].start:
            kept[-1] = one
    return kept
