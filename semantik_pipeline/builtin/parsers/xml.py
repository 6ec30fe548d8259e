"""Reads XML with lxml. What is together in an element becomes a paragraph, whatever the vocabulary."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from semantik_pipeline.builtin.parsers.assembly import Piece


def xml_pieces(content: bytes) -> Iterator[Piece]:
    """Yield paragraphs. The leaves of one parent are the lines of one paragraph; text with inline elements is a
    separate paragraph.

    External entities are not read. libxml2 refuses entities that expand excessively, and elements nested deeper than
    256 levels.
    """
    from lxml import etree

    parser = etree.XMLParser(resolve_entities="internal", no_network=True, remove_comments=True, remove_pis=True)
    root = etree.fromstring(content, parser)
    for lines in _paragraphs(root):
        yield Piece(kind="paragraph", text="\n".join(lines))


def _paragraphs(parent: Any) -> Iterator[list[str]]:
    if _is_text(parent):
        yield [_words(parent)]
        return
    lines: list[str] = []
    for child in parent:
        if len(child) == 0:
            lines += [_words(child)] if _words(child) else []
            continue
        if lines:
            yield lines
            lines = []
        yield from _paragraphs(child)
    if lines:
        yield lines


def _is_text(element: Any) -> bool:
    """Whether an element contains text of its own, and not only elements."""
    return bool((element.text or "").strip()) or any((child.tail or "").strip() for child in element)


def _words(element: Any) -> str:
    return " ".join("".join(element.itertext()).split())
