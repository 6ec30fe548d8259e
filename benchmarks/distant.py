"""Stages with distant blobs: ``python benchmarks/distant.py [MILLISECONDS]``.

Indexes 200 plain-text files of about ten chunks each in one process, one stage after the other, with an embedder and a
store that do almost nothing and with blobs in memory of which each call takes MILLISECONDS (20), as in a bucket. Does
so twice: with one call to the blobs at a time, and with as many as the pipeline makes at the same time. Prints one JSON
object:

- ``one_at_a_time`` and ``concurrent``: documents per second in the stages that use blobs;
- ``gain``: the second divided by the first.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, ClassVar

import fsspec
from fsspec.implementations.memory import MemoryFileSystem
from ledger import begin, drain
from support.corpora import fake_settings, plain_text
from support.fleets import report

from semantik_pipeline.runtime import Runtime
from semantik_pipeline.settings import load_settings

DOCUMENTS = 200


class Distant(MemoryFileSystem):
    """Files in memory, a round trip away."""

    protocol = ("memory", "distant")
    cachable = False
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    seconds = 0.02

    def cat_file(self, *args: Any, **options: Any) -> Any:
        time.sleep(self.seconds)
        return super().cat_file(*args, **options)

    def pipe_file(self, *args: Any, **options: Any) -> Any:
        time.sleep(self.seconds)
        return super().pipe_file(*args, **options)

    def info(self, *args: Any, **options: Any) -> Any:
        time.sleep(self.seconds)
        return super().info(*args, **options)


def rates(settings: Path, data: Path, corpus: Path, warm: Path, concurrency: int | None) -> dict[str, float]:
    """Documents per second in each stage that uses blobs."""
    Distant.store.clear()
    with Runtime(load_settings(settings, data_dir=data, blob={"url": "distant://bucket/bodies"})) as runtime:
        if concurrency is not None:
            runtime.blobs.concurrency = concurrency
        drain(runtime, begin(runtime, warm))
        spent = drain(runtime, begin(runtime, corpus))
    return {stage: round(DOCUMENTS / spent[stage], 1) for stage in ("sync", "chunk")}


def measure() -> dict[str, Any]:
    Distant.seconds = float(sys.argv[1]) / 1000 if len(sys.argv) > 1 else Distant.seconds
    fsspec.register_implementation("distant", Distant, clobber=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus = plain_text(folder / "corpus", DOCUMENTS, words=1480)
        warm = plain_text(folder / "warm", 5, seed=2)
        settings, environment = fake_settings(folder, store="null-store", embedder="null-embedder")
        sys.path[:0] = environment["PYTHONPATH"].split(os.pathsep)
        os.environ["PYTHONPATH"] = environment["PYTHONPATH"]
        alone = rates(settings, folder / "alone", corpus, warm, 1)
        together = rates(settings, folder / "together", corpus, warm, None)
    return {
        "milliseconds": Distant.seconds * 1000,
        "one_at_a_time": alone,
        "concurrent": together,
        "gain": {stage: round(together[stage] / alone[stage], 1) for stage in alone},
    }


if __name__ == "__main__":
    report(measure)
