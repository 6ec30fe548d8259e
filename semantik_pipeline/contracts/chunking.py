"""Chunkers split a text into pieces that fit the embedding model."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from semantik_pipeline.contracts.plugin import SemanticPlugin
from semantik_pipeline.documents import Chunk, Element

if TYPE_CHECKING:
    import numpy as np


def estimate_tokens(texts: Sequence[str]) -> list[int]:
    """Count a token for each four UTF-8 bytes, rounded up: an estimate for English, used only without a tokenizer."""
    return [math.ceil(len(text.encode("utf-8", "replace")) / 4) for text in texts]


@dataclass(frozen=True)
class ChunkConfig:
    """The budget of a chunk in tokens, and what the host supplies to a chunker.

    ``count_tokens`` maps texts to their token counts by the embedding model's own tokenizer, without special tokens.
    ``elements`` is the parser's structure. ``embed`` maps texts to an (n, d) float32 array.
    """

    max_tokens: int = 200
    min_tokens: int = 20
    overlap_tokens: int = 20
    separators: list[str] | None = None
    semantic_threshold: float = 0.7
    options: dict[str, Any] = field(default_factory=dict)
    count_tokens: Callable[[Sequence[str]], list[int]] = estimate_tokens
    elements: Sequence[Element] = ()
    embed: Callable[[Sequence[str]], np.ndarray] | None = None


class ChunkingPlugin(SemanticPlugin):
    """Splits a parsed text. Runs in a child process under a deadline and a memory limit."""

    PLUGIN_TYPE: ClassVar[str] = "chunking"

    def chunk(
        self, content: str, config: ChunkConfig, progress_callback: Callable[[float], None] | None = None
    ) -> list[Chunk]:
        """Return chunks in order, each at most ``config.max_tokens`` long. Together they cover all but white space.

        The host splits a chunk that exceeds the budget; nothing is lost. ``progress_callback`` takes the share that is
        done, 0..1.
        """
        raise NotImplementedError

    def validate_content(self, content: str) -> tuple[bool, str | None]:
        """Return whether the text can be chunked, and the reason if it can't."""
        return (True, None) if content.strip() else (False, "the text is empty")

    def estimate_chunks(self, content_length: int, config: ChunkConfig) -> int:
        """Estimate how many chunks a text of that many characters gives, at four characters a token."""
        step = max(1, config.max_tokens - config.overlap_tokens) * 4
        return max(1, math.ceil(content_length / step)) if content_length else 0
