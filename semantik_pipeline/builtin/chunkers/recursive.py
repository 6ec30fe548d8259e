"""The default chunker: fills each chunk and ends it where the text divides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from semantik_pipeline.builtin.chunkers.boundaries import separator_boundaries, text_boundaries
from semantik_pipeline.builtin.chunkers.layout import lay_out
from semantik_pipeline.builtin.chunkers.options import SEPARATORS, checked, schema
from semantik_pipeline.builtin.chunkers.packing import Style
from semantik_pipeline.builtin.chunkers.structure import divide, usable
from semantik_pipeline.builtin.chunkers.word_counts import WordCounts
from semantik_pipeline.contracts import ChunkConfig, ChunkingPlugin, HealthState, HealthStatus
from semantik_pipeline.documents import Chunk


class RecursiveChunker(ChunkingPlugin):
    """Fills chunks up to the budget and ends each at the best border of its second half.

    Borders, best first: top-level headings and pages (crossed only by a chunk below ``min_tokens``), other headings,
    paragraphs, lines, sentences, words, characters. The overlap is whole sentences, or else the last words of one.
    """

    PLUGIN_ID = "recursive"
    PLUGIN_VERSION = "1.0.1"
    METADATA = {
        "name": "Recursive",
        "description": "Token budget, ends at headings, paragraphs, lines or sentences, with overlap. The default.",
        "semantik_version": ">=2.0,<3",
    }

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        super().__init__(config)
        self._words = WordCounts()

    @classmethod
    def get_config_schema(cls) -> dict[str, Any]:
        return schema(separators=SEPARATORS)

    @classmethod
    async def health_check(cls, config: dict[str, Any] | None = None) -> HealthStatus:
        return HealthStatus(HealthState.HEALTHY)

    def chunk(
        self, content: str, config: ChunkConfig, progress_callback: Callable[[float], None] | None = None
    ) -> list[Chunk]:
        config = checked(config)
        separators = config.separators
        found = text_boundaries(content) if separators is None else separator_boundaries(content, separators)
        elements = usable(content, config.elements)
        return lay_out(
            content, divide(content, found, elements), elements, config, self._words, Style(), progress_callback
        )
