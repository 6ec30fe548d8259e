"""Where phrases stand in a text, all of them in one reading."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from semantik_pipeline.builtin.postprocessors.word_keys import Key, Keys, keys_of, literal_keys, words_of
from semantik_pipeline.documents import Highlight


class Phrases:
    """Finds phrases of two words and more, word for word, by the rules of one language.

    Each word of each phrase is a bit, and a word of a text has the bits of those that it may stand for; of the phrases
    that have been met up to here, those go on whose next bit it has. So a word of a text costs the same however many
    phrases begin at each place and however long they are, and its keys are made once (Baeza-Yates and Gonnet, "A New
    Approach to Text Searching", CACM 1992).
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
        """Each place where all words of a phrase stand one after the other."""
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
        """The words of phrases that this one may stand for."""
        bits = self._bits.get(word)
        if bits is None:
            bits = 0
            for key in _keys_of(word, self._language):
                bits |= self._by_key.get(key, 0)
            self._bits[word] = bits
        return bits


def _keys_of(word: str, language: str) -> Keys:
    return keys_of(word, language) | literal_keys(word)
