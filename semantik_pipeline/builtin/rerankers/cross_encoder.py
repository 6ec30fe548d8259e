"""The ``cross-encoder`` reranker: a model that reads the query and a text together."""

from __future__ import annotations

import threading
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
    """Any cross-encoder with one output, by name or path: plain BERT models (MS MARCO MiniLM), Qwen3-Reranker, and
    models that sentence-transformers loads (BGE). The last kind takes 5 to 8 s to load, mostly to import
    sentence-transformers."""

    PLUGIN_ID: ClassVar[str] = "cross-encoder"
    PLUGIN_VERSION: ClassVar[str] = "2.0.0"
    METADATA: ClassVar[dict[str, Any]] = {
        "name": "Cross-encoder",
        "description": "Reads query and text together; the most accurate and the slowest. Requires separate model"
        " weights.",
    }
    DEFAULT_MODEL: ClassVar[str] = "cross-encoder/ms-marco-MiniLM-L6-v2"
    MODEL_OPTION: ClassVar[str] = "Name on the hub, or a folder."
    MODEL_KIND: ClassVar[str] = "cross-encoder"
    CALIBRATED: ClassVar[bool] = True

    async def rerank(  # type: ignore[override]  # the contract lets a plugin leave arguments out
        self,
        query: str,
        documents: list[str],
        top_k: int | None = None,
        metadata: list[dict[str, Any]] | None = None,
    ) -> list[RerankResult]:
        """The probability, 0..1, that the model gives. A text too long for the window is read in parts and gets the
        score of its best part."""
        if not documents:
            return []
        return best_first(await self.stoppable(self._scores, query, documents), top_k)

    def _scores(self, query: str, documents: list[str], stop: threading.Event) -> np.ndarray:
        return self.loaded().scores(query, documents, stop)

    def load(self, located: ModelFiles) -> LoadedCrossEncoder:
        from semantik_pipeline.builtin.rerankers.loaded_cross_encoder import LoadedCrossEncoder

        return LoadedCrossEncoder(located, ModelOptions.of(self.config), self.config.get("instruction"))

    @classmethod
    def get_config_schema(cls) -> dict[str, Any]:
        schema = super().get_config_schema()
        told = "One sentence on what makes a text relevant, for models that take an instruction (Qwen3-Reranker)."
        instruction = {"type": ["string", "null"], "description": told}
        return {**schema, "properties": {**schema["properties"], "instruction": instruction}}
