"""Finds the blocks of a Markdown text in one pass over its lines.

This is not done with markdown-it-py, because that takes 4.7 µs per character only for the blocks, far more than all
other processing of a text here. A search needs headings, code, lists and tables, but not the inline grammar.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from semantik_pipeline.builtin.parsers.outline import MAX_ELEMENTS, HeadingPath
from semantik_pipeline.documents import Element

_HASHES = re.compile(r" {0,3}(#{1,6})(?=[ \t]|$)")
_UNDERLINE = re.compile(r" {0,3}(?:=+|-+)[ \t]*$")
_FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})")
_ITEM = re.compile(r"[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]")
_TABLE_RULE = re.compile(r"[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$")
_RULE = re.compile(r" {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$")
_FRONT_MATTER = re.compile(r"---\n.*?\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_LINE = re.compile(r"[^\n]*\n|[^\n]+\Z")

#: (kind, start, end, level). The level is that of a heading, otherwise 0. The end excludes the line end.
Block = tuple[str, int, int, int]


def markdown_elements(text: str) -> tuple[list[Element], str | None]:
    """The elements (heading, paragraph, list-item, table, code, front-matter), and the text of the first heading. A
    text with more than MAX_ELEMENTS has no elements."""
    path, elements, title = HeadingPath(), [], None
    for kind, start, end, level in _blocks(text):
        if kind == "heading":
            name = _heading_text(text[start:end])
            title = title or name or None
            elements.append(Element(kind, start, end, section=path.enter(level, name)))
        else:
            elements.append(Element(kind, start, end, section=path.section))
        if len(elements) > MAX_ELEMENTS:
            return [], title
    return elements, title


def _heading_text(source: str) -> str:
    hashes = _HASHES.match(source)
    if not hashes:
        return source.rpartition("\n")[0].strip()
    title = source[hashes.end() :].strip()
    bare = title.rstrip("#")
    return bare.rstrip() if not bare or bare[-1] in " \t" else title


def _blocks(text: str) -> Iterator[Block]:
    front = _FRONT_MATTER.match(text)
    if front:
        yield "front-matter", 0, len(front.group().rstrip("\n")), 0
    scan = _Scan()
    for match in _LINE.finditer(text, front.end() if front else 0):
        yield from scan.line(match.group().rstrip("\n"), match.start())
    yield from scan.close()


class _Scan:
    """The state of a scan over the lines: the block that is currently open."""

    def __init__(self) -> None:
        self.kind, self.start, self.end, self.fence = "", 0, 0, ""
        self.after_item = False

    def line(self, line: str, here: int) -> list[Block]:
        end = here + len(line)
        if self.fence:
            return self._inside_fence(line, end)
        if not line.strip():
            return self.close()
        first = line.lstrip()[0]
        if first in "`~" and (opening := _FENCE.match(line)):
            self.fence = opening.group(1)
            return self._open("code", here, end)
        if first == "#" and (hashes := _HASHES.match(line)):
            return [*self.close(), ("heading", here, end, len(hashes.group(1)))]
        if self.kind == "paragraph" and first in "=-" and _UNDERLINE.match(line):
            start, self.kind = self.start, ""
            return [("heading", start, end, 1 if first == "=" else 2)]
        return self._text(line, here, end, first)

    def close(self) -> list[Block]:
        block = (self.kind, self.start, self.end, 0)
        if self.kind:
            self.after_item = self.kind == "list-item"
        self.kind = self.fence = ""
        return [block] if block[0] else []

    def _text(self, line: str, here: int, end: int, first: str) -> list[Block]:
        if first in "*-_" and _RULE.match(line):
            return self.close()
        if self.kind == "paragraph" and "|" in line and _TABLE_RULE.match(line):
            self.kind, self.end = "table", end
            return []
        if _ITEM.match(line) and self.kind != "code":
            return self._open("list-item", here, end)
        indented = line.startswith(("    ", "\t"))
        if self.kind and (self.kind != "code" or indented):
            self.end = end
            return []
        return self._open("code" if indented and not self.after_item else "paragraph", here, end)

    def _inside_fence(self, line: str, end: int) -> list[Block]:
        self.end = end
        bare = line.strip()
        closes = bare.startswith(self.fence) and not bare.strip(self.fence[0])
        return self.close() if closes else []

    def _open(self, kind: str, here: int, end: int) -> list[Block]:
        fence = self.fence
        closed = self.close()
        self.kind, self.start, self.end, self.fence = kind, here, end, fence
        return closed
