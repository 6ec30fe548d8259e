"""Search latency while documents are embedded in the same process: ``python benchmarks/beside_embedding.py [CHUNKS]``.

Indexes about 1,000 chunks of plain text with the packaged MiniLM. Then it sends RATE (4) different hybrid queries per
second, without reranking: first for SECONDS (20) while nothing else runs (``idle``), then while the worker in this
process indexes about CHUNKS (2,500) more chunks (``beside``), as happens in ``semantik serve``. Finally it indexes the
same number of chunks without any searches. Prints one JSON object:

- ``idle``, ``beside``: p50 and p95 of a search in milliseconds, measured from the time at which the search was due;
  ``parts`` has the p95 of each step of a search, and of ``late``: how long after its due time a search started, because
  the search before it was still running (for example, it may have waited for a fold of the index);
- ``p95_ratio``: p95 of ``beside`` ÷ p95 of ``idle``;
- ``chunks_per_s``: chunks indexed per second, with and without the searches;
- ``cores``: the machine's cores. The model uses only two of them.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from support.corpora import plain_text, sentences

from semantik_pipeline import operations
from semantik_pipeline.runtime import Runtime
from semantik_pipeline.search import SearchQuery, search
from semantik_pipeline.settings import load_settings
from workers.embedded import embedded_worker

RATE, SECONDS = 4.0, 20.0
CHUNKS_PER_FILE = 11.0  # of 900 words


class Asker:
    """Searches at a steady rate until it is stopped. The time of a late search counts from when it was due."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime, self._chance, self._known = runtime, random.Random(5), sentences()
        self.milliseconds: list[float] = []
        self.parts: list[dict[str, float]] = []

    def run(self, stop: threading.Event) -> None:
        due = time.perf_counter()
        while not stop.is_set():
            words = [*self._words(5), *self._words(3)]
            late = max(0.0, time.perf_counter() - due) * 1000
            answer = search(self._runtime, SearchQuery(text=" ".join(words), rerank=False))
            assert answer.hits
            self.parts.append({"late": late, **answer.timings_ms})
            self.milliseconds.append((time.perf_counter() - due) * 1000)
            due = max(due + 1 / RATE, time.perf_counter() - 1)
            time.sleep(max(0.0, due - time.perf_counter()))

    def _words(self, count: int) -> list[str]:
        """The first words of a random sentence that are plain words in a query: no exclusions and no fields."""
        return [word for word in self._chance.choice(self._known).split() if word.isalpha()][:count]

    def told(self) -> dict[str, Any]:
        """The figures since the last call."""
        times, self.milliseconds = self.milliseconds, []
        parts, self.parts = self.parts, []
        return {
            "searches": len(times),
            "p50": round(statistics.median(times), 1),
            "p95": p95(times),
            "parts": {name: p95([one[name] for one in parts]) for name in parts[0]},
        }


def p95(times: list[float]) -> float:
    return round(statistics.quantiles(times, n=20)[-1], 1)


def index(runtime: Runtime, folder: Path) -> float:
    """Index the folder. Returns chunks/s."""
    start = time.perf_counter()
    operation = operations.begin_sync(runtime, [operations.folder_source(folder)], collection="default")
    result = operations.wait(runtime, operation).result or {}
    return result["chunks"]["embedded"] / (time.perf_counter() - start)


def measure(folder: Path, chunks: int) -> dict[str, Any]:
    files = round(chunks / CHUNKS_PER_FILE)
    first = plain_text(folder / "first", 90, seed=1)
    beside, alone = (plain_text(folder / name, files, seed=seed) for name, seed in (("beside", 2), ("alone", 3)))
    with Runtime(load_settings(data_dir=folder / "data")) as runtime, embedded_worker(runtime):
        index(runtime, first)
        asker = Asker(runtime)
        _for(asker, lambda: time.sleep(3))
        asker.told()  # warm from here on
        _for(asker, lambda: time.sleep(SECONDS))
        idle = asker.told()
        searched = _for(asker, lambda: index(runtime, beside))
        during = asker.told()
        rates = {"with_searches": round(searched, 1), "without": round(index(runtime, alone), 1)}
    ratio = round(during["p95"] / idle["p95"], 2)
    return {"cores": os.cpu_count(), "idle": idle, "beside": during, "p95_ratio": ratio, "chunks_per_s": rates}


def _for(asker: Asker, work: Any) -> Any:
    """Keep searching while ``work`` runs. Returns its result."""
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(asker.run, stop)
        try:
            return work()
        finally:
            stop.set()
            asking.result()  # raises the error that ended the searches early, if any


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        print(json.dumps(measure(Path(name), int(sys.argv[1]) if len(sys.argv) > 1 else 2500)))
