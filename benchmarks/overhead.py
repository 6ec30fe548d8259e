"""The cost of the bookkeeping with a real model: ``python benchmarks/overhead.py [CHUNKS] [ROUNDS]``.

Indexes plain text of about CHUNKS (1,100) chunks into a temporary PostgreSQL ledger and the embedded store, with the
packaged MiniLM on the CPU (``dense-local``) and extraction off. Everything runs in one process, whose model is loaded
and whose child process runs already. It does this ROUNDS (3) times with different files, and measures the bare embedder
before and after each round, because the speed of a machine often drifts by half within a minute. Prints one JSON object
with the median of each figure; ``rounds`` has the figures of each round:

- ``bookkeeping``: CPU seconds of the ledger's transactions (claims, leases, saves and progress: this process's time in
  them, plus all processes of the PostgreSQL server) ÷ CPU seconds of the whole run (this process, the child and the
  server);
- ``overhead``: the cost of the bookkeeping and of all other stages together: 1 - (chunks/s of the pipeline ÷ chunks/s
  of the bare embedder). The pipeline's time lasts from the start of the sync to the last acknowledged point. The bare
  embedder gets 512 model inputs of similar files; its rate is the mean of before and after;
- ``idle``: the share of the pipeline's wall time in which the embedder had nothing to do. It shows how long the model
  waited for the rest of the pipeline;
- ``slower``: 1 - (chunks/s of the embedder while it worked ÷ chunks/s of the bare embedder). It shows how much CPU time
  the bookkeeping, the child and the servers take from the model, and how much the machine drifted. A round whose two
  ``bare_per_s`` differ a lot is not meaningful.
"""

from __future__ import annotations

import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
from ledger import Watch
from support.corpora import plain_text
from support.fleets import Missing, database, report
from throughput import CHUNKS_PER_FILE, SAMPLE, bare, inputs_of

from semantik_pipeline import operations
from semantik_pipeline.builtin.embedders.packaged_model import DISTRIBUTION, packaged_folder
from semantik_pipeline.runtime import Runtime
from semantik_pipeline.settings import load_settings
from workers.embedded import embedded_worker

COLLECTION = {"extraction": {"enabled": False}}

FIGURES = ("bookkeeping", "overhead", "idle", "slower")


def measure() -> dict[str, Any]:
    given = [int(word) for word in sys.argv[1:]]
    chunks, rounds = (*given, *(1100, 3)[len(given) :])
    if packaged_folder() is None:
        raise Missing(f"The model's package {DISTRIBUTION} is not installed.")
    with tempfile.TemporaryDirectory() as name, database() as url:
        folder = Path(name)
        files = round(chunks / CHUNKS_PER_FILE)
        corpora = [plain_text(folder / f"corpus{turn}", files, seed=turn) for turn in range(rounds)]
        warm = plain_text(folder / "warm", 60, seed=99)
        with Runtime(load_settings(data_dir=folder / "data", database={"url": url})) as runtime:
            found = run(runtime, corpora, warm)
    figures = {name: round(statistics.median(one[name] for one in found), 4) for name in FIGURES}
    return {**figures, "rounds": found, "load": round(os.getloadavg()[0], 1)}


def run(runtime: Runtime, corpora: Sequence[Path], warm: Path) -> list[dict[str, Any]]:
    """Run each corpus through the pipeline, and the bare embedder before, between and after them."""
    with embedded_worker(runtime):
        index(runtime, warm)
        inputs = inputs_of(runtime, "default")
        sample = random.Random(1).sample(inputs, min(SAMPLE, len(inputs)))
        bare(runtime, "default", sample[:128])  # traced and warm from here on
        embedding, processors = watched(runtime), watched_processors(runtime)
        rounds = []
        before = len(sample) / bare(runtime, "default", sample)
        for corpus in corpora:
            start, spent, (books, every) = time.perf_counter(), embedding(), processors()
            chunks = index(runtime, corpus)
            wall, busy = time.perf_counter() - start, embedding() - spent
            share = (processors()[0] - books) / (processors()[1] - every)
            after = len(sample) / bare(runtime, "default", sample)
            rounds.append({"bookkeeping": round(share, 4), **round_of(chunks, wall, busy, [before, after])})
            before = after
    return rounds


def index(runtime: Runtime, path: Path) -> int:
    """Index a folder. Returns how many chunks were embedded."""
    source = operations.folder_source(path)
    operation = operations.begin_sync(runtime, [source], collection="default", config=COLLECTION)
    return (operations.wait(runtime, operation).result or {})["chunks"]["embedded"]


def watched(runtime: Runtime) -> Callable[[], float]:
    """Start timing the embedder. Returns a function that gives the seconds spent in it since then. Only one thread
    embeds documents, so the seconds do not overlap."""
    call, spent = runtime.host.call, 0.0

    def timed(method: Callable[..., Any], *args: Any, **options: Any) -> Any:
        nonlocal spent
        start = time.perf_counter()
        try:
            return call(method, *args, **options)
        finally:
            if method.__name__ == "embed_texts":
                spent += time.perf_counter() - start

    runtime.host.call = timed  # type: ignore[method-assign]
    return lambda: spent


def watched_processors(runtime: Runtime) -> Callable[[], tuple[float, float]]:
    """Start timing the ledger's transactions. Returns a function that gives the CPU seconds of the ledger (transactions
    and server), and those of everything."""
    ledger, clock = runtime.ledger, Watch(time.thread_time)
    ledger.read, ledger.write = clock.opened(ledger.read), clock.opened(ledger.write)  # type: ignore[method-assign]

    def now() -> tuple[float, float]:
        server = sum(processor_seconds(one) for one in psutil.process_iter() if named(one, "postgres"))
        own = psutil.Process()
        books = clock.seconds.get("transactions", 0.0) + server
        return books, server + sum(processor_seconds(one) for one in (own, *own.children(recursive=True)))

    return now


def named(process: psutil.Process, name: str) -> bool:
    try:
        return process.name() == name
    except psutil.NoSuchProcess:
        return False


def processor_seconds(process: psutil.Process) -> float:
    """CPU seconds of a process and of its children that have ended."""
    try:
        return sum(process.cpu_times()[:4])
    except psutil.NoSuchProcess:
        return 0.0


def round_of(chunks: int, wall: float, busy: float, bare_per_s: list[float]) -> dict[str, Any]:
    expected = statistics.mean(bare_per_s)
    return {
        "chunks": chunks,
        "wall_s": round(wall, 2),
        "busy_s": round(busy, 2),
        "bare_per_s": [round(one, 2) for one in bare_per_s],
        "overhead": round(1 - chunks / wall / expected, 4),
        "idle": round(1 - busy / wall, 4),
        "slower": round(1 - chunks / busy / expected, 4),
    }


if __name__ == "__main__":
    report(measure)
