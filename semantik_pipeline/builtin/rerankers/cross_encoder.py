"""The ``cross-encoder`` reranker: a model that reads query and text together."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar

from semantik_pipeline.builtin.embedders.loaded_model import ModelOptions
from semantik_pipeline.builtin.rerankers.local_model import LocalModelReranker
from semantik_pipeline.builtin.rerankers.ranking import best_first
from semantik_pipeline.documents import RerankResult

if TYPE_CHECKING:
    import numpy as np

    from semantik_pipeline.builtin.rerankers.loaded_cross_encoder import LoadedCrossEncoder
    from semantik_pipeline.contracts.models import ModelFiles


class CrossEncoderReranker(LocalModelReranker):
    """Any sentence-transformers CrossEncoder with one output, by name or path. Loading it takes 5 to 8 s, most of it the
    import of sentence-transformers."""

    PLUGIN_ID: ClassVar[str] = "cross-encoder"
    PLUGIN_VERSION: ClassVar[str] = "2.0.0"
    METADATA: ClassVar[dict[str, Any]] = {
        "name": "Cross-encoder",
        "description": "Reads query and text together; the most exact, and the slowest. Needs weights of its own.",
    }
    DEFAULT_MODEL: ClassVar[str] = "cross-encoder/ms-marco-MiniLM-L6-v2"
    MODEL_OPTION: ClassVar[str] = "A name on the hub, or a folder."
    MODEL_KIND: ClassVar[str] = "cross-encoder"

    async def rerank(  # type: ignore[override]  # the contract lets a plugin leave `feedback` out
        self,
        query: str,
        documents: list[str],
        top_k: int | None = None,
        metadata: list[dict[str, Any]] | None = None,
    ) -> list[RerankResult]:
        """The model's own score. A text too long for the window is read in parts and has its best part's score."""
        if not documents:
            return []
        scores = await asyncio.to_thread(self._scores, query, documents)
        return best_first(scores, top_k)

    def _scores(self, query: str, documents: list[str]) -> np.ndarray:
        return self.loaded().scores(query, documents)

    def load(self, located: ModelFiles) -> LoadedCrossEncoder:
        from semantik_pipeline.builtin.rerankers.loaded_cross_encoder import LoadedCrossEncoder

        return LoadedCrossEncoder(located, ModelOptions.of(self.config))
