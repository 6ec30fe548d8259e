"""Converts an index's spec into Qdrant Edge's configuration."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semantik_pipeline.errors import UsageError

if TYPE_CHECKING:
    import qdrant_edge

    from semantik_pipeline.documents import IndexSpec

#: Kilobytes of vectors above which the optimizer rebuilds a segment: fewer than any fold has to freeze.
INDEXING_THRESHOLD_KB = 100

#: Segments that the optimizer leaves alone: each fold adds one, and merging takes time in proportion to what it merges.
SEGMENTS = 8

#: The engine's write-ahead log consists of files, of 4 MB here. The engine maps and reads all of them at each opening.
#: It keeps one full file in addition to the current and the next one, and makes a larger file for an update that does
#: not fit. With its default of 32 MB, an index of 18,499 points had up to 158 MB of files mapped in memory; with 4 MB
#: it has 99 MB (measured).
LOG = {"segment_capacity": 4 * 2**20, "segment_queue_len": 0, "retain_closed": 1}


def shard_config(spec: IndexSpec, edges: int = 0, segment_kb: int | None = None) -> qdrant_edge.EdgeConfig:
    """Named vectors ``dense`` and ``sparse``, with everything on disk that can be.

    ``edges`` is HNSW's m; 0: no graph. Segments are merged up to ``segment_kb`` of vectors.
    """
    import qdrant_edge as edge

    distances = {"cosine": edge.Distance.Cosine, "dot": edge.Distance.Dot, "euclid": edge.Distance.Euclid}
    if spec.distance not in distances:
        raise UsageError(f"Qdrant has no distance {spec.distance!r}.", f"Choose one of {', '.join(distances)}.")
    cold = edge.Memory.Cold
    idf = None if spec.sparse_vectors else edge.Modifier.Idf
    sparse = edge.EdgeSparseVectorParams(modifier=idf, memory=cold)
    return edge.EdgeConfig(
        vectors={
            "dense": edge.EdgeVectorParams(size=spec.dimension, distance=distances[spec.distance], memory=cold),
        },
        sparse_vectors={"sparse": sparse} if spec.sparse_vectors or spec.bm25 is not None else None,
        hnsw_config=edge.HnswIndexConfig(m=edges, ef_construct=100, full_scan_threshold=10_000),
        optimizers=edge.EdgeOptimizersConfig(
            indexing_threshold=INDEXING_THRESHOLD_KB, default_segment_number=SEGMENTS, max_segment_size=segment_kb
        ),
        payload_memory=cold,
        id_tracker_memory=cold,
    )


def create_shard(folder: Path, spec: IndexSpec) -> qdrant_edge.EdgeShard:
    """Create an empty shard whose log has small files. Python's ``EdgeConfig`` has no such option, but the
    configuration file that the engine writes and reads does (``wal_options``)."""
    import qdrant_edge as edge

    edge.EdgeShard.create(str(folder), shard_config(spec)).close()
    written = folder / "edge_config.json"
    written.write_text(json.dumps(json.loads(written.read_text("utf-8")) | {"wal_options": LOG}), "utf-8")
    shutil.rmtree(folder / "wal")  # nothing has been logged yet
    (folder / "wal").mkdir()
    return edge.EdgeShard.load(str(folder))


def payload_index(kind: str) -> Any:
    """The engine's index on a payload field, stored on disk: ``keyword | integer | float | bool | datetime | text``."""
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
