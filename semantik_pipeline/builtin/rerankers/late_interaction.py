"""The ``late-interaction`` reranker: each query token looks for its nearest token in the text.

MaxSim as in ColBERT (Khattab and Zaharia 2020), over the token vectors of the embedding model itself, so it needs no
weights of its own; query tokens are weighted (token_weights.py).
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, ClassVar

import numpy as np

from semantik_pipeline.builtin.embedders.dense_local import DEFAULT_MODEL
from semantik_pipeline.builtin.embedders.dense_local_schema import LOADING
from semantik_pipeline.builtin.embedders.loaded_model import LoadedModel, ModelOptions, load_model
from semantik_pipeline.builtin.embedders.model_card import model_revision
from semantik_pipeline.builtin.embedders.model_location import LocatedModel, locate_model
from semantik_pipeline.builtin.embedders.model_tokenizer import Window
from semantik_pipeline.builtin.rerankers.ranking import best_first
from semantik_pipeline.builtin.rerankers.token_weights import TokenWeights
from semantik_pipeline.contracts.plugin import HealthState, HealthStatus
from semantik_pipeline.contracts.reranker import RerankerCapabilities, RerankerPlugin
from semantik_pipeline.documents import RerankResult
from semantik_pipeline.errors import PluginError

log = logging.getLogger(__name__)


class LateInteractionReranker(RerankerPlugin):
    """Shares the weights in memory with the ``dense-local`` embedder of the same model; loads nothing twice."""

    PLUGIN_ID: ClassVar[str] = "late-interaction"
    PLUGIN_VERSION: ClassVar[str] = "2.0.0"
    METADATA: ClassVar[dict[str, Any]] = {
        "name": "Late interaction",
        "description": "MaxSim over the embedding model's own token vectors; needs no download.",
    }

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        super().__init__(config)
        self._model: LoadedModel | None = None
        self._weights: TokenWeights | None = None
        self._last: tuple[str, np.ndarray, np.ndarray] | None = None

    async def initialize(self) -> None:
        """Load the weights, unless an embedder of this process holds them already."""
        await asyncio.to_thread(self._loaded)

    async def cleanup(self) -> None:
        self._model = self._last = None

    async def rerank(
        self,
        query: str,
        documents: list[str],
        top_k: int | None = None,
        metadata: list[dict[str, Any]] | None = None,
    ) -> list[RerankResult]:
        """Scores within -1..1: the weighted mean, over the query's tokens, of the cosine to the nearest token.

        Scores of several calls for one query can be compared. Long texts are read in windows, nothing is cut.
        """
        if not documents:
            return []
        scores = await asyncio.to_thread(self._scores, query, documents)
        return best_first(scores, top_k)

    def _scores(self, query: str, documents: list[str]) -> np.ndarray:
        model = self._loaded()
        wanted, weights = self._asked(query)
        if not len(weights):
            return np.zeros(len(documents), dtype=np.float32)
        nearest = np.full((len(documents), len(weights)), -1.0, dtype=np.float32)
        windows = model.tokenizer.windows(documents, limit=model.card.window)
        for window, states in zip(windows, model.token_vectors(windows), strict=True):
            kept = self._content(window)
            if kept:
                nearest[window.owner] = np.maximum(nearest[window.owner], _nearest(states, kept, wanted))
        return nearest @ weights / weights.sum()

    def _asked(self, query: str) -> tuple[np.ndarray, np.ndarray]:
        """Unit vectors (tokens, d) and weights (tokens,) of a query; the last one is kept, for the slices to come."""
        last = self._last
        if last is None or last[0] != query:
            windows = self._model.tokenizer.windows([query], limit=self._model.card.window)
            found = self._model.token_vectors(windows)
            kept = [self._content(window) for window in windows]
            units = [(states / _lengths(states))[places] for states, places in zip(found, kept, strict=True)]
            ids = [window.ids[place] for window, places in zip(windows, kept, strict=True) for place in places]
            last = self._last = (query, np.concatenate(units), self._weights.of(ids))
        return last[1], last[2]

    def _content(self, window: Window) -> list[int]:
        """Places of a window's own tokens; special ones match everywhere and tell nothing."""
        special = self._model.tokenizer.special_ids
        return [place for place, id in enumerate(window.ids) if id not in special]

    def _loaded(self) -> LoadedModel:
        if self._model is None:
            model = load_model(_locate(self.config), ModelOptions.of(self.config))
            self._weights = TokenWeights(model.tokenizer.vocabulary)
            self._model = model
        return self._model

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


def _nearest(states: np.ndarray, kept: list[int], wanted: np.ndarray) -> np.ndarray:
    """For each of the wanted unit vectors, the highest cosine to a kept state.

    In torch: numpy's BLAS brings threads of its own, which spin for a while where the next forward wants the cores.
    """
    import torch

    found = torch.from_numpy(states)
    cosines = (found @ torch.from_numpy(wanted).T) / found.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return cosines[kept].amax(dim=0).numpy()


def _lengths(vectors: np.ndarray) -> np.ndarray:
    """(n, 1) Euclidean lengths, never 0."""
    return np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
