"""Stages with a distant bucket: ``python benchmarks/distant.py [MILLISECONDS]``.

Indexes 200 text objects of about ten chunks each from a bucket, in one process, one stage after the other, with an
embedder and a store that do almost nothing. The blobs are in a bucket, too. Each request to either takes MILLISECONDS
(20). Does so twice: with one request at a time, and with as many as the pipeline makes at the same time. The server
runs in a process of its own. Prints one JSON object:

- ``one_at_a_time`` and ``concurrent``: documents per second in the stages that use buckets;
- ``gain``: the second divided by the first.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ledger import drain
from support.corpora import fake_settings, plain_text
from support.distant_bucket import distant_bucket
from support.fleets import report

from semantik_pipeline import operations
from semantik_pipeline.builtin.connectors.s3 import S3Connector
from semantik_pipeline.runtime import Runtime
from semantik_pipeline.settings import load_settings

DOCUMENTS = 200


def serve(seconds: float, corpus: Path, pipe: Connection) -> None:
    """Serve the files of the corpus until the other end of the pipe is closed."""
    with distant_bucket(seconds) as (url, objects):
        for path in sorted(corpus.rglob("*.txt")):
            objects[f"source/{path.relative_to(corpus)}"] = path.read_bytes()
        pipe.send(url)
        pipe.poll(None)


@contextmanager
def bucket(seconds: float, corpus: Path) -> Iterator[str]:
    context = multiprocessing.get_context("spawn")
    mine, other = context.Pipe()
    process = context.Process(target=serve, args=(seconds, corpus, other), daemon=True)
    process.start()
    other.close()
    try:
        yield mine.recv()
    finally:
        mine.close()
        process.join(10)


def rates(settings: Path, data: Path, *, concurrent: bool) -> dict[str, float]:
    """Documents per second in each stage that uses a bucket."""
    S3Connector.FETCH_CONCURRENCY = S3Connector.FETCH_CONCURRENCY if concurrent else 1
    with Runtime(load_settings(settings, data_dir=data, blob={"url": f"s3://blobs/{data.name}"})) as runtime:
        if not concurrent:
            runtime.blobs.concurrency = 1
        for prefix in ("warm/", "corpus/"):
            source = operations.SourceRequest(
                connector="s3", name=prefix, config={"bucket": "source", "prefix": prefix}
            )
            operations.begin_sync(runtime, [source], collection="default")
            spent = drain(runtime, 0)
    return {stage: round(DOCUMENTS / spent[stage], 1) for stage in ("sync", "chunk")}


def measure() -> dict[str, Any]:
    milliseconds = float(sys.argv[1]) if len(sys.argv) > 1 else 20.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plain_text(folder / "objects" / "corpus", DOCUMENTS, words=1480)
        plain_text(folder / "objects" / "warm", 5, seed=2)
        settings, environment = fake_settings(folder, store="null-store", embedder="null-embedder")
        sys.path[:0] = environment["PYTHONPATH"].split(os.pathsep)
        with bucket(milliseconds / 1000, folder / "objects") as url:
            os.environ |= {
                "PYTHONPATH": environment["PYTHONPATH"],
                "AWS_ENDPOINT_URL": url,
                "AWS_ACCESS_KEY_ID": "any",
                "AWS_SECRET_ACCESS_KEY": "any",
                "AWS_DEFAULT_REGION": "us-east-1",
            }
            together = rates(settings, folder / "together", concurrent=True)
            alone = rates(settings, folder / "alone", concurrent=False)
    return {
        "milliseconds": milliseconds,
        "one_at_a_time": alone,
        "concurrent": together,
        "gain": {stage: round(together[stage] / alone[stage], 1) for stage in alone},
    }


if __name__ == "__main__":
    report(measure)
