"""The parser ``text``: Markdown, source code, plain text and all other formats that are readable without conversion."""

from __future__ import annotations

from typing import Any

from semantik_pipeline.builtin.parsers.decoding import decode
from semantik_pipeline.builtin.parsers.markdown import markdown_elements
from semantik_pipeline.builtin.parsers.markup import org_headings, rst_headings
from semantik_pipeline.builtin.parsers.outline import paragraphs, with_headings
from semantik_pipeline.contracts import HealthState, HealthStatus, ParserPlugin
from semantik_pipeline.contracts.media_names import NAMED, by_name
from semantik_pipeline.documents import Element, ParsedDocument
from semantik_pipeline.errors import SkipDocument

_OTHER_TEXT = [
    "application/json",
    "application/x-ndjson",
    "application/yaml",
    "application/x-yaml",
    "application/toml",
    "application/javascript",
    "application/sql",
    "application/x-sh",
    "application/x-tex",
]
# Text types that the parser `unstructured` handles.
_NOT_OURS = {"text/html", "text/rtf", "text/xml"}
_TABLES = {"text/csv", "text/tab-separated-values"}


class TextParser(ParserPlugin):
    """Decodes the text and converts line ends to ``\\n``. Nothing is left out or added.

    The elements of Markdown, reStructuredText and Org are their headings and blocks, those of other text its
    paragraphs. A CSV file is one table. ``metadata["encoding"]`` is the encoding of the bytes. The title is the first
    heading.
    """

    PLUGIN_ID = "text"
    PLUGIN_VERSION = "1.0.0"
    METADATA = {"name": "Text", "description": "Plain text, Markdown, source code, CSV, JSON; encodings are detected."}

    @classmethod
    def supported_media_types(cls) -> list[str]:
        return ["text/*", *_OTHER_TEXT]

    @classmethod
    def supported_extensions(cls) -> list[str]:
        ours = {"text/*", *_OTHER_TEXT}
        return [
            extension
            for extension, kind in NAMED.items()
            if kind not in _NOT_OURS and (kind.startswith("text/") or kind in ours)
        ]

    @classmethod
    async def health_check(cls, config: dict[str, Any] | None = None) -> HealthStatus:
        return HealthStatus(HealthState.HEALTHY)

    def parse(
        self,
        content: bytes,
        *,
        file_path: str | None = None,
        media_type: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> ParsedDocument:
        name = file_path or "The document"
        text, encoding = decode(content, name)
        if not text or text.isspace():
            raise SkipDocument(f"{name} holds only white space.")
        elements, title = _structure(text, _kind(file_path, media_type))
        return ParsedDocument(text, elements, {"encoding": encoding}, title)


def _kind(file_path: str | None, media_type: str | None) -> str:
    """The media type that determines the structure of the text. The file name decides if the media type is only
    ``text/plain``, unspecific or missing."""
    if media_type and media_type not in ("text/plain", "application/octet-stream"):
        return media_type
    return (by_name(file_path) if file_path else None) or "text/plain"


def _structure(text: str, kind: str) -> tuple[list[Element], str | None]:
    if kind == "text/markdown":
        return markdown_elements(text)
    if kind in ("text/x-rst", "text/prs.fallenstein.rst"):
        return _with_title(text, list(rst_headings(text)))
    if kind == "text/org":
        return _with_title(text, list(org_headings(text)))
    if kind in _TABLES:
        return [Element("table", 0, len(text.rstrip()))], None
    return paragraphs(text), None


def _with_title(text: str, headings: list[tuple[int, int, int, str]]) -> tuple[list[Element], str | None]:
    return with_headings(text, headings), headings[0][3] if headings else None
