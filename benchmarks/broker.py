"""The broker's memory while documents wait for work: ``python benchmarks/broker.py [DOCUMENTS]``.

Starts a Redis of its own. This process alone syncs a jsonl source of DOCUMENTS (100,000) short documents into a
PostgreSQL ledger, so that all of them wait at the stage ``chunk`` (``work.max_in_flight`` is set high enough). Then one
worker with the profile ``cpu`` is notified, as by a scheduler's tick, and works for 20 s. On a slow machine, the sync
stops after SYNC_SECONDS (200) with the documents read so far. Prints one JSON object:

- ``before_mb``: Redis' used_memory after this process has sent its first message;
- ``waiting_growth_mb``, ``working_growth_mb``: the peak of used_memory, sampled every 0.2 s, during the sync and while
  the worker worked, minus ``before_mb``. ``growth_mb`` is the larger of the two;
- ``queues``: messages in each queue at the end of the sync (``waiting``) and of the work (``working``);
- ``waiting``: documents due at ``chunk`` after the sync; ``documents_per_s``: ``waiting`` ÷ seconds of the sync;
- ``chunked``: how many of them the worker took.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from support.corpora import sentences
from support.fleets import Fleet, database, own_redis, report

from semantik_pipeline import maintenance, operations, pipeline
from semantik_pipeline.ledger.ingestion import sync
from semantik_pipeline.ledger.queue import backlog
from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.pipeline import QUEUES
from semantik_pipeline.runtime import Runtime
from tests.chaos.servers import OwnRedis

SYNC_SECONDS = 200.0
WORK_SECONDS = 20.0
EVERY = 0.2


class Peak:
    """The peak of a Redis server's used_memory since the last call of :meth:`take`."""

    def __init__(self, redis: OwnRedis) -> None:
        from redis import Redis

        self._client = Redis.from_url(redis.url)
        self._bytes = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def _sample(self) -> None:
        while not self._ended.wait(EVERY):
            self._bytes = max(self._bytes, self.now())

    def now(self) -> int:
        return self._client.info("memory")["used_memory"]

    def take(self) -> int:
        found, self._bytes = max(self._bytes, self.now()), 0
        return found

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._client.close()


def measure() -> dict[str, Any]:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as name, database() as url, own_redis() as redis:
        folder = Path(name)
        corpus = json_lines(folder / "corpus.jsonl", count)
        fleet = Fleet(folder, redis, url)
        work = fleet.settings.work.model_copy(update={"max_in_flight": 10 * count})
        with fleet.client(work=work) as runtime, Peak(redis) as peak:
            runtime.collection("default")
            runtime.ring("maintenance")
            before = peak.now()
            seconds = bring(runtime, corpus)
            waiting, queues = due(runtime), {"waiting": bells(redis)}
            came = peak.take()
            with fleet.working(runtime, 1, "cpu"):
                maintenance.ring_due(runtime)
                time.sleep(WORK_SECONDS)
                worked, queues["working"] = peak.take(), bells(redis)
                left = due(runtime)
    growths = {"waiting_growth_mb": mb(came - before), "working_growth_mb": mb(worked - before)}
    return {
        "documents": count,
        "waiting": waiting["chunk"],
        "chunked": waiting["chunk"] - left["chunk"],
        "before_mb": mb(before),
        **growths,
        "growth_mb": max(growths.values()),
        "queues": queues,
        "sync_seconds": round(seconds, 1),
        "documents_per_s": round(waiting["chunk"] / seconds),
        "load": round(os.getloadavg()[0], 1),
    }


def json_lines(path: Path, count: int) -> Path:
    """Write one short document per line; all documents differ."""
    chance, known = random.Random(1), sentences()
    with path.open("w") as file:
        for number in range(count):
            file.write(json.dumps({"_id": f"d{number}", "text": f"Document {number}: {chance.choice(known)}"}) + "\n")
    return path


def bring(runtime: Runtime, corpus: Path) -> float:
    """Sync the file slice after slice, as a worker's task does. Returns the seconds."""
    start = time.perf_counter()
    source = SourceRequest(connector="jsonl", name="corpus", config={"path": str(corpus)})
    operations.begin_sync(runtime, [source], collection="default")
    while is_due(runtime) and time.perf_counter() - start < SYNC_SECONDS:
        pipeline.work_on(runtime, "sync")
    return time.perf_counter() - start


def is_due(runtime: Runtime) -> bool:
    with runtime.ledger.read() as tx:
        return any(sync.sources_due(tx))


def due(runtime: Runtime) -> dict[str, int]:
    """The number of units that could be claimed now, by stage."""
    with runtime.ledger.read() as tx:
        return {stage: int(counts["waiting"]) for stage, counts in backlog.by_stage(tx).items()}


def bells(redis: OwnRedis) -> dict[str, int]:
    """The number of messages in each stage's queue; empty queues are left out."""
    lengths = {stage: int(redis.ask("llen", f"semantik.{stage}")) for stage in QUEUES}
    return {stage: length for stage, length in lengths.items() if length}


def mb(size: float) -> float:
    return round(size / 1e6, 2)


if __name__ == "__main__":
    report(measure)
