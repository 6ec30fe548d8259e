"""The query as the collection's own model sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from semantik_pipeline.contracts import EmbeddingMode
from semantik_pipeline.errors import DimensionMismatch

if TYPE_CHECKING:
    import numpy as np

    from semantik_pipeline.documents import SparseVector


def embed_query(runtime: Any, view: Any, text: str) -> np.ndarray:
    """The query's vector, (d,) float32, by the model of the generation that search reads.

    Raises DimensionMismatch naming both lengths, and PluginNotFoundError when the embedding plugin is disabled.
    """
    import numpy as np

    embedder = runtime.embedder(view.generation_id)
    vector = np.asarray(runtime.host.call(embedder.embed_single, text, mode=EmbeddingMode.QUERY), dtype=np.float32)
    vector = vector.reshape(-1)
    if len(vector) != view.dimension:
        raise DimensionMismatch(
            f"The embedding plugin {type(embedder).PLUGIN_ID!r} gave a query vector of {len(vector)} dimensions, "
            f"but the index of collection {view.collection!r} has {view.dimension}.",
            "The model changed since the collection was indexed: index it again, or give the model back.",
        )
    return vector


def sparse_query(runtime: Any, view: Any, text: str) -> SparseVector:
    """The query's sparse vector, by the sparse model of the generation that search reads."""
    encoder = runtime.sparse_encoder(view.generation_id)
    (vector,) = runtime.host.call(encoder.embed_sparse, [text], mode=EmbeddingMode.QUERY)
    return vector
