"""What a parser's elements say about a text: where its topics, pages and blocks are, and what an offset belongs to."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from itertools import zip_longest
from typing import Any

from semantik_pipeline.builtin.chunkers.boundaries import Boundary, Level
from semantik_pipeline.documents import Element

_SPACE = re.compile(r"\s*+")
_WHOLE = ("table", "code")  # kinds that are divided only if they don't fit


def divide(
    content: str, boundaries: Iterable[Boundary], elements: Sequence[Element], every_heading: bool = False
) -> Iterator[Boundary]:
    """Merge the boundaries (in order) with those of the elements: one for each place, in order.

    Pages and top-level headings start topics (``every_heading``: all headings do). A table or a code block stays in one
    piece if possible.
    """
    starts = sorted(_starts(elements, _topic_depth(elements, every_heading)))
    found = _one_for_each_place(content, merge(boundaries, starts))
    if not elements:
        return found
    return _kept_whole(found, [element for element in elements if element.kind in _WHOLE])


def _after_space(content: str, place: int) -> int:
    return _SPACE.match(content, place).end()


def _one_for_each_place(content: str, boundaries: Iterable[Boundary]) -> Iterator[Boundary]:
    """Move each place to the next character that is not white space; each place keeps its best level."""
    last, best = 0, Level.WORD
    for place, level in boundaries:
        place = _after_space(content, place)
        if place == last:
            best = max(best, level)
        else:
            yield last, best
            last, best = place, level
    yield last, best


def usable(content: str, elements: Iterable[Element]) -> list[Element]:
    """The elements that lie within the text, in order."""
    return sorted((e for e in elements if 0 <= e.start <= e.end <= len(content)), key=lambda e: (e.start, -e.end))


def _topic_depth(elements: Sequence[Element], every_heading: bool) -> int:
    """The outermost depth that has more than one heading: a single title does not separate topics."""
    if every_heading:
        return 1000
    depths = Counter(len(element.section) for element in elements if element.kind == "heading")
    return min((depth for depth, count in depths.items() if count > 1), default=0)


def _starts(elements: Sequence[Element], topic_depth: int) -> Iterable[Boundary]:
    page = None
    for element in elements:
        if element.page is not None and element.page != page:
            page = element.page
            yield element.start, Level.TOPIC
        elif element.kind == "heading":
            yield element.start, Level.TOPIC if len(element.section) <= topic_depth else Level.HEADING
        elif element.kind in _WHOLE:
            yield element.start, Level.PARAGRAPH
            yield element.end, Level.PARAGRAPH


def _kept_whole(boundaries: Iterable[Boundary], blocks: list[Element]) -> Iterator[Boundary]:
    """Lower the level of borders within a block below that of any border around it."""
    upcoming = iter(blocks)
    block = next(upcoming, None)
    for place, level in boundaries:
        while block is not None and block.end <= place:
            block = next(upcoming, None)
        if block is not None and block.start < place and level < Level.TOPIC:
            level = Level.WRAP if level >= Level.PARAGRAPH else Level.WORD
        yield place, level


class Places:
    """Page and section at an offset. ``elements`` must come from :func:`usable`."""

    def __init__(self, content: str, elements: Sequence[Element]) -> None:
        paged = [element for element in elements if element.page is not None]
        self._page_starts, self._pages = [e.start for e in paged], [e.page for e in paged]
        sectioned = [element for element in elements if element.kind != "page"]
        self._section_starts = [e.start for e in sectioned]
        self._sections = list(_paths(content, sectioned))

    def metadata(self, start: int, body: int) -> dict[str, Any]:
        """``page`` of a chunk's first character and ``section`` of its first character after the overlap, if known."""
        found: dict[str, Any] = {}
        page = bisect_right(self._page_starts, start)
        if page:
            found["page"] = self._pages[page - 1]
        section = bisect_right(self._section_starts, body)
        if section and self._sections[section - 1]:
            found["section"] = list(self._sections[section - 1])
        return found


def _paths(content: str, elements: Sequence[Element]) -> Iterator[tuple[str, ...]]:
    """The section of each element. A heading's section includes the heading itself, in the parser's wording if the next
    element has it."""
    for element, following in zip_longest(elements, elements[1:]):
        path = element.section
        if element.kind != "heading":
            yield path
        elif following is not None and len(following.section) > len(path) and following.section[: len(path)] == path:
            yield following.section[: len(path) + 1]
        else:
            title = content[element.start : element.end].partition("\n")[0].strip().strip("#").strip()
            yield (*path, title) if title else path
