"""An index's spec as Qdrant Edge's configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from semantik_pipeline.errors import UsageError

if TYPE_CHECKING:
    import qdrant_edge

    from semantik_pipeline.documents import IndexSpec

#: Kilobytes of vectors above which the optimiser rebuilds a segment; the least that makes sense to the engine.
INDEXING_THRESHOLD_KB = 1000


def shard_config(spec: IndexSpec, edges: int = 0) -> qdrant_edge.EdgeConfig:
    """Named vectors ``dense`` and ``sparse``, everything on disk that can be. ``edges`` is HNSW's m; 0: no graph."""
    import qdrant_edge as edge

    distances = {"cosine": edge.Distance.Cosine, "dot": edge.Distance.Dot, "euclid": edge.Distance.Euclid}
    if spec.distance not in distances:
        raise UsageError(f"Qdrant has no distance {spec.distance!r}.", f"It has {', '.join(distances)}.")
    cold = edge.Memory.Cold
    sparse = edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf, memory=cold)
    return edge.EdgeConfig(
        vectors={
            "dense": edge.EdgeVectorParams(size=spec.dimension, distance=distances[spec.distance], memory=cold),
        },
        sparse_vectors=None if spec.bm25 is None else {"sparse": sparse},
        hnsw_config=edge.HnswIndexConfig(m=edges, ef_construct=100, full_scan_threshold=10_000),
        optimizers=edge.EdgeOptimizersConfig(indexing_threshold=INDEXING_THRESHOLD_KB),
        payload_memory=cold,
        id_tracker_memory=cold,
    )


def payload_schema(kind: str) -> qdrant_edge.PayloadSchemaType:
    """The engine's index type for ``keyword | integer | float | bool | datetime | text``."""
    import qdrant_edge as edge

    try:
        return getattr(edge.PayloadSchemaType, kind.capitalize())
    except AttributeError:
        raise UsageError(
            f"There is no payload index of type {kind!r}.", "Types are keyword, integer, float, bool, datetime, text."
        ) from None
