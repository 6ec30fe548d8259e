"""What a word is, to whoever learns the words of a collection and corrects those of a query. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

#: Letters of a word that is learned; longer runs are no words.
SHORTEST, LONGEST = 3, 32

#: A run of letters beside which no digit stands: the parts of ``max_tokens`` are words, those of ``x86`` are not.
_WORD = re.compile(rf"(?<![^\W_])[^\W\d_]{{{SHORTEST},{LONGEST}}}(?![^\W_])")

#: From here on, most scripts write no spaces between words, so a run of letters is none. Latin goes on elsewhere.
_UNSPACED = "\u0e00"
_LATIN = ("\u1e00", "\u1eff")


def normal(text: str) -> str:
    """The text with each letter as one character where there is such a character: ``e`` and an accent are ``é``."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def forms(text: str) -> list[str]:
    """The text as it stands, and with each accented letter as one character, and as two, where that differs: engines match
    characters, and files have either."""
    if text.isascii():
        return [text]
    return list(dict.fromkeys([text, *(unicodedata.normalize(form, text) for form in ("NFC", "NFD"))]))


def words_at(text: str) -> list[tuple[int, int, str]]:
    """(start, end, word in lower case) of each word of a :func:`normal` text."""
    found = ((match.start(), match.end(), match.group().lower()) for match in _WORD.finditer(text))
    return [one for one in found if _is_spaced(one[2])]


def words_of(text: str) -> set[str]:
    """The words of a text, in lower case."""
    return {word for _, _, word in words_at(normal(text))}


class Words:
    """The words of many texts, in a third of the time: each of the texts' own pieces is looked at once.

    Keeps at most ``most`` pieces in mind.
    """

    def __init__(self, most: int = 200_000) -> None:
        self._most = most
        self._known: dict[str, frozenset[str]] = {}

    def of(self, texts: Iterable[str]) -> set[str]:
        """What :func:`words_of` finds in any of the texts."""
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
