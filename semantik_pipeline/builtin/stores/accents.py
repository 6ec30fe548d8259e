"""Finds the unaccented spelling of words, as people type them on a keyboard without accents. Pure functions.

Latin and Greek letters lose their mark (``é`` becomes ``e``, ``ø`` becomes ``o``, ``ß`` becomes ``ss``). In Cyrillic
only ``ё`` does: ``й`` is a letter of its own, which everybody types.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import cache

#: Letters with marks: Latin, then Greek.
_MARKED = (*range(0xC0, 0x250), *range(0x370, 0x400), *range(0x1E00, 0x2000))

#: Letters that Unicode does not decompose, or that lose more than a mark.
_OTHERS = {
    "ß": "ss", "ẞ": "SS", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "đ": "d", "Đ": "D",
    "ð": "d", "Ð": "D", "þ": "th", "Þ": "TH", "ł": "l", "Ł": "L", "ħ": "h", "Ħ": "H", "ı": "i", "ё": "е", "Ё": "Е",
}  # fmt: skip

_WORD = re.compile(r"[^\W_]*[^\W_\x00-\x7f][^\W_]*")


def accented(text: str) -> Iterator[tuple[str, str]]:
    """Each accented word of the text (in Unicode's form NFC), once, with its unaccented spelling."""
    if text.isascii() or text.translate(_letters()) == text:
        return
    for word in dict.fromkeys(_WORD.findall(text)):
        plain = word.translate(_letters())
        if plain != word:
            yield word, plain


def replaced(text: str, words: dict[str, str]) -> str:
    """The text with each accented word in ``words`` replaced by its value."""
    return _WORD.sub(lambda found: words.get(found.group(), found.group()), text) if words else text


@cache
def _letters() -> dict[int, str]:
    table = {ord(letter): plain for letter, plain in _OTHERS.items()}
    for code in _MARKED:
        parts = unicodedata.normalize("NFD", chr(code))
        if len(parts) > 1:
            table.setdefault(code, parts[0])
    return table
