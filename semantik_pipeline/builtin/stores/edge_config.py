"""An index's spec as Qdrant Edge's configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from semantik_pipeline.errors import UsageError

if TYPE_CHECKING:
    import qdrant_edge

    from semantik_pipeline.documents import IndexSpec

#: Kilobytes of vectors above which the optimiser rebuilds a segment: less than any fold has to freeze.
INDEXING_THRESHOLD_KB = 100

#: Segments that the optimiser leaves as they are: each fold makes one, and merging costs what it merges.
SEGMENTS = 8


def shard_config(spec: IndexSpec, edges: int = 0, segment_kb: int | None = None) -> qdrant_edge.EdgeConfig:
    """Named vectors ``dense`` and ``sparse``, everything on disk that can be. ``edges`` is HNSW's m; 0: no graph.

    Segments are merged up to ``segment_kb`` of vectors.
    """
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
        optimizers=edge.EdgeOptimizersConfig(
            indexing_threshold=INDEXING_THRESHOLD_KB, default_segment_number=SEGMENTS, max_segment_size=segment_kb
        ),
        payload_memory=cold,
        id_tracker_memory=cold,
    )


def payload_index(kind: str) -> Any:
    """The engine's index on a payload field of ``keyword | integer | float | bool | datetime | text``, on disk."""
    import qdrant_edge as edge

    kinds = {
        "keyword": edge.KeywordIndexParams,
        "integer": edge.IntegerIndexParams,
        "float": edge.FloatIndexParams,
        "bool": edge.BoolIndexParams,
        "datetime": edge.DatetimeIndexParams,
        "text": edge.TextIndexParams,
    }
    if kind not in kinds:
        raise UsageError(f"There is no payload index of type {kind!r}.", f"Types are {', '.join(kinds)}.")
    return kinds[kind](memory=edge.Memory.Cold)
