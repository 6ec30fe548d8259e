"""What all bookkeeping costs beside a real model: ``python benchmarks/overhead.py [CHUNKS] [ROUNDS]``.

Indexes plain text of about CHUNKS (1,100) chunks into a PostgreSQL ledger of the benchmark's own and the embedded store,
with the packaged MiniLM on the CPU (``dense-local``), extraction off, in one process whose model is loaded and whose
child runs. ROUNDS (3) times, every time other files, with the bare embedder before and after each: a machine whose speed
drifts by half within a minute is no rarity. Prints one JSON object; each figure is the median of the rounds, all of
which are in ``rounds``:

- ``bookkeeping``: processor seconds of the ledger's transactions (claims, leases, saves, progress; what this process does
  in them, and all processes of the PostgreSQL server) ÷ those of the whole run: this process, the child and the server;
- ``overhead``: the bookkeeping and all other stages' work together: 1 - chunks/s of the pipeline, from the start of the sync to the last acknowledged point ÷ chunks/s of 512
  model inputs of such files through the bare embedder, the mean of before and after;
- ``idle``: the part of the pipeline's wall time in which the embedder had nothing to do. It tells what the bookkeeping
  keeps the model waiting for;
- ``slower``: 1 - chunks/s of the embedder while it worked, ÷ the same chunks/s of the bare embedder. It tells what the
  bookkeeping, the child and the servers take of the processors that the model runs on, and how much the machine drifted:
  a round in which ``bare_per_s`` differ much says little.
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
    """Each corpus through the pipeline, and the bare embedder in between."""
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
    """Index a folder to its end; returns how many chunks were embedded."""
    source = operations.folder_source(path)
    operation = operations.begin_sync(runtime, [source], collection="default", config=COLLECTION)
    return (operations.wait(runtime, operation).result or {})["chunks"]["embedded"]


def watched(runtime: Runtime) -> Callable[[], float]:
    """Seconds that the process has spent in its embedder from now on; documents are embedded by one thread."""
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
    """Processor seconds until now of the ledger's transactions and its server, and of everything."""
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
    """Processor seconds of a process and of its children that have ended."""
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
