"""Search while documents are embedded in the same process: ``python benchmarks/beside_embedding.py [CHUNKS]``.

Indexes about 1,000 chunks of plain text with the packaged MiniLM and asks RATE (4) hybrid queries a second without
reranking, each another one: for SECONDS (20) while nothing else goes on, then while about CHUNKS (2,500) more are indexed
by the worker of this process, which is what `semantik serve` does. Then as many are indexed without any search. Prints
one JSON object: p50 and p95 of a search in milliseconds in both, measured from when it was due; ``p95_ratio`` beside ÷
idle; ``parts``, p95 of each step of a search, and of ``late``, by how much it began after it was due, behind the one before
it (which may have waited for a fold of the index); chunks/s with and without the searches; the machine's cores, for two
of them are all that the model takes.
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
    """Asks at a steady rate until it is stopped; a search that is late counts from when it was due."""

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
        """Words of a sentence that mean nothing but themselves in a query: no exclusion, no field."""
        return [word for word in self._chance.choice(self._known).split() if word.isalpha()][:count]

    def told(self) -> dict[str, Any]:
        """What was measured since the last time."""
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
    """Index the folder; chunks/s."""
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
    """Ask for as long as the work takes; what it gives."""
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(asker.run, stop)
        try:
            return work()
        finally:
            stop.set()
            asking.result()  # raises what ended it early


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        print(json.dumps(measure(Path(name), int(sys.argv[1]) if len(sys.argv) > 1 else 2500)))
