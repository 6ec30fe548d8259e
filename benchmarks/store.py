"""The speed of the embedded store: ``python benchmarks/store.py [POINTS] [FOLDER]``.

Inserts POINTS (50,000) points of 384 dimensions, each with a BM25 text of 120 words, into an index below FOLDER (the
system's temporary folder), then searches. Prints one JSON object:

- ``upsert_points_per_s``: points ÷ seconds through the plugin, including its condition and BM25;
- ``*_p50_ms``: the median of 101 queries with payload and limit 50;
- ``rss_bytes_per_point``: growth of the process's resident memory ÷ points; ``anon_bytes_per_point`` is the part that
  is not backed by files;
- ``rebuilt``: the seconds of ``optimize``, which rebuilds the index on disk without a graph, and the medians
  afterwards.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from semantik_pipeline.builtin.stores.qdrant_edge import QdrantEdgeStore
from semantik_pipeline.documents import IndexSpec, Point, SearchRequest

DIMENSION = 384
SPEC = IndexSpec(
    dimension=DIMENSION,
    payload_indexes={
        "document_id": "integer",
        "epoch": "integer",
        "language": "keyword",
        "source": "keyword",
        "entity_types": "keyword",
        "keywords": "keyword",
    },
)
VOCABULARY = [f"w{number}" for number in range(20_000)]
CONDITION = {"must": [{"key": "epoch", "range": {"lte": 1}}]}


def batches(points: int, size: int = 256) -> Iterator[list[Point]]:
    """Yield batches of points whose words follow Zipf's law, like the words of a language."""
    random = np.random.default_rng(7)
    weights = 1 / np.arange(1, len(VOCABULARY) + 1) ** 0.9
    weights /= weights.sum()
    for start in range(0, points, size):
        vectors = random.normal(size=(size, DIMENSION)).astype(np.float32)
        drawn = random.choice(len(VOCABULARY), size=(size, 120), p=weights)
        yield [
            _point(start + row, vectors[row], [VOCABULARY[word] for word in drawn[row]])
            for row in range(min(size, points - start))
        ]


def _point(number: int, vector: np.ndarray, words: list[str]) -> Point:
    text = " ".join(words)
    payload = {
        "document_id": number // 10,
        "epoch": 1,
        "language": "en" if number % 3 else "de",
        "source": "papers",
        "entity_types": ["DATE"],
        "keywords": words[:5],
        "text": text,
        "start": 0,
        "end": len(text),
    }
    return Point(id=str(uuid.UUID(int=number * 7919 + 1)), vector=vector, sparse_text=text, payload=payload)


def resident() -> dict[str, int]:
    """Resident bytes of this process (``rss``), and those that are not backed by files (``anon``) (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.startswith(("VmRSS", "RssAnon"))}
    return {"rss": sizes["VmRSS"], "anon": sizes["RssAnon"]}


def medians(store: QdrantEdgeStore) -> dict[str, float]:
    random = np.random.default_rng(11)
    only = {"must": [{"key": "language", "match": {"value": "de"}}]}

    def legs(filter: dict[str, Any] | None) -> list[SearchRequest]:
        text = " ".join(random.choice(VOCABULARY[:3000], 6))
        vector = random.normal(size=DIMENSION).astype(np.float32)
        return [
            SearchRequest(vector=vector, limit=50, filter=filter),
            SearchRequest(text=text, limit=50, filter=filter),
        ]

    def median(filter: dict[str, Any] | None, parts: slice) -> float:
        seconds = []
        for _ in range(101):
            requests = legs(filter)[parts]
            began = time.perf_counter()
            store.search("bench", requests)
            seconds.append(time.perf_counter() - began)
        return round(1000 * statistics.median(seconds), 2)

    return {
        "dense_p50_ms": median(None, slice(0, 1)),
        "sparse_p50_ms": median(None, slice(1, 2)),
        "hybrid_p50_ms": median(None, slice(0, 2)),
        "hybrid_filtered_p50_ms": median(only, slice(0, 2)),
    }


def opened(folder: str) -> QdrantEdgeStore:
    store = QdrantEdgeStore({"path": folder, "optimize_above": 1, "graph_above": 10**9})
    asyncio.run(store.initialize())
    return store


def main(points: int, folder: str) -> dict[str, Any]:
    store = opened(folder)
    store.create_index("bench", SPEC)
    before, spent = resident(), 0.0
    for batch in batches(points):
        began = time.perf_counter()
        store.insert("bench", batch, CONDITION)
        spent += time.perf_counter() - began
    grown = resident()
    result: dict[str, Any] = {
        "points": store.count("bench"),
        "upsert_points_per_s": round(points / spent),
        **medians(store),
        **{f"{name}_bytes_per_point": round((grown[name] - before[name]) / points) for name in before},
    }
    began = time.perf_counter()
    store.optimize("bench")
    seconds = round(time.perf_counter() - began, 2)
    rebuilt = medians(store)
    asyncio.run(store.cleanup())
    result["rebuilt"] = {"seconds": seconds, **rebuilt}
    return result


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
    with tempfile.TemporaryDirectory(dir=sys.argv[2] if len(sys.argv) > 2 else None) as made:
        print(json.dumps(main(count, f"{made}/index")))
