"""The ``late-interaction`` reranker: each query token looks for its nearest token in the text, and texts that resemble
the best passages rise.

It uses the embedding model itself, so it needs no weights of its own (late_scoring.py). The resemblance is computed as
in ``relevance-feedback``, from the vectors in the index. nDCG@10 on Cranfield's odd and even queries, over 30 passages
and with 0.3 of the final score: 0.437 and 0.442 without reranking, 0.439 and 0.426 with MaxSim alone, 0.452 and 0.450
with the feedback counting twice as much as MaxSim, 0.453 and 0.457 with the feedback alone. Late interaction is
therefore useful with a model that was trained for it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from semantik_pipeline.builtin.embedders.dense_local_schema import LOADING
from semantik_pipeline.builtin.embedders.loaded_model import ModelOptions, load_model
from semantik_pipeline.builtin.embedders.packaged_model import NAMES
from semantik_pipeline.builtin.rerankers.local_model import LocalModelReranker
from semantik_pipeline.builtin.rerankers.ranking import best_first
from semantik_pipeline.builtin.rerankers.relevance_feedback import resemblance
from semantik_pipeline.contracts.reranker import RerankerCapabilities
from semantik_pipeline.documents import RerankResult

if TYPE_CHECKING:
    import numpy as np

    from semantik_pipeline.builtin.rerankers.late_scoring import LateScoring
    from semantik_pipeline.builtin.rerankers.multi_vectors import MultiVectorScoring
    from semantik_pipeline.contracts.models import ModelFiles

#: The weight of the resemblance to the feedback, relative to MaxSim.
FEEDBACK_SHARE = 2.0


class LateInteractionReranker(LocalModelReranker):
    """Shares the weights in memory with the ``dense-local`` embedder of the same model; nothing is loaded twice."""

    PLUGIN_ID: ClassVar[str] = "late-interaction"
    PLUGIN_VERSION: ClassVar[str] = "3.1.0"
    METADATA: ClassVar[dict[str, Any]] = {
        "name": "Late interaction",
        "description": "MaxSim over the embedding model's own token vectors, with feedback from the best; no download.",
    }
    DEFAULT_MODEL: ClassVar[str] = NAMES[0]
    MODEL_OPTION: ClassVar[str] = (
        "Name or folder of an embedding model, preferably the collection's own, or of a ColBERT model."
    )
    MODEL_KIND: ClassVar[str] = "late-interaction model"
    EMBEDDER_OPTIONS: ClassVar[Mapping[str, tuple[str, ...]]] = {"dense-local": ("model", "revision", *LOADING)}

    async def rerank(  # type: ignore[override]  # the contract lets a plugin leave arguments out
        self,
        query: str,
        documents: list[str],
        top_k: int | None = None,
        metadata: list[dict[str, Any]] | None = None,
        vectors: np.ndarray | None = None,
        feedback_vectors: np.ndarray | None = None,
    ) -> list[RerankResult]:
        """Scores within 0..1: the weighted mean, over the query's tokens, of the cosine to the nearest token.

        With ``vectors``, their ``resemblance`` to the feedback is part of the score; a text without a vector resembles
        nothing. The scores lie close together, so the search must rescale them over a query's passages (they are not
        ``calibrated``). Scores of several calls for one query can be compared. Long texts are read in windows, in full.
        """
        if not documents:
            return []
        return best_first(await self.stoppable(self._scores, query, documents, vectors, feedback_vectors), top_k)

    @classmethod
    def get_capabilities(cls) -> RerankerCapabilities:
        """Three candidates for each hit: those further down rarely rise among the hits (relevance_feedback.py)."""
        return replace(super().get_capabilities(), candidates_per_hit=3)

    def _scores(
        self,
        query: str,
        documents: list[str],
        vectors: np.ndarray | None,
        feedback_vectors: np.ndarray | None,
        stop: threading.Event,
    ) -> np.ndarray:
        scoring: LateScoring | MultiVectorScoring = self.loaded()
        met = scoring.scores(query, documents, stop)
        if vectors is None or feedback_vectors is None or not scoring.TAKES_FEEDBACK:
            return met
        return (met + FEEDBACK_SHARE * resemblance(vectors, feedback_vectors)) / (1 + FEEDBACK_SHARE)

    def load(self, located: ModelFiles) -> LateScoring | MultiVectorScoring:
        """Create the scoring. It shares the weights that an embedder of this process has already loaded; a model that
        was trained for late interaction (ColBERT) is scored in its own way."""
        from semantik_pipeline.builtin.rerankers.late_scoring import LateScoring
        from semantik_pipeline.builtin.rerankers.multi_vectors import MultiVectorScoring, is_multi_vector

        options = ModelOptions.of(self.config)
        if is_multi_vector(located.path):
            return MultiVectorScoring(located, options)
        return LateScoring(load_model(located, options))
