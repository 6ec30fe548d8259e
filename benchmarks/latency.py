"""The latency of a warm search: ``python benchmarks/latency.py [CHUNKS] [DATA_FOLDER]``.

Indexes plain text of about CHUNKS (50,000) chunks through the whole pipeline, with fake vectors of 384 dimensions (the
values of a vector do not change how long a search takes). Then it runs 101 hybrid queries without reranking, which the
real packaged model embeds, and 101 with the default reranker. If you pass a DATA_FOLDER, it is kept and reused by the
next run. Prints one JSON object:

- ``milliseconds``, ``reranked_milliseconds``: p50 and p95 of the whole call and of its steps, without and with the
  reranker;
- shares of the wall time of all calls without reranking: ``engine`` in the embedded engine's own calls; ``store`` in
  the store plugin's methods, which include the engine's calls; ``model`` in the embedder's methods.
  ``engine_and_model`` and ``store_and_model`` are the sums; the rest is the pipeline's own time.
"""

from __future__ import annotations

import inspect
import itertools
import json
import os
import random
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

from support.corpora import fake_settings, plain_text

from semantik_pipeline import operations
from semantik_pipeline.runtime import Runtime
from semantik_pipeline.search import SearchQuery, search
from semantik_pipeline.settings import load_settings
from workers.embedded import embedded_worker

#: Number of searches that are timed, and of those that warm up before them.
QUERIES, WARM = 101, 20


class RealQueries(Runtime):
    """A runtime that embeds queries with the packaged model, whichever model the index was built with."""

    def embedder(self, generation):
        return self.host.instance("dense-local", {}, kind="embedding")


class Inside:
    """The seconds spent in the engine's calls, in the store's methods, and in the embedder's methods."""

    def __init__(self, runtime: Runtime) -> None:
        self.seconds = {"engine": 0.0, "store": 0.0, "model": 0.0}
        embedder: Any = runtime.embedder(0)
        store: Any = runtime.store
        embedder.embed_single = self.clocked(embedder.embed_single, "model")
        for name in ("search", "scroll", "count", "facet"):
            setattr(store, name, self.clocked(getattr(store, name), "store"))
        opened = store._index(runtime.ledger.search_view("default").index).shard
        with opened.reading() as shard:
            opened._shard = ClockedShard(shard, self)

    def clocked(self, method: Callable[..., Any], kind: str) -> Callable[..., Any]:
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

        return awaited if inspect.iscoroutinefunction(method) else plain


class ClockedShard:
    """A wrapper that times the engine's shard, because the shard's own methods cannot be replaced."""

    def __init__(self, shard: Any, inside: Inside) -> None:
        self._shard = shard
        for name in ("query_batch", "scroll", "retrieve", "count", "facet"):
            setattr(self, name, inside.clocked(getattr(shard, name), "engine"))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._shard, name)


def build(folder: Path, chunks: int) -> int:
    """Index the corpus. Returns the number of chunks."""
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
    plain = re.compile("[A-Za-z]{2,}")  # no quotes and dashes, which have a meaning in queries
    topics = [plain.findall(path.read_text()[:4000]) for path in sorted((folder / "corpus").iterdir())[:QUERIES]]
    with RealQueries(load_settings(config=folder / "semantik.toml", data_dir=folder / "data")) as runtime:
        inside = Inside(runtime)
        questions = drawn(topics)
        timed(runtime, questions, WARM, rerank=False)
        inside.seconds = dict.fromkeys(inside.seconds, 0.0)
        wall = -time.perf_counter()
        took = timed(runtime, questions, QUERIES, rerank=False)
        wall += time.perf_counter()
        shares = {kind: seconds / wall for kind, seconds in inside.seconds.items()}
        timed(runtime, questions, WARM, rerank=True)
        reranked = timed(runtime, questions, QUERIES, rerank=True)
    shares |= {f"{kind}_and_model": shares[kind] + shares["model"] for kind in ("engine", "store")}
    return {
        "milliseconds": told(took),
        **{kind: round(share, 3) for kind, share in shares.items()},
        "reranked_milliseconds": told(reranked),
    }


def drawn(topics: list[list[str]]) -> Iterator[str]:
    """Yield six words of each topic in turn, endlessly, from a different place each time."""
    chance = random.Random(3)
    for words in itertools.cycle(topics):
        start = chance.randrange(200)
        yield " ".join(words[start : start + 6])


def timed(runtime: Runtime, questions: Iterator[str], count: int, *, rerank: bool) -> dict[str, list[float]]:
    """Run ``count`` searches. Returns the milliseconds of each step."""
    took: dict[str, list[float]] = {}
    for question in itertools.islice(questions, count):
        answer = search(runtime, SearchQuery(text=question, rerank=rerank))
        assert answer.hits and answer.reranked == rerank, answer.warnings
        for part, milliseconds in answer.timings_ms.items():
            took.setdefault(part, []).append(milliseconds)
    return took


def told(took: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    return {
        part: {"p50": round(statistics.median(times), 2), "p95": round(statistics.quantiles(times, n=20)[-1], 2)}
        for part, times in took.items()
    }


def main() -> None:
    chunks = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(name)
        total = build(folder, chunks)
        print(json.dumps({"chunks": total, **ask(folder)}))


if __name__ == "__main__":
    main()
