"""How long a warm search takes: ``python benchmarks/latency.py [CHUNKS] [DATA_FOLDER]``.

Indexes plain text of about CHUNKS (50,000) chunks through the whole pipeline (with fake vectors of 384 dimensions, for
what a vector says doesn't change how long it takes), then asks 101 hybrid queries without reranking, embedded by the
real packaged model. Prints one JSON object: p50 and p95 of the whole call and of its parts, in milliseconds;
``engine_and_model`` is the share of the wall time of all calls that was spent in the store's and the embedder's own
methods (the rest is the pipeline's), ``engine`` and ``model`` each one's. A data folder that is given is kept, and reused
by the next run.
"""

from __future__ import annotations

import inspect
import json
import os
import random
import re
import statistics
import sys
import tempfile
import time
from functools import wraps
from pathlib import Path
from typing import Any

from corpora import fake_settings, plain_text

from semantik_pipeline import operations
from semantik_pipeline.runtime import Runtime
from semantik_pipeline.search import SearchQuery, search
from semantik_pipeline.settings import load_settings
from workers.embedded import embedded_worker

QUERIES = 101


class RealQueries(Runtime):
    """Embeds queries with the packaged model, whatever the index was built with."""

    def embedder(self, generation):
        return self.host.instance("dense-local", {}, kind="embedding")


class Inside:
    """Seconds that were spent in methods of the store and of the embedder."""

    def __init__(self, runtime: Runtime) -> None:
        self.seconds = {"engine": 0.0, "model": 0.0}
        embedder = runtime.embedder(None)
        self._clock(embedder, "embed_single", "model")
        for name in ("search", "scroll", "count", "facet"):
            self._clock(runtime.store, name, "engine")

    def _clock(self, plugin: Any, name: str, kind: str) -> None:
        method = getattr(plugin, name)

        @wraps(method)
        async def awaited(*args: Any, **options: Any) -> Any:
            start = time.perf_counter()
            try:
                return await method(*args, **options)
            finally:
                self.seconds[kind] += time.perf_counter() - start

        @wraps(method)
        def plain(*args: Any, **options: Any) -> Any:
            start = time.perf_counter()
            try:
                return method(*args, **options)
            finally:
                self.seconds[kind] += time.perf_counter() - start

        setattr(plugin, name, awaited if inspect.iscoroutinefunction(method) else plain)


def build(folder: Path, chunks: int) -> int:
    """Index the corpus; how many chunks there are."""
    words = 9000
    corpus = plain_text(folder / "corpus", round(chunks / 58), words=words)
    settings, environment = fake_settings(folder)
    sys.path[:0] = environment["PYTHONPATH"].split(os.pathsep)
    with (
        Runtime(load_settings(config=settings, data_dir=folder / "data")) as runtime,
        embedded_worker(runtime),
    ):
        operation = operations.begin_sync(runtime, [operations.folder_source(corpus)], collection="default")
        result = operations.wait(runtime, operation).result or {}
        operations.optimize(runtime, "default")
    return result["chunks"]["total"]


def ask(folder: Path) -> dict[str, Any]:
    plain = re.compile("[A-Za-z]{2,}")  # no quotes and dashes, which say more than words
    topics = [plain.findall(path.read_text()[:4000]) for path in sorted((folder / "corpus").iterdir())[:QUERIES]]
    chance = random.Random(3)
    took: dict[str, list[float]] = {}
    with RealQueries(load_settings(config=folder / "semantik.toml", data_dir=folder / "data")) as runtime:
        inside, wall = Inside(runtime), 0.0
        for number in range(QUERIES + 20):
            if number == 20:  # warm from here on
                inside.seconds = dict.fromkeys(inside.seconds, 0.0)
                wall = -time.perf_counter()
            start = chance.randrange(200)
            words = topics[number % len(topics)][start : start + 6]
            answer = search(runtime, SearchQuery(text=" ".join(words), rerank=False))
            assert answer.hits
            if number >= 20:
                for part, milliseconds in answer.timings_ms.items():
                    took.setdefault(part, []).append(milliseconds)
        wall += time.perf_counter()
    return {
        "milliseconds": {
            part: {"p50": round(statistics.median(times), 2), "p95": round(statistics.quantiles(times, n=20)[-1], 2)}
            for part, times in took.items()
        },
        "engine_and_model": round(sum(inside.seconds.values()) / wall, 3),
        **{kind: round(seconds / wall, 3) for kind, seconds in inside.seconds.items()},
    }


def main() -> None:
    chunks = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(name)
        total = build(folder, chunks)
        print(json.dumps({"chunks": total, **ask(folder)}))


if __name__ == "__main__":
    main()
