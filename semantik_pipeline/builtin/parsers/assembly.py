"""Assembles the elements of ``unstructured`` into one text with offsets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from semantik_pipeline.builtin.parsers.outline import HeadingPath
from semantik_pipeline.documents import Element

#: Maps categories of ``unstructured`` to kinds of elements. All other categories become paragraphs.
_KINDS = {
    "Title": "heading",
    "ListItem": "list-item",
    "Table": "table",
    "CodeSnippet": "code",
    "Header": "header",
    "Footer": "footer",
}


@dataclass(frozen=True, kw_only=True)
class Piece:
    """An element without offsets. ``level`` is the level of a heading, from 1."""

    kind: str
    text: str
    page: int | None = None
    level: int | None = None
    section: tuple[str, ...] = ()


def pieces(elements: Iterable[Any]) -> Iterable[Piece]:
    """Convert the elements of ``unstructured`` that have text.

    A title without a depth becomes a paragraph, because the library only guessed it from a short line.
    """
    for element in elements:
        about = element.metadata
        kind = _KINDS.get(element.category, "paragraph")
        text = table_text(about.text_as_html, element.text) if kind == "table" else element.text
        text = printable(text)
        level = about.category_depth + 1 if kind == "heading" and about.category_depth is not None else None
        if text:
            kind = "paragraph" if kind == "heading" and level is None else kind
            sheet = (about.page_name,) if about.page_name else ()
            yield Piece(kind=kind, text=text, page=about.page_number, level=level, section=sheet)


def printable(text: str) -> str:
    """The text with control characters replaced by spaces, and without white space at its ends."""
    return "".join(letter if letter.isprintable() or letter in "\n\t" else " " for letter in text).strip()


def assemble(parts: Iterable[Piece]) -> tuple[str, list[Element], str | None]:
    """The text (with a blank line between pieces), its elements, and the first heading."""
    path, texts, elements, title, at = HeadingPath(), [], [], None, 0
    for piece in parts:
        above = path.enter(piece.level, piece.text) if piece.level else path.section
        title = title or (piece.text if piece.level else None)
        elements.append(Element(piece.kind, at, at + len(piece.text), piece.page, (*piece.section, *above)))
        texts.append(piece.text)
        at += len(piece.text) + 2
    return "\n\n".join(texts), elements, title


def table_text(html: str | None, flat: str) -> str:
    """A table with one line per row and `` | `` between cells, because the library's own text does not show the
    rows."""
    if not html:
        return flat
    from lxml import html as parser
    from lxml.etree import LxmlError

    try:
        table = parser.fragment_fromstring(html)
    except (LxmlError, ValueError):
        return flat
    rows = table.xpath("./tr | ./thead/tr | ./tbody/tr | ./tfoot/tr")
    lines = (" | ".join(" ".join(cell.text_content().split()) for cell in row) for row in rows)
    return "\n".join(line for line in lines if line.strip(" |")) or flat
