"""An embedder that takes almost no time, so that a benchmark measures the pipeline itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from semantik_pipeline.contracts import EmbeddingMode, EmbeddingPlugin

if TYPE_CHECKING:
    import numpy as np

#: Number of vectors, which are generated once. A call with more texts repeats them.
ROWS = 8192


class NullEmbedder(EmbeddingPlugin):
    """Returns rows of one random array, (len(texts), ``dimension``) float32, whatever the texts are."""

    PLUGIN_ID = "null-embedder"
    _rows: np.ndarray

    @classmethod
    def get_config_schema(cls) -> dict[str, Any]:
        return {"type": "object", "properties": {"dimension": {"type": "integer", "minimum": 1, "default": 384}}}

    async def initialize(self) -> None:
        self._rows = await asyncio.to_thread(_random_rows, await self.get_dimension())

    async def embed_texts(
        self, texts: list[str], batch_size: int = 32, *, mode: EmbeddingMode = EmbeddingMode.DOCUMENT
    ) -> np.ndarray:
        return self._rows[: len(texts)] if len(texts) <= ROWS else self._rows.take(range(len(texts)), 0, mode="wrap")

    async def get_dimension(self) -> int:
        return int(self.config.get("dimension", 384))

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    def max_input_tokens(self) -> int | None:
        return 256

    def tokenizer_revision(self) -> str:
        return "white-space"

    def get_model_info(self) -> dict[str, Any]:
        return {"model": "null", "dimension": int(self.config.get("dimension", 384)), "device": "none"}


def _random_rows(dimension: int) -> np.ndarray:
    import numpy as np

    return np.random.default_rng(1).standard_normal((ROWS, dimension), dtype=np.float32)
