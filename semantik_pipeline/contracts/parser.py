"""Parsers turn a document's bytes into text with structure."""

from __future__ import annotations

from typing import Any, ClassVar

from semantik_pipeline.contracts.plugin import SemanticPlugin
from semantik_pipeline.documents import ParsedDocument


class ParserPlugin(SemanticPlugin):
    """Turns a document's bytes into text. Runs in a child process under a deadline and a memory limit."""

    PLUGIN_TYPE: ClassVar[str] = "parser"

    @classmethod
    def supported_media_types(cls) -> list[str]:
        """Return the media types that it takes, such as ``application/pdf`` or ``text/*``."""
        return []

    @classmethod
    def supported_extensions(cls) -> list[str]:
        """Return the file extensions that it takes, with the dot, in lower case."""
        return []

    def parse(
        self,
        content: bytes,
        *,
        file_path: str | None = None,
        media_type: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> ParsedDocument:
        """Return text and elements. Raise UnsupportedContent (encrypted, corrupt) or SkipDocument (no text in it)."""
        raise NotImplementedError
