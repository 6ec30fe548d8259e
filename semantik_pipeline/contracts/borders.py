"""Where a text may be cut: at white space if possible, and never inside what a reader sees as one character."""

from __future__ import annotations

import unicodedata

ZERO_WIDTH_JOINER = "\u200d"
_SPACES = ("\n", " ", "\t", "\u3000", "\u00a0")
_REACH = 64  # how many characters to search for the border of a combining sequence


def joins_previous(text: str, index: int) -> bool:
    """Return whether ``text[index]`` belongs to the character before it.

    It does for combining marks, joined emoji, skin tones, the second half of a flag, and lone surrogate pairs. These
    are the extended grapheme clusters of Unicode's UAX #29, except Hangul jamo and prepended marks.
    """
    if index <= 0 or index >= len(text):
        return False
    char, before = text[index], text[index - 1]
    if char < "\u0300" and char != "\u200d":  # the common case: nothing below this combines
        return before == "\r" and char == "\n"
    if ZERO_WIDTH_JOINER in (char, before) or "\U0001f3fb" <= char <= "\U0001f3ff":
        return True
    if "\U0001f1e6" <= char <= "\U0001f1ff":
        return _flags_before(text, index) % 2 == 1
    if "\udc00" <= char <= "\udfff":
        return "\ud800" <= before <= "\udbff"
    return unicodedata.category(char) in ("Mn", "Mc", "Me")


def _flags_before(text: str, index: int) -> int:
    low = max(0, index - _REACH)
    first = index
    while first > low and "\U0001f1e6" <= text[first - 1] <= "\U0001f1ff":
        first -= 1
    return index - first


def border_near(text: str, low: int, wanted: int, high: int) -> int:
    """Return a place to cut strictly between ``low`` and ``high``, at ``wanted`` or a little before it.

    The place is after white space if the last quarter before ``wanted`` has some. Otherwise it is between two
    characters, or at ``wanted`` itself in a combining sequence longer than 64 code points. Requires
    ``low < wanted < high``.
    """
    reach = max(low, wanted - max(16, (wanted - low) // 4))
    for space in _SPACES:
        found = text.rfind(space, reach, wanted)
        if found >= 0 and found + 1 > low and not joins_previous(text, found + 1):
            return found + 1
    place = wanted
    floor = max(low + 1, wanted - _REACH)
    while place > floor and joins_previous(text, place):
        place -= 1
    return place if not joins_previous(text, place) else _border_after(text, wanted, high)


def _border_after(text: str, wanted: int, high: int) -> int:
    for place in range(wanted, min(high, wanted + _REACH)):
        if not joins_previous(text, place):
            return place
    return wanted
