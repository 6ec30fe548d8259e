"""Figures that operators act on, from real work: the rate of each stage, GPU memory, whether plugins are current."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from semantik_pipeline import fleet
from semantik_pipeline.ledger.tables import chunks, workers
from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.testing.qdrant_double import QdrantDouble
from tests.announced import announced
from tests.integration.conftest import FAKE_COLLECTION
from workers.heartbeat import Presence
from workers.metrics import ProcessCollector

#: A collection whose documents go through every stage.
EVERY_STAGE = {
    **FAKE_COLLECTION,
    "extraction": {"chunk": [{"plugin": "fake-extractor", "options": {}}], "document": []},
}

STAGES = ("chunk", "extract", "embed", "upsert")


def worked(pipeline, name: str, documents: int) -> int:
    """Index so many documents of several chunks each; returns how many chunks they have."""
    with pipeline.runtime.ledger.read() as tx:
        before = tx.execute(select(func.count()).select_from(chunks)).scalar_one()
    words = " ".join(f"word{number}" for number in range(100))
    texts = {f"{name}/{number}": f"{name} {number} {words}" for number in range(documents)}
    source = SourceRequest(connector="fake-connector", name=name, config={"documents": texts})
    result = pipeline.index(source, config=EVERY_STAGE)
    assert result["outcome"] == "succeeded"
    with pipeline.runtime.ledger.read() as tx:
        return tx.execute(select(func.count()).select_from(chunks)).scalar_one() - before


class Beating:
    """A worker that beats when it is told to, and between two beats does what it is given. Its name is made up: a
    process is one worker."""

    def __init__(self, pipeline, pid: int) -> None:
        self.pipeline = pipeline
        pipeline.runtime.worker_id = f"here:{pid}:1"
        self.presence = Presence(pipeline.runtime, profile="all", queues=("sync", *STAGES))
        with pipeline.runtime.ledger.write() as tx:
            report = self.presence.report()
            announced(tx, pipeline.runtime.worker_id, host="here", pid=pid, profile="all", report=report)

    def work(self, name: str, documents: int) -> tuple[tuple[float, float], tuple[float, float]]:
        """What documents and chunks a second are by the clock, each at least and at most: a beat looks at its own."""
        begins = time.monotonic()
        self.presence.beat()
        began = time.monotonic()
        made = worked(self.pipeline, name, documents)
        time.sleep(0.2)
        ends = time.monotonic()
        self.presence.beat()
        ended = time.monotonic()
        assert made > documents
        longest, shortest = ended - begins, ends - began
        return (documents / longest, documents / shortest), (made / longest, made / shortest)


def test_the_rate_of_a_stage_is_what_its_workers_did_by_the_clock(make_pipeline) -> None:
    """Of two workers together; a third one, that died, does nothing any more."""
    store = QdrantDouble().start()
    shared = {"qdrant": {"url": store.url}, "worker": {"heartbeat": 60.0}}
    *both, gone = (Beating(make_pipeline(**shared), pid) for pid in (1, 2, 3))
    try:
        gone.work("dead", 2)
        with gone.pipeline.runtime.ledger.write() as tx:
            dead = workers.c.id == gone.pipeline.runtime.worker_id
            tx.execute(update(workers).where(dead).values(heartbeat=workers.c.heartbeat - 10_000))
        told = [one.work(name, count) for one, name, count in zip(both, ("small", "large"), (4, 9), strict=True)]
        view = fleet.view(both[0].pipeline.runtime)
    finally:
        store.stop()
    for place, name in enumerate(("documents_per_second", "chunks_per_second")):
        least, most = (sum(one[place][end] for one in told) for end in (0, 1))
        for stage in STAGES:
            rate = view["stages"][stage][name]
            assert least - 0.01 <= rate <= most + 0.01, f"{name} of {stage}: {rate} is not in {least:.2f} .. {most:.2f}"
    documents = [sum(one[0][end] for one in told) for end in (0, 1)]
    assert documents[0] - 0.01 <= view["stages"]["sync"]["documents_per_second"] <= documents[1] + 0.01
    assert view["stages"]["sync"]["chunks_per_second"] == 0


#: A process in whose ``torch`` two devices have memory, once it has begun to use them; what it exports of that, before
#: and after, is printed.
WITH_GPUS = """
import json, sys, types
torch, used = types.ModuleType("torch"), []
torch.cuda = types.SimpleNamespace(
    is_initialized=lambda: bool(used),
    device_count=lambda: 2,
    memory_allocated=lambda device: 1000 + device,
    memory_reserved=lambda device: 2000 + device,
)
sys.modules["torch"] = torch
from prometheus_client import generate_latest
from semantik_pipeline.runtime import Runtime
from semantik_pipeline.settings import load_settings
from workers.metrics import ProcessCollector, registry_of
def exported():
    text = generate_latest(registry_of([ProcessCollector(runtime)])).decode()
    return [line for line in text.splitlines() if line.startswith("semantik_gpu_memory_bytes{")]
with Runtime(load_settings(data_dir=sys.argv[1])) as runtime:
    before = exported()
    used.append("a model")
    print(json.dumps([before, exported()]))
"""


def test_gpu_memory_is_exported_by_device_and_kind(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WITH_GPUS, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    before, after = json.loads(done.stdout)
    assert before == [], "a process that uses no GPU is not made to"
    expected = {("0", "used"): 1000, ("1", "used"): 1001, ("0", "reserved"): 2000, ("1", "reserved"): 2001}
    assert sorted(after) == sorted(
        f'semantik_gpu_memory_bytes{{device="{device}",kind="{kind}"}} {value:.1f}'
        for (device, kind), value in expected.items()
    )


def exported(pipeline) -> dict[str, float]:
    return {
        sample.name: sample.value
        for metric in ProcessCollector(pipeline.runtime).collect()
        for sample in metric.samples
        if sample.name.startswith("semantik_plugin_state")
    }


def write_state(pipeline, body: dict[str, Any] | str) -> None:
    told = body if isinstance(body, str) else json.dumps(body)
    pipeline.runtime.settings.state_file.write_text(told)


@pytest.mark.parametrize(
    "changed",
    [{"version": 1, "revision": 8, "disabled_ids": ["x"]}, {"version": 1, "revision": 7, "disabled_ids": ["x"]}, "{"],
    ids=["another revision", "by hand", "broken"],
)
def test_a_state_file_that_changed_since_it_was_loaded_shows(make_pipeline, changed) -> None:
    pipeline = make_pipeline()
    before = {"version": 1, "revision": 7, "disabled_ids": []}
    write_state(pipeline, before)
    assert exported(pipeline) == {"semantik_plugin_state_revision": 7, "semantik_plugin_state_current": 1}
    write_state(pipeline, changed)
    assert exported(pipeline) == {"semantik_plugin_state_revision": 7, "semantik_plugin_state_current": 0}
    write_state(pipeline, before)
    assert exported(pipeline)["semantik_plugin_state_current"] == 1, "it is what it was"
