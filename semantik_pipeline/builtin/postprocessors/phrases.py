"""Finds phrases in a text, all of them in one pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from semantik_pipeline.builtin.postprocessors.word_keys import Key, Keys, keys_of, literal_keys, words_of
from semantik_pipeline.documents import Highlight


class Phrases:
    """Finds phrases of two or more words, word for word, by the rules of one language.

    Every word of every phrase has its own bit, and a word of a text has the bits of all phrase words that it matches. A
    phrase that has matched so far continues if the text's next word has its next bit. The cost of a text's word is
    therefore the same however many phrases there are and however long they are, and its keys are computed once
    (Baeza-Yates and Gonnet, "A New Approach to Text Searching", CACM 1992).
    """

    def __init__(self, phrases: Iterable[str], language: str) -> None:
        self._language = language
        self._ends: list[tuple[int, int, str]] = []
        self._first = self._last = 0
        asked: dict[str, int] = {}
        bit = 1
        for phrase in phrases:
            words = [word.group() for word in words_of(phrase)]
            if len(words) < 2:
                continue
            self._first |= bit
            for word in words:
                asked[word] = asked.get(word, 0) | bit
                bit <<= 1
            self._last |= bit >> 1
            self._ends.append((bit >> 1, len(words), phrase))
        self._by_key: dict[Key, int] = {}
        for word, bits in asked.items():
            for key in _keys_of(word, language):
                self._by_key[key] = self._by_key.get(key, 0) | bits
        self._bits: dict[str, int] = {}

    def matches(self, text: str) -> Iterator[Highlight]:
        """Each place where all words of a phrase follow one another."""
        if not self._ends:
            return
        words = list(words_of(text))
        met = 0
        for place, word in enumerate(words):
            met = (met << 1 | self._first) & self._bits_of(word.group())
            if met & self._last:
                for last, count, phrase in self._ends:
                    if met & last:
                        yield Highlight(words[place - count + 1].start(), word.end(), phrase)

    def _bits_of(self, word: str) -> int:
        """The bits of the phrase words that this word matches."""
        bits = self._bits.get(word)
        if bits is None:
            bits = 0
            for key in _keys_of(word, self._language):
                bits |= self._by_key.get(key, 0)
            self._bits[word] = bits
        return bits


def _keys_of(word: str, language: str) -> Keys:
    return keys_of(word, language) | literal_keys(word)
