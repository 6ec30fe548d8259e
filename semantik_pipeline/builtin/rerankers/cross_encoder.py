"""The ``cross-encoder`` reranker: a model that reads query and text together."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import numpy as np

from semantik_pipeline.builtin.embedders.dense_local_schema import LOADING
from semantik_pipeline.builtin.embedders.loaded_model import ModelOptions
from semantik_pipeline.builtin.embedders.model_card import model_revision
from semantik_pipeline.builtin.embedders.model_location import LocatedModel, locate_model
from semantik_pipeline.builtin.rerankers.loaded_cross_encoder import LoadedCrossEncoder
from semantik_pipeline.builtin.rerankers.ranking import best_first
from semantik_pipeline.contracts.plugin import HealthState, HealthStatus
from semantik_pipeline.contracts.reranker import RerankerCapabilities, RerankerPlugin
from semantik_pipeline.documents import RerankResult
from semantik_pipeline.errors import PluginError

DEFAULT_MODEL = "cross-encoder/ms-marco-MiniLM-L6-v2"


class CrossEncoderReranker(RerankerPlugin):
    """Any sentence-transformers CrossEncoder with one output, by name or path."""

    PLUGIN_ID: ClassVar[str] = "cross-encoder"
    PLUGIN_VERSION: ClassVar[str] = "2.0.0"
    METADATA: ClassVar[dict[str, Any]] = {
        "name": "Cross-encoder",
        "description": "Reads query and text together; the most exact, and the slowest. Needs weights of its own.",
    }

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        super().__init__(config)
        self._model: LoadedCrossEncoder | None = None

    async def initialize(self) -> None:
        """Load the weights (5 to 8 s, most of it the import of sentence-transformers)."""
        await asyncio.to_thread(self._loaded)

    async def cleanup(self) -> None:
        self._model = None

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
        return self._loaded().scores(query, documents)

    def _loaded(self) -> LoadedCrossEncoder:
        if self._model is None:
            self._model = LoadedCrossEncoder(_locate(self.config), ModelOptions.of(self.config))
        return self._model

    def output_revision(self) -> str | None:
        return model_revision(_locate(self.config).path)

    @classmethod
    def get_capabilities(cls) -> RerankerCapabilities:
        """Sixteen texts a call, so that a host with a deadline can stop between calls."""
        return RerankerCapabilities(
            max_documents=16, max_query_length=256, max_doc_length=4096, models=(DEFAULT_MODEL,)
        )

    @classmethod
    def get_config_schema(cls) -> dict[str, Any]:
        return {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "model": {"type": "string", "default": DEFAULT_MODEL, "description": "A name on the hub, or a folder."},
                "revision": {"type": ["string", "null"], "description": "Branch, tag or commit on the hub."},
                **LOADING,
            },
        }

    @classmethod
    async def health_check(cls, config: dict[str, Any] | None = None) -> HealthStatus:
        try:
            located = await asyncio.to_thread(_locate, config or {})
        except PluginError as error:
            return HealthStatus(HealthState.UNHEALTHY, str(error))
        return HealthStatus(HealthState.HEALTHY, f"{located.name} from {located.origin}")


def _locate(config: dict[str, Any]) -> LocatedModel:
    name, allow = config.get("model") or DEFAULT_MODEL, bool(config.get("allow_download"))
    return locate_model(name, revision=config.get("revision"), allow_download=allow, kind="cross-encoder")
