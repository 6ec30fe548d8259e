"""What counts as a word, for learning a collection's words and for correcting those of a query. Pure functions."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

#: Minimum and maximum letters of a word that is learned; longer runs are not words.
SHORTEST, LONGEST = 3, 32

#: A run of letters without an adjacent digit: the parts of ``max_tokens`` are words, those of ``x86`` are not.
_WORD = re.compile(rf"(?<![^\W_])[^\W\d_]{{{SHORTEST},{LONGEST}}}(?![^\W_])")

#: From this character on, most scripts put no spaces between words, so a run of letters is not a word. The second Latin
#: block above it is an exception.
_UNSPACED = "\u0e00"
_LATIN = ("\u1e00", "\u1eff")


def normal(text: str) -> str:
    """Compose letters with accents: ``e`` followed by a combining accent becomes ``é`` where that character exists."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def forms(text: str) -> list[str]:
    """Return the text as given, and with accents composed and decomposed, without repeats.

    Search engines match characters, and files have either form.
    """
    if text.isascii():
        return [text]
    return list(dict.fromkeys([text, *(unicodedata.normalize(form, text) for form in ("NFC", "NFD"))]))


def words_at(text: str) -> list[tuple[int, int, str]]:
    """Return (start, end, word in lower case) of each word in a text that :func:`normal` returned."""
    found = ((match.start(), match.end(), match.group().lower()) for match in _WORD.finditer(text))
    return [one for one in found if _is_spaced(one[2])]


def words_of(text: str) -> set[str]:
    """The words of a text, in lower case."""
    return {word for _, _, word in words_at(normal(text))}


class Words:
    """Finds the words of many texts in a third of the time, because it splits each distinct piece only once.

    Caches at most ``most`` pieces.
    """

    def __init__(self, most: int = 200_000) -> None:
        self._most = most
        self._known: dict[str, frozenset[str]] = {}

    def of(self, texts: Iterable[str]) -> set[str]:
        """Return the words that :func:`words_of` finds in any of the texts."""
        pieces: set[str] = set()
        for text in texts:
            pieces.update(text.lower().split())
        found: set[str] = set()
        for piece in pieces:
            known = self._known.get(piece)
            if known is None:
                if len(self._known) >= self._most:
                    self._known.clear()
                known = self._known[piece] = frozenset(words_of(piece))
            found |= known
        return found


def _is_spaced(word: str) -> bool:
    return word.isascii() or all(letter < _UNSPACED or _LATIN[0] <= letter <= _LATIN[1] for letter in word)
