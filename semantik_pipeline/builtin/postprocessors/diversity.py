"""Puts hits that say something new before hits that repeat others: maximal marginal relevance.

Carbonell and Goldstein, "The Use of MMR, Diversity-Based Reranking for Reordering Documents and Producing Summaries"
(SIGIR 1998): the next hit is the one with the highest ``lambda × relevance - (1 - lambda) × likeness``, where likeness
is its cosine to the nearest hit that was chosen before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from semantik_pipeline.builtin.postprocessors.from_hits import FromHits
from semantik_pipeline.contracts.postprocessor import PostprocessContext, QueryText
from semantik_pipeline.documents import SearchHit
from semantik_pipeline.errors import PluginError

if TYPE_CHECKING:
    import numpy as np


class DiversityPostprocessor(FromHits):
    """Reorders the first ``POOL`` hits, whatever page is requested, and leaves the others in place. Scores do not
    change, so hits are no longer sorted by score."""

    PLUGIN_ID = "diversity"
    PLUGIN_VERSION = "1.0.0"
    POOL = 200
    METADATA: ClassVar[dict[str, Any]] = {
        "name": "Diversity",
        "description": "Hits that say something new come first (maximal marginal relevance).",
        "license": "Apache-2.0",
    }

    OPTIONS: ClassVar[dict[str, dict[str, Any]]] = {
        "lambda": {
            "type": "number",
            "minimum": 0,
            "maximum": 1,
            "default": 0.7,
            "description": "1 ranks only by relevance; 0 only by how much a hit differs from those before it.",
        },
    }

    async def process(self, query: QueryText, hits: list[SearchHit], context: PostprocessContext) -> list[SearchHit]:
        pool, rest = hits[: self.POOL], hits[self.POOL :]
        vectors = await context.vectors(pool)
        if pool and all(vector is None for vector in vectors):
            raise PluginError("the store returns no vectors, which are needed to compare hits")
        order = marginal_order([hit.score for hit in pool], vectors, self.option("lambda"))
        return [*(pool[place] for place in order), *rest]


def marginal_order(relevance: Sequence[float], vectors: Sequence[np.ndarray | None], balance: float) -> list[int]:
    """Positions in the order of maximal marginal relevance; ties keep their order. Hits without a vector are similar to
    no other hit."""
    import numpy as np

    if not relevance:
        return []
    length = next((len(vector) for vector in vectors if vector is not None), 1)
    rows = np.zeros((len(vectors), length), dtype=np.float32)
    for place, vector in enumerate(vectors):
        if vector is not None:
            rows[place] = vector / (np.linalg.norm(vector) or 1.0)
    worth = balance * np.asarray(relevance, dtype=np.float64)
    likeness = np.full(len(rows), -np.inf)
    left = np.ones(len(rows), dtype=bool)
    order: list[int] = []
    while left.any():
        penalty = (1 - balance) * likeness if order else 0.0
        marginal = np.where(left, worth - penalty, -np.inf)
        chosen = int(np.argmax(marginal))
        order.append(chosen)
        left[chosen] = False
        likeness = np.maximum(likeness, rows @ rows[chosen])
    return order
