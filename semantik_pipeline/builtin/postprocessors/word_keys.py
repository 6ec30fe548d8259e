"""Decides when two words are the same to a reader: forms of one stem, in any case, with or without diacritics."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from semantik_pipeline.builtin.stores.unspaced import RUN
from semantik_pipeline.contracts.languages import NONE
from semantik_pipeline.contracts.postprocessor import MARKS

if TYPE_CHECKING:
    import qdrant_edge

_ASCII = re.compile("[A-Za-z0-9]+")
#: A translation table that replaces ASCII characters between words with spaces; bytes of other characters are kept.
_GAPS = bytes(byte if byte > 127 or chr(byte).isalnum() else 32 for byte in range(256))
#: Letters and digits with combining marks, except those of scripts without spaces.
_ANY = re.compile(f"(?:(?!{RUN.pattern.removesuffix('+')})(?:[^\\W_]|[{MARKS}]))+")
#: No stop word of any language is longer. The engine ignores words that are much longer.
_LONGEST_STOP_WORD = 20
#: The most words in a vocabulary, and the most characters of a word in it: 20 MB (33,000 words of 8 characters took
#: 19 MB, of 64 characters 20 MB). The keys of longer words are computed each time.
MOST_WORDS, LONGEST_WORD = 32_768, 64

Key = int | str
Keys = frozenset[Key]


def words_of(text: str) -> Iterator[re.Match[str]]:
    """The words of the text that are separated by spaces or signs."""
    return _rule(text).finditer(text)


def pieces_of(text: str) -> set[str]:
    """The parts of the text between spaces and ASCII signs, each once. An ASCII piece is a word; any other may have
    several words, or none."""
    spaced = text.encode("utf-8", "surrogatepass").translate(_GAPS).decode("utf-8", "surrogatepass")
    return set(spaced.split())


def places_of(word: str, text: str) -> Iterator[int]:
    """The positions in the text at which the word stands as a whole word, not as part of another one."""
    rule = _rule(text)
    start = text.find(word)
    while start >= 0:
        end = start + len(word)
        inside = (start > 0 and rule.match(text, start - 1, start)) or rule.match(text, end, end + 1)
        if not inside:
            yield start
        start = text.find(word, end)


class Vocabulary:
    """Words of earlier texts, by their keys. Texts repeat words, and finding which of hundreds match a query is the hot
    loop of highlighting. Thread-safe."""

    def __init__(self, keys: Callable[[str], Keys]) -> None:
        self._keys = keys
        #: The pieces that are known, and by key the words with it, each with its piece.
        self._learned: tuple[set[str], dict[Key, list[tuple[str, str]]]] = set(), {}

    def meeting(self, pieces: set[str], terms: Mapping[Key, str]) -> dict[str, str]:
        """The words in the pieces that have one of the keys in ``terms``, each with the term that it matches."""
        known, by_key = self._learned
        if len(known) > MOST_WORDS:
            known, by_key = self._learned = set(), {}
        found: dict[str, str] = {}
        for piece in pieces - known:
            for word in [piece] if piece.isascii() else _ANY.findall(piece):
                keys = self._keys(word)
                if len(piece) > LONGEST_WORD:
                    found.update((word, terms[key]) for key in keys & terms.keys())
                    continue
                for key in keys:
                    by_key.setdefault(key, []).append((piece, word))
            if len(piece) <= LONGEST_WORD:
                known.add(piece)
        for key, term in terms.items():
            for piece, word in by_key.get(key, ()):
                if piece in pieces:
                    found.setdefault(word, term)
        return found


@lru_cache(maxsize=64)
def vocabulary(language: str | None) -> Vocabulary:
    """The words of a language by the keys from :func:`keys_of`; None: by the keys from :func:`literal_keys`."""
    return Vocabulary(literal_keys if language is None else partial(keys_of, language=language))


def keys_of(word: str, language: str) -> Keys:
    """The keys that a word shares with its other forms, by the rules of a language (a name from
    :mod:`semantik_pipeline.contracts.languages`); empty for a stop word. Two words are the same if they share a key."""
    return (_remembered if len(word) <= LONGEST_WORD else _keys_of)(word, language)


def _keys_of(word: str, language: str) -> Keys:
    low = word.casefold().encode("utf-8", "replace").decode("utf-8")
    plain = without_diacritics(low)
    own = _stemmer(language).embed_query(low).indices
    if not own:
        return frozenset() if len(low) <= _LONGEST_STOP_WORD else frozenset((plain,))
    return frozenset((plain, *own, *(_stemmer(language).embed_query(plain).indices if plain != low else ())))


_remembered = lru_cache(maxsize=8192)(_keys_of)


def literal_keys(word: str) -> Keys:
    """The word itself, even if it is a stop word."""
    return frozenset((without_diacritics(word.casefold()),))


def without_diacritics(text: str) -> str:
    if text.isascii():
        return text
    return "".join(one for one in unicodedata.normalize("NFKD", text) if not unicodedata.combining(one))


def _rule(text: str) -> re.Pattern[str]:
    return _ASCII if text.isascii() else _ANY


@lru_cache(maxsize=64)
def _stemmer(language: str) -> qdrant_edge.Bm25:
    """The engine that splits and stems words for BM25, so that both treat words the same way."""
    import qdrant_edge as edge

    if language == NONE:
        return edge.Bm25(edge.Bm25Config(stemmer=edge.DisabledStemmer(), stopwords=edge.StopwordsSet(custom=set())))
    return edge.Bm25(edge.Bm25Config(language=language))
