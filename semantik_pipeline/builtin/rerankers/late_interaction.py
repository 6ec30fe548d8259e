"""The ``late-interaction`` reranker: each query token looks for its nearest token in the text, and texts that resemble
the best passages rise.

It works with the embedding model itself, so it needs no weights of its own (late_scoring.py).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from semantik_pipeline.builtin.embedders.dense_local import DEFAULT_MODEL
from semantik_pipeline.builtin.embedders.dense_local_schema import LOADING
from semantik_pipeline.builtin.embedders.loaded_model import ModelOptions, load_model
from semantik_pipeline.builtin.embedders.model_card import model_revision
from semantik_pipeline.builtin.embedders.model_location import LocatedModel, locate_model
from semantik_pipeline.builtin.rerankers.late_scoring import LateScoring
from semantik_pipeline.builtin.rerankers.ranking import best_first
from semantik_pipeline.contracts.plugin import HealthState, HealthStatus
from semantik_pipeline.contracts.reranker import RerankerCapabilities, RerankerPlugin
from semantik_pipeline.documents import RerankResult
from semantik_pipeline.errors import PluginError


class LateInteractionReranker(RerankerPlugin):
    """Shares the weights in memory with the ``dense-local`` embedder of the same model; loads nothing twice."""

    PLUGIN_ID: ClassVar[str] = "late-interaction"
    PLUGIN_VERSION: ClassVar[str] = "2.0.0"
    METADATA: ClassVar[dict[str, Any]] = {
        "name": "Late interaction",
        "description": "MaxSim over the embedding model's own token vectors, with feedback from the best; no download.",
    }
    EMBEDDER_OPTIONS: ClassVar[Mapping[str, tuple[str, ...]]] = {"dense-local": ("model", "revision", *LOADING)}

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        super().__init__(config)
        self._scoring: LateScoring | None = None

    async def initialize(self) -> None:
        """Load the weights, unless an embedder of this process holds them already."""
        await asyncio.to_thread(self._loaded)

    async def cleanup(self) -> None:
        self._scoring = None

    async def rerank(
        self,
        query: str,
        documents: list[str],
        top_k: int | None = None,
        metadata: list[dict[str, Any]] | None = None,
        feedback: list[str] | None = None,
    ) -> list[RerankResult]:
        """Scores within -1..1: the weighted mean, over the query's tokens, of the cosine to the nearest token; with
        ``feedback`` the cosine to its sentence vectors' mean has its share (late_scoring.py).

        Scores of several calls for one query can be compared. Long texts are read in windows, nothing is cut.
        """
        if not documents:
            return []
        stop = threading.Event()
        try:
            return best_first(await asyncio.to_thread(self._scores, query, documents, feedback or [], stop), top_k)
        finally:
            stop.set()  # a cancelled call leaves the device after its micro-batch

    def _scores(self, query: str, documents: list[str], feedback: list[str], stop: threading.Event) -> np.ndarray:
        return self._loaded().scores(query, documents, feedback, stop)

    def _loaded(self) -> LateScoring:
        if self._scoring is None:
            self._scoring = LateScoring(load_model(_locate(self.config), ModelOptions.of(self.config)))
        return self._scoring

    def output_revision(self) -> str | None:
        return model_revision(_locate(self.config).path)

    @classmethod
    def get_capabilities(cls) -> RerankerCapabilities:
        """Sixteen texts a call, so that a host with a deadline can stop between calls."""
        return RerankerCapabilities(max_documents=16, max_query_length=256, max_doc_length=4096)

    @classmethod
    def get_config_schema(cls) -> dict[str, Any]:
        return {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "model": {
                    "type": "string",
                    "default": DEFAULT_MODEL,
                    "description": "A name or a folder; best the collection's own embedding model.",
                },
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
    return locate_model(name, revision=config.get("revision"), allow_download=allow, kind="model of late-interaction")
