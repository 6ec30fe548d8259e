"""Converts HTML to pieces, for pages, mail and the output of pandoc."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from semantik_pipeline.builtin.parsers.assembly import Piece, pieces
from semantik_pipeline.builtin.parsers.deep_html import deep_html_pieces
from semantik_pipeline.builtin.parsers.offline import prepare_unstructured

#: Tags whose whole content ``unstructured`` leaves out although readers see it (whole pages can be one form, tables and
#: code can be in figures, answers in details), and the tag that replaces each.
_READ_AS = {
    **dict.fromkeys(("form", "figure", "figcaption", "details", "summary", "dialog"), "div"),
    "label": "span",
    "textarea": "pre",
}
_PARTS_OF_TABLES = ("table", "thead", "tbody", "tfoot", "tr")
_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")


def html_pieces(text: str) -> Iterable[Piece]:
    """The pieces of a decoded page. Navigation, buttons and lists of choices are left out."""
    # lxml refuses an XML declaration with an encoding in decoded text
    text = re.sub(r"\A\s*<\?xml[^>]{0,200}\?>", "", text.replace("\0", " "))
    tree, whole = _parsed(text)
    if not whole:
        return deep_html_pieces(text)
    if tree is None:
        return []
    _unwrap(tree)
    prepare_unstructured()
    from lxml import etree
    from unstructured.partition.html import partition_html

    return pieces(partition_html(text=etree.tostring(tree, encoding="unicode", method="html"), languages=[""]))


def _parsed(text: str) -> tuple[Any | None, bool]:
    """The page as a tree (None if it is empty), and whether libxml2 has read all of it."""
    from lxml import etree, html

    parser = html.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True)
    try:
        tree = etree.fromstring(text.encode("utf-8", "replace"), parser)
    except etree.LxmlError:
        tree = None
    return tree, not any(error.type == etree.ErrorTypes.ERR_RESOURCE_LIMIT for error in parser.error_log)


def _unwrap(tree: Any) -> None:
    """Replace the tags whose content would be left out."""
    for element in list(tree.iter(*_READ_AS)):
        if element.getparent() is not None and element.getparent().tag in _PARTS_OF_TABLES:
            element.drop_tag()  # a block element in this place would end the table
        else:
            element.tag = _READ_AS[element.tag]
    for heading in tree.iter(*_HEADINGS):
        for button in heading.iter("button"):  # a button that opens and closes the text below the heading
            button.tag = "span"
