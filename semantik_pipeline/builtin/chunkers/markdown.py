"""A chunker for Markdown: each chunk belongs to one section and records its headings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from semantik_pipeline.builtin.chunkers.boundaries import text_boundaries
from semantik_pipeline.builtin.chunkers.layout import lay_out
from semantik_pipeline.builtin.chunkers.options import checked, schema
from semantik_pipeline.builtin.chunkers.packing import Style
from semantik_pipeline.builtin.chunkers.structure import divide, usable
from semantik_pipeline.builtin.chunkers.word_counts import WordCounts
from semantik_pipeline.builtin.parsers.markdown import markdown_elements
from semantik_pipeline.contracts import ChunkConfig, ChunkingPlugin, HealthState, HealthStatus
from semantik_pipeline.documents import Chunk, Element


class MarkdownChunker(ChunkingPlugin):
    """Ends a chunk at every heading unless it would be below ``min_tokens``, keeps code blocks and tables whole if they
    fit, and writes the heading path to ``metadata["section"]``.

    It uses the parser's headings; a text without any is read as raw Markdown.
    """

    PLUGIN_ID = "markdown"
    PLUGIN_VERSION = "1.0.1"
    METADATA = {
        "name": "Markdown",
        "description": "One section per chunk if the budget allows; keeps code and tables whole, and the heading path.",
        "semantik_version": ">=2.0,<3",
    }

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        super().__init__(config)
        self._words = WordCounts()

    @classmethod
    def get_config_schema(cls) -> dict[str, Any]:
        return schema()

    @classmethod
    async def health_check(cls, config: dict[str, Any] | None = None) -> HealthStatus:
        return HealthStatus(HealthState.HEALTHY)

    def chunk(
        self, content: str, config: ChunkConfig, progress_callback: Callable[[float], None] | None = None
    ) -> list[Chunk]:
        config = checked(config)
        elements = usable(content, config.elements)
        if not any(element.kind == "heading" for element in elements):
            elements = usable(content, [*_pages(elements), *markdown_elements(content)[0]])
        boundaries = divide(content, text_boundaries(content), elements, every_heading=True)
        return lay_out(content, boundaries, elements, config, self._words, Style(), progress_callback)


def _pages(elements: Sequence[Element]) -> list[Element]:
    """The parser's elements reduced to their page numbers."""
    return [replace(element, kind="page", section=()) for element in elements if element.page is not None]
