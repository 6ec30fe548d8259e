"""A chunker that makes windows of a fixed number of tokens."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from semantik_pipeline.builtin.chunkers.boundaries import Level
from semantik_pipeline.builtin.chunkers.layout import lay_out
from semantik_pipeline.builtin.chunkers.options import checked, schema
from semantik_pipeline.builtin.chunkers.packing import Style
from semantik_pipeline.builtin.chunkers.structure import usable
from semantik_pipeline.builtin.chunkers.word_counts import WordCounts
from semantik_pipeline.contracts import ChunkConfig, ChunkingPlugin, HealthState, HealthStatus
from semantik_pipeline.documents import Chunk

_WORD = re.compile(r"\S++")


class FixedTokenChunker(ChunkingPlugin):
    """Each window is as full as whole words allow and repeats ``overlap_tokens`` of the one before. Structure is
    ignored. A word longer than the budget is divided at characters."""

    PLUGIN_ID = "fixed-token"
    PLUGIN_VERSION = "1.0.1"
    METADATA = {
        "name": "Fixed tokens",
        "description": "Windows of the same number of tokens with a fixed overlap, cut between words.",
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
        words = ((match.start(), Level.WORD) for match in _WORD.finditer(content))
        style = Style(best_border=False, partial_lead=False)
        elements = usable(content, config.elements)
        return lay_out(content, words, elements, config, self._words, style, progress_callback)
