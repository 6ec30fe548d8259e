"""Chunks/s with 1, 2 and 4 worker processes: ``python benchmarks/scaling.py [CHUNKS] [PROCESSES...]``.

Worker processes with the profile ``all`` (``celery -A workers.app worker``) on PostgreSQL and Redis index files of
about ten chunks each, CHUNKS (4,000) per process. The fake embedder sleeps 5 ms for each chunk, the store keeps
nothing, and extraction is off. Prints one JSON object; for each number of processes:

- ``chunks_per_s``: the slope of the number of embedded chunks over time, polled from the ledger, between 10 % and 90 %
  of all chunks (least squares, because chunks are saved one pool at a time);
- ``efficiency``: chunks_per_s ÷ (processes × chunks_per_s per process of the first run);
- ``whole_per_s``: all chunks ÷ seconds from the request to the end of the operation, including its start and tail;
- ``cores``: how many cores are busy with everything that runs on the machine (``all``), and with the workers and their
  children (``workers``);
- ``load``: the machine's load average at the end. Figures from a machine with other users are not meaningful.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import func, select
from support.corpora import plain_text
from support.fleets import Fleet, database, own_redis, report

from semantik_pipeline import operations
from semantik_pipeline.ledger.operations import lifecycle as ledger_operations
from semantik_pipeline.ledger.tables import embeddings
from semantik_pipeline.runtime import Runtime

SLEEP_MS = 5
CHUNKS_PER_FILE = 10
CHUNKING = {"plugin": "recursive", "options": {"max_tokens": 40, "min_tokens": 1, "overlap_tokens": 0}}
LONGEST = 150.0  # maximum seconds of one run


def measure() -> dict[str, Any]:
    numbers = [int(word) for word in sys.argv[1:]]
    chunks, counts = (numbers or [4000])[0], numbers[1:] or [1, 2, 4]
    runs = {count: scale(count, chunks * count) for count in counts}
    alone = runs[counts[0]]["chunks_per_s"] / counts[0]
    for count, run in runs.items():
        run["efficiency"] = round(run["chunks_per_s"] / (count * alone), 3)
    return {"sleep_ms_per_chunk": SLEEP_MS, "cpus": os.cpu_count(), "processes": runs}


def scale(count: int, chunks: int) -> dict[str, Any]:
    """Measure one number of processes in a new database."""
    with tempfile.TemporaryDirectory() as name, database() as url, own_redis() as redis:
        folder = Path(name)
        corpus = plain_text(folder / "corpus", chunks // CHUNKS_PER_FILE, words=CHUNKS_PER_FILE * 34)
        fleet = Fleet(folder, redis, url, SEMANTIK_CHILD_PROCESSES="1")
        fleet.configure(sleep_ms_per_text=SLEEP_MS)
        with fleet.client() as runtime, fleet.working(runtime, count):
            return watch(fleet, runtime, corpus)


def watch(fleet: Fleet, runtime: Runtime, corpus: Path) -> dict[str, Any]:
    """Start indexing, and poll until it is finished."""
    runtime.collection("default", {"chunking": CHUNKING})
    start, before = time.perf_counter(), spent(fleet)
    operation = operations.begin_sync(runtime, [operations.folder_source(corpus)], collection="default")
    seen: list[tuple[float, int]] = []
    while (progress := poll(runtime, operation, seen, start)).state != "finished":
        if time.perf_counter() - start > LONGEST:
            raise RuntimeError(f"Not finished in {LONGEST:.0f} s: {progress}")
        time.sleep(0.1)
    seconds = time.perf_counter() - start
    assert progress.outcome == "succeeded", progress
    after = spent(fleet)
    return {
        "chunks": seen[-1][1],
        "chunks_per_s": round(rate(seen), 1),
        "whole_per_s": round(seen[-1][1] / seconds, 1),
        "seconds": round(seconds, 1),
        "cores": {name: round((after[name] - before[name]) / seconds, 2) for name in after},
        "load": round(os.getloadavg()[0], 1),
    }


def poll(runtime: Runtime, operation: int, seen: list[tuple[float, int]], start: float) -> ledger_operations.Progress:
    with runtime.ledger.read() as tx:
        embedded = tx.execute(select(func.count()).select_from(embeddings)).scalar_one()
        seen.append((time.perf_counter() - start, embedded))
        return ledger_operations.progress(tx, operation)


def rate(seen: list[tuple[float, int]]) -> float:
    """Chunks/s in the middle of a run."""
    import numpy as np

    total = seen[-1][1]
    middle = np.array([(when, embedded) for when, embedded in seen if 0.1 * total <= embedded <= 0.9 * total])
    return float(np.polyfit(middle[:, 0], middle[:, 1], 1)[0])


def spent(fleet: Fleet) -> dict[str, float]:
    """CPU seconds so far, of the whole machine and of the workers with their children."""
    whole = psutil.cpu_times()
    return {"all": sum(whole) - whole.idle - whole.iowait, "workers": sum(map(_tree, fleet.workers))}


def _tree(worker: Any) -> float:
    top = psutil.Process(worker.pid)
    return sum(sum(process.cpu_times()[:2]) for process in [top, *top.children(recursive=True)])


if __name__ == "__main__":
    report(measure)
