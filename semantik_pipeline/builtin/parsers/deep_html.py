"""Reads HTML that is nested deeper than 256 levels without building a tree. libxml2 would silently stop at that
depth."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser

from semantik_pipeline.builtin.parsers.assembly import Piece

_UNSEEN = {"script", "style", "template", "title"}
_BLOCKS = frozenset(
    {"p", "div", "br", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "dl", "dt", "dd", "table", "tr"}
    | {"pre", "blockquote", "section", "article", "form"}
)


def deep_html_pieces(text: str) -> Iterator[Piece]:
    """Yield paragraphs, split at block elements. Headings are not distinguished."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    for paragraph in reader.paragraphs():
        yield Piece(kind="paragraph", text=paragraph)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._parts: list[str] = []
        self._unseen = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _BLOCKS:
            self._parts.append("\0")
        if tag in _UNSEEN and not self._unseen:
            self._unseen = tag

    def handle_endtag(self, tag: str) -> None:
        if tag in _BLOCKS:
            self._parts.append("\0")
        if tag == self._unseen:
            self._unseen = ""

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self._parts.append(data)

    def paragraphs(self) -> Iterator[str]:
        for block in "".join(self._parts).split("\0"):
            if block.strip():
                yield " ".join(block.split())
