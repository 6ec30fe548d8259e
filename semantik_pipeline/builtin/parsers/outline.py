"""Elements of a text: paragraphs, and the path of headings above a position."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from semantik_pipeline.documents import Element

#: A text with more elements than this gets none, to save memory. Its blank lines still show where its parts end.
MAX_ELEMENTS = 100_000

_BLANK_LINES = re.compile(r"\n\s*\n")


class HeadingPath:
    """The headings above the current position. Levels may be skipped and start anywhere. A heading closes all headings
    of the same or a deeper level."""

    def __init__(self) -> None:
        self._open: list[tuple[int, str]] = []

    @property
    def section(self) -> tuple[str, ...]:
        return tuple(title for _, title in self._open)

    def enter(self, level: int, title: str) -> tuple[str, ...]:
        """Open a heading of this level and return the headings above it."""
        while self._open and self._open[-1][0] >= level:
            self._open.pop()
        above = self.section
        self._open.append((level, title))
        return above


def paragraphs(text: str, start: int = 0, end: int | None = None, section: tuple[str, ...] = ()) -> list[Element]:
    """The blocks between blank lines in a part of the text. Empty if there are more than MAX_ELEMENTS."""
    end = len(text) if end is None else end
    found: list[Element] = []
    for block_start, block_end in _between_blank_lines(text, start, end):
        block = text[block_start:block_end]
        first = block_start + len(block) - len(block.lstrip())
        if first < block_end:
            found.append(Element("paragraph", first, block_start + len(block.rstrip()), section=section))
        if len(found) > MAX_ELEMENTS:
            return []
    return found


def _between_blank_lines(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    for gap in _BLANK_LINES.finditer(text, start, end):
        yield start, gap.start()
        start = gap.end()
    yield start, end


def with_headings(text: str, headings: Iterable[tuple[int, int, int, str]]) -> list[Element]:
    """Elements for headings, given as (start, end, level, title) in order, and for the paragraphs between them."""
    path, done, elements = HeadingPath(), 0, []
    for start, end, level, title in headings:
        elements += paragraphs(text, done, start, path.section)
        elements.append(Element("heading", start, end, section=path.enter(level, title)))
        done = end
    elements += paragraphs(text, done, None, path.section)
    return elements if len(elements) <= MAX_ELEMENTS else []
