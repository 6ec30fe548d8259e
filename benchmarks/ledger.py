"""The ledger's cost per chunk: ``python benchmarks/ledger.py [CHUNKS] [--sqlite]``.

Indexes plain-text files of about ten chunks each, CHUNKS (5,000) in total, in one process, with extraction off and with
an embedder and a store that do almost nothing. The ledger is SQLite (``--sqlite``) or a temporary database on
PostgreSQL (SEMANTIK_TEST_DATABASE_URL, or the local server). Runs three times and prints the fastest run as one JSON
object. Every ``_us`` value is microseconds of wall time per chunk:

- ``serial``: one stage after the other, each until it has no more work. ``stages`` is the wall time of each stage,
  ``wall_us`` their sum, and ``transactions`` the number of transactions per chunk. ``child_us`` is the part of the
  chunk stage in which one of its threads waited for the child process that parses and chunks. The other values show
  where the time is spent. They may overlap, so do not subtract them from each other: ``transactions_us`` in the
  ledger's transactions, of all threads; ``bodies_us`` reading and writing bodies; ``connector_us``, ``store_us`` and
  ``model_us`` in plugins of this process, including the fake store and model.
- ``data_path_us``: ``serial.wall_us`` minus ``child_us``. It includes the time of the fake plugins and of reading
  files.
- ``together_us``: the wall time of a whole run in which all stages run concurrently, as in ``semantik index``.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from support.corpora import fake_settings, plain_text
from support.fleets import database, report

from semantik_pipeline import maintenance, operations, pipeline
from semantik_pipeline.contracts import VectorDBPlugin
from semantik_pipeline.ledger.operations import lifecycle as ledger_operations
from semantik_pipeline.runtime import Runtime
from semantik_pipeline.settings import load_settings
from workers.embedded import embedded_worker

RUNS = 3

#: The kind of plugin to which a method belongs. All other methods that the host calls are a connector's.
WHOSE = dict.fromkeys(("embed_texts", "get_dimension"), "model") | dict.fromkeys(
    (name for name in vars(VectorDBPlugin) if not name.startswith("_")), "store"
)


class Watch:
    """The seconds spent on each of several named activities, and how often each occurred. Seconds are wall time, or
    those of another ``clock``."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self.seconds: dict[str, float] = {}
        self.counts: dict[str, int] = {}
        self._lock = threading.Lock()

    @contextmanager
    def timing(self, name: str) -> Iterator[None]:
        start = self._clock()
        try:
            yield
        finally:
            spent = self._clock() - start
            with self._lock:
                self.seconds[name] = self.seconds.get(name, 0.0) + spent
                self.counts[name] = self.counts.get(name, 0) + 1

    def timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **options: Any) -> Any:
            with self.timing(name):
                return call(*args, **options)

        return wrapped

    def opened(self, open_transaction: Callable[[], Any]) -> Callable[[], Any]:
        @contextmanager
        def wrapped() -> Iterator[Any]:
            with self.timing("transactions"), open_transaction() as tx:
                yield tx

        return wrapped


def watch(runtime: Runtime) -> Watch:
    """Time the runtime's calls to the child process, to plugins in this process, to the ledger and to the blobs."""
    clock = Watch()
    host, ledger, blobs = runtime.host, runtime.ledger, runtime.blobs
    call = host.call

    def to_plugin(method: Callable[..., Any], *args: Any, **options: Any) -> Any:
        with clock.timing(WHOSE.get(method.__name__, "connector")):
            return call(method, *args, **options)

    host.call = to_plugin  # type: ignore[method-assign]
    runtime.children.run = clock.timed("child", runtime.children.run)  # type: ignore[method-assign]
    ledger.read, ledger.write = clock.opened(ledger.read), clock.opened(ledger.write)  # type: ignore[method-assign]
    for name in ("put_raw", "get_raw", "put_many", "get_parsed"):
        setattr(blobs, name, clock.timed("bodies", getattr(blobs, name)))
    return clock


@contextmanager
def opened(folder: Path) -> Iterator[Runtime]:
    with ExitStack() as stack:
        settings, _ = fake_settings(folder, store="null-store", embedder="null-embedder")
        url = None if "--sqlite" in sys.argv else stack.enter_context(database())
        yield stack.enter_context(Runtime(load_settings(settings, data_dir=folder / "data", database={"url": url})))


def begin(runtime: Runtime, corpus: Path) -> int:
    return operations.begin_sync(runtime, [operations.folder_source(corpus)], collection="default")


def chunks_of(runtime: Runtime, operation: int) -> int:
    with runtime.ledger.read() as tx:
        progress = ledger_operations.progress(tx, operation)
    assert progress.outcome == "succeeded", progress
    return progress.result["chunks"]["total"]


def serial(runtime: Runtime, corpus: Path, warm: Path) -> dict[str, Any]:
    """Index the corpus with one stage after the other."""
    drain(runtime, begin(runtime, warm))
    clock = watch(runtime)
    operation = begin(runtime, corpus)
    stages = drain(runtime, operation)
    per_chunk = 1e6 / chunks_of(runtime, operation)
    parts = {f"{name}_us": round(seconds * per_chunk, 1) for name, seconds in clock.seconds.items()}
    return {
        "wall_us": round(sum(stages.values()) * per_chunk, 1),
        "stages": {name: round(seconds * per_chunk, 1) for name, seconds in stages.items()},
        **parts,
        "transactions": round(clock.counts["transactions"] * per_chunk / 1e6, 3),
    }


def drain(runtime: Runtime, operation: int) -> dict[str, float]:
    """Work until nothing is due. Returns the seconds of each stage."""
    spent: dict[str, float] = {}
    while due := maintenance.ring_due(runtime):
        for stage in due:
            start = time.perf_counter()
            pipeline.work_on(runtime, stage)
            spent[stage] = spent.get(stage, 0.0) + time.perf_counter() - start
    return spent


def together(runtime: Runtime, corpus: Path, warm: Path) -> float:
    """Index the corpus with all stages running concurrently. Returns microseconds per chunk."""
    with embedded_worker(runtime):
        operations.wait(runtime, begin(runtime, warm))
        start = time.perf_counter()
        operation = begin(runtime, corpus)
        operations.wait(runtime, operation)
        seconds = time.perf_counter() - start
    return round(seconds * 1e6 / chunks_of(runtime, operation), 1)


def measure() -> dict[str, Any]:
    chunks = next((int(word) for word in sys.argv[1:] if word.isdigit()), 5000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus = plain_text(folder / "corpus", round(chunks / 10), words=1480)
        warm = plain_text(folder / "warm", 20, seed=2)
        _, environment = fake_settings(folder / "fakes")
        sys.path[:0] = environment["PYTHONPATH"].split(os.pathsep)
        os.environ["PYTHONPATH"] = environment["PYTHONPATH"]
        best: dict[str, Any] = {}
        for run in range(RUNS):
            with opened(folder / f"serial{run}") as runtime:
                found = serial(runtime, corpus, warm)
            with opened(folder / f"together{run}") as runtime:
                side_by_side = together(runtime, corpus, warm)
            if not best or found["wall_us"] < best["serial"]["wall_us"]:
                best["serial"] = found
            best["together_us"] = min(side_by_side, best.get("together_us", side_by_side))
    best["data_path_us"] = round(best["serial"]["wall_us"] - best["serial"]["child_us"], 1)
    return {"chunks": chunks, "ledger": "sqlite" if "--sqlite" in sys.argv else "postgresql", **best}


if __name__ == "__main__":
    report(measure)
