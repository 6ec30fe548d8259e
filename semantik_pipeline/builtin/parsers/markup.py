"""Finds the headings of reStructuredText and Org as (start, end, level, title). The rest of such a text needs no
parsing."""

from __future__ import annotations

import re
from collections.abc import Iterator

Heading = tuple[int, int, int, str]

_UNDERLINED = re.compile(r"^(\S[^\n]*)\n([!-/:-@\[-`{-~])\2{2,}[ \t]*$", re.MULTILINE)
_STARS = re.compile(r"^(\*{1,12})[ \t]+(\S[^\n]*)$", re.MULTILINE)


def rst_headings(text: str) -> Iterator[Heading]:
    """Yield the headings: lines underlined with one punctuation character, at least as long as the line. Levels follow
    the order in which the characters first appear."""
    styles: list[str] = []
    for match in _UNDERLINED.finditer(text):
        title, mark = match.group(1).rstrip(), match.group(2)
        underline = match.end() - match.start() - len(match.group(1)) - 1
        if underline < len(title) or not any(letter.isalnum() for letter in title):
            continue
        if mark not in styles:
            styles.append(mark)
        yield match.start(), match.end(), styles.index(mark) + 1, title


def org_headings(text: str) -> Iterator[Heading]:
    """Yield the headings: lines that start with stars. The number of stars is the level."""
    for match in _STARS.finditer(text):
        yield match.start(), match.end(), len(match.group(1)), match.group(2).rstrip()
