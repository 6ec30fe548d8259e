"""Search latency during a reindex: ``python benchmarks/reindex.py [CHUNKS]``.

Indexes plain text of about CHUNKS (10,000) chunks through the whole pipeline into the embedded default store, with fake
vectors of 384 dimensions. Then it sends 50 hybrid queries per second without reranking: while nothing else runs
(``idle``), and during a reindex to 256 dimensions (``during``). Prints one JSON object: for both, the p50 and p95 of a
search in milliseconds, the errors, the empty answers and the late searches (those that were skipped because the client
was too far behind); the ratios (during ÷ idle); and the seconds of the reindex.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from support.corpora import fake_settings, plain_text

from semantik_pipeline import generations, operations
from semantik_pipeline.runtime import Runtime
from semantik_pipeline.search import SearchQuery, search
from semantik_pipeline.settings import load_settings
from workers.embedded import embedded_worker

RATE = 50
IDLE_SECONDS = 20


class Client:
    """Searches RATE (50) times per second, from four threads, until the block ends."""

    def __init__(self, runtime: Runtime, questions: list[str], threads: int = 4) -> None:
        self.took: list[float] = []
        self.late = self.empty = 0
        self.errors: list[str] = []
        self._runtime, self._questions = runtime, questions
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number, threads)) for number in range(threads)]

    def _ask(self, number: int, threads: int) -> None:
        due = time.monotonic() + number / RATE
        asked = number
        while not self._over.is_set():
            wait = due - time.monotonic()
            if wait > 0:
                self._over.wait(wait)
            elif wait < -threads / RATE:
                self.late += int(-wait * RATE / threads)
                due = time.monotonic()
            due += threads / RATE
            question = self._questions[asked % len(self._questions)]
            asked += threads
            began = time.perf_counter()
            try:
                hits = search(self._runtime, SearchQuery(text=question, limit=10, rerank=False)).hits
            except Exception as error:
                self.errors.append(f"{type(error).__name__}: {error}")
                continue
            self.took.append((time.perf_counter() - began) * 1000)
            self.empty += not hits

    def __enter__(self) -> Client:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def report(self) -> dict[str, float]:
        cuts = statistics.quantiles(self.took, n=100)
        return {
            "searches": len(self.took),
            "p50": round(cuts[49], 1),
            "p95": round(cuts[94], 1),
            "late": self.late,
            "empty": self.empty,
            "errors": len(self.errors),
        }


def main() -> None:
    chunks = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus = plain_text(folder / "corpus", max(1, round(chunks / 58)), words=9000)
        settings, environment = fake_settings(folder)
        sys.path[:0] = environment["PYTHONPATH"].split(os.pathsep)
        questions = [" ".join(path.read_text()[:2000].split()[20:26]) for path in sorted(corpus.iterdir())]
        with (
            Runtime(load_settings(config=settings, data_dir=folder / "data")) as runtime,
            embedded_worker(runtime),
        ):
            begun = operations.begin_sync(runtime, [operations.folder_source(corpus)], collection="default")
            result = operations.wait(runtime, begun).result or {}
            operations.optimize(runtime, "default")
            with Client(runtime, questions) as idle:
                time.sleep(IDLE_SECONDS)
            with Client(runtime, questions) as during:
                operation = generations.reindex(runtime, "default", {"embedding.dimension": 256})
                ended = operations.wait(runtime, operation)
        calm, busy = idle.report(), during.report()
    print(
        json.dumps(
            {
                "benchmark": "reindex",
                "chunks": result["chunks"]["total"],
                "outcome": ended.outcome,
                "reindex_seconds": (ended.result or {}).get("seconds"),
                "idle": calm,
                "during": busy,
                "p50_ratio": round(busy["p50"] / calm["p50"], 2),
                "p95_ratio": round(busy["p95"] / calm["p95"], 2),
                "first_errors": during.errors[:3],
            }
        )
    )


if __name__ == "__main__":
    main()
