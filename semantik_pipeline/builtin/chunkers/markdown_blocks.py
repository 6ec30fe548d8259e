"""The blocks of raw Markdown that matter to a chunker: headings, fenced code, tables, front matter. One pass over the lines.

Not a Markdown parser: blocks inside quotes and lists are told from their text alone, which is right for where to cut.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from semantik_pipeline.documents import Element

_LINE = re.compile(r"[^\n]*\n?")
_ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))??(?:[ \t]+#+)?[ \t]*\r?\n?$")
_FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})([^\n]*)")
_SETEXT = re.compile(r" {0,3}(=+|-+)[ \t]*\r?\n?$")
_TABLE_RULE = re.compile(r"[ \t]*\|?[ \t]*:?-+:?[ \t]*(\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*\r?\n?$")
_NO_PARAGRAPH = re.compile(r"[ \t]*(?:[-*+>#|]|\d{1,9}[.)][ \t]|$)")


@dataclass
class _Scan:
    """What is open while the lines go by."""

    path: list[tuple[int, str]] = field(default_factory=list)  # (level, title) of the headings above
    fence: str | None = None  # the opening marks of the code block we are in
    block: tuple[str, int] | None = None  # (kind, start) of an open code block or table
    before: tuple[int, str] | None = None  # the line before, if it is a paragraph's first line or could be a table's


def markdown_elements(content: str) -> list[Element]:
    """Headings (with the path above them), code blocks and tables, in order; an unclosed one runs to the end."""
    scan = _Scan()
    found: list[Element] = []
    for start, line in _lines(content):
        found.extend(_read(scan, start, line))
    if scan.block is not None:
        found.append(_close(scan, len(content)))
    return found


def _lines(content: str) -> Iterator[tuple[int, str]]:
    for match in _LINE.finditer(content):
        if match.group():
            yield match.start(), match.group()


def _read(scan: _Scan, start: int, line: str) -> Iterator[Element]:
    if scan.fence is not None:
        if line.strip().startswith(scan.fence) and not line.strip().strip(scan.fence[0]):
            yield _close(scan, start + len(line.rstrip()))
        return
    if scan.block is not None:
        if scan.block[0] == "table" and "|" in line:
            return
        if scan.block[0] == "code":  # front matter
            if line.rstrip() in ("---", "..."):
                yield _close(scan, start + len(line.rstrip()))
            return
        yield _close(scan, start)
    yield from _read_text(scan, start, line)


def _read_text(scan: _Scan, start: int, line: str) -> Iterator[Element]:
    """A line outside of code and tables."""
    before, scan.before = scan.before, None
    if fence := _FENCE.match(line):
        marks, info = fence.groups()
        if marks[0] == "~" or "`" not in info:
            scan.fence, scan.block = marks, ("code", start)
            return
    if start == 0 and line.rstrip() == "---":
        scan.block = ("code", 0)
    elif atx := _ATX.match(line):
        yield _heading(scan, start, start + len(line.rstrip()), len(atx.group(1)), (atx.group(2) or "").strip())
    elif before and "|" in before[1] and "|" in line and _TABLE_RULE.match(line):
        scan.block = ("table", before[0])
    elif before and (rule := _SETEXT.match(line)) and not _NO_PARAGRAPH.match(before[1]):
        level = 1 if rule.group(1)[0] == "=" else 2
        yield _heading(scan, before[0], start + len(line.rstrip()), level, before[1].strip())
    elif line.strip():
        scan.before = (start, line)


def _heading(scan: _Scan, start: int, end: int, level: int, title: str) -> Element:
    while scan.path and scan.path[-1][0] >= level:
        scan.path.pop()
    section = tuple(name for _, name in scan.path)
    scan.path.append((level, title))
    return Element("heading", start, end, None, section)


def _close(scan: _Scan, end: int) -> Element:
    kind, start = scan.block
    scan.fence = scan.block = None
    return Element(kind, start, end, None, tuple(name for _, name in scan.path))
