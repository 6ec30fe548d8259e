"""A chunker that packs as many whole sentences as fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import merge
from typing import Any

from semantik_pipeline.builtin.chunkers.boundaries import Boundary, Level, line_boundaries, sentence_boundaries
from semantik_pipeline.builtin.chunkers.layout import lay_out
from semantik_pipeline.builtin.chunkers.options import checked, schema
from semantik_pipeline.builtin.chunkers.packing import Style
from semantik_pipeline.builtin.chunkers.structure import usable
from semantik_pipeline.builtin.chunkers.word_counts import WordCounts
from semantik_pipeline.contracts import ChunkConfig, ChunkingPlugin, HealthState, HealthStatus
from semantik_pipeline.documents import Chunk


def sentences(content: str) -> Iterator[Boundary]:
    """Starts of sentences. The end of a paragraph, or of a line that is not merely wrapped, also ends a sentence."""
    lines = ((place, Level.SENTENCE) for place, level in line_boundaries(content) if level > Level.WRAP)
    return merge(lines, sentence_boundaries(content))


class SentenceChunker(ChunkingPlugin):
    """Packs whole sentences up to the budget; the overlap is whole sentences or nothing. A sentence longer than the
    budget is divided at words."""

    PLUGIN_ID = "sentence"
    PLUGIN_VERSION = "1.0.1"
    METADATA = {
        "name": "Sentence",
        "description": "Whole sentences packed to the budget, whole sentences as overlap.",
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
        style = Style(best_border=False, partial_lead=False)
        elements = usable(content, config.elements)
        return lay_out(content, sentences(content), elements, config, self._words, style, progress_callback)
