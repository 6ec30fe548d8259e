"""The ``relevance-feedback`` reranker: passages that resemble the best ones rise. No model is run.

Pseudo-relevance feedback (Rocchio 1971) uses what the query did not say: passages that answer it resemble one another.
The reranker compares vectors that are already in the index, so it adds a few milliseconds to a search.

Measured over 30 passages, with 0.3 of the final score. The first two columns are nDCG@10 on Cranfield's odd queries (on
which the constants were chosen) and even ones. The others are MRR@10 (odd, even) on two known-item sets, which must not
get worse: sentences taken out of Python's reference topics (those that find anything, because quotes are conditions),
and first lines of standard library docstrings, with the rest as the text:

| | odd | even | topics | docstrings |
|---|---|---|---|---|
| no reranking | 0.437 | 0.442 | 0.347, 0.389 | 0.491, 0.518 |
| the best one | 0.452 | 0.453 | 0.353, 0.431 | 0.504, 0.519 |
| the two best alike | 0.451 | 0.456 | 0.356, 0.402 | 0.500, 0.522 |
| the two best, the second counting half | 0.453 | 0.457 | 0.350, 0.411 | 0.501, 0.524 |
| the three best, each counting half of the one before | 0.451 | 0.454 | 0.351, 0.410 | 0.502, 0.522 |
| the best of the two best documents | 0.450 | 0.454 | 0.350, 0.409 | 0.501, 0.525 |
| the two best, and the query counting half | 0.448 | 0.452 | 0.348, 0.409 | 0.500, 0.524 |

nDCG@10 on Cranfield is 0.452 and 0.454 over 50 passages, and 0.451 and 0.450 over 100. Over 30 with 0.4 of the final
score it is 0.455 and 0.457, with no further gain for the known items. With MaxSim over the model's token vectors in
addition (``late-interaction`` after it), it is 0.451 and 0.455.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from semantik_pipeline.builtin.rerankers.ranking import best_first
from semantik_pipeline.contracts.plugin import HealthState, HealthStatus
from semantik_pipeline.contracts.reranker import RerankerCapabilities, RerankerPlugin
from semantik_pipeline.documents import RerankResult
from semantik_pipeline.errors import PluginError

if TYPE_CHECKING:
    import numpy as np

#: The weight of a feedback vector relative to the one before it: the best passage usually is an answer.
FADING = 0.5

#: Documents of one call: as many as a search compares by default.
AT_ONCE = 200

#: The limit for tokens of a query or document: no text is read.
NO_LIMIT = 1_000_000_000


class RelevanceFeedbackReranker(RerankerPlugin):
    """Works with any embedder that the collection has, and loads nothing."""

    PLUGIN_ID: ClassVar[str] = "relevance-feedback"
    PLUGIN_VERSION: ClassVar[str] = "1.0.0"
    METADATA: ClassVar[dict[str, Any]] = {
        "name": "Relevance feedback",
        "description": "Passages that resemble the best ones rise, by the vectors in the index; no model, no waiting.",
        "license": "Apache-2.0",
    }

    async def rerank(  # type: ignore[override]  # the contract lets a plugin leave arguments out
        self,
        query: str,
        documents: list[str],
        top_k: int | None = None,
        metadata: list[dict[str, Any]] | None = None,
        vectors: np.ndarray | None = None,
        feedback_vectors: np.ndarray | None = None,
    ) -> list[RerankResult]:
        """Scores within 0..1, computed by :func:`resemblance`. The search must rescale them over a query's passages
        (they are not ``calibrated``). Raises PluginError if there are no vectors."""
        if vectors is None or feedback_vectors is None:
            raise PluginError(
                "The store returns no vectors, which are needed to compare passages.",
                "Choose another reranker (search.reranker), or search without one.",
            )
        return best_first(resemblance(vectors, feedback_vectors), top_k)

    @classmethod
    def get_capabilities(cls) -> RerankerCapabilities:
        """Three candidates for each hit: those further down rarely rise among the hits."""
        return RerankerCapabilities(
            max_documents=AT_ONCE,
            first_documents=AT_ONCE,
            max_query_length=NO_LIMIT,
            max_doc_length=NO_LIMIT,
            candidates_per_hit=3,
        )

    @classmethod
    def get_config_schema(cls) -> dict[str, Any]:
        return {"type": "object", "properties": {}, "additionalProperties": False}

    @classmethod
    async def health_check(cls, config: dict[str, Any] | None = None) -> HealthStatus:
        return HealthStatus(HealthState.HEALTHY)


def resemblance(vectors: np.ndarray, feedback: np.ndarray) -> np.ndarray:
    """(n,) float32 within 0..1: the cosine of each unit vector in ``vectors``, (n, d), to the weighted sum of the
    ``feedback``, (k, d), in which each vector counts FADING times the one before. Negative cosines count as 0."""
    import numpy as np

    towards = (feedback * FADING ** np.arange(len(feedback), dtype=np.float32)[:, None]).sum(0)
    return (vectors @ (towards / max(float(np.linalg.norm(towards)), 1e-12))).clip(0, 1)
