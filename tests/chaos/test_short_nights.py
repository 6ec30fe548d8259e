"""Short versions of the tests in ``test_fleet.py``: a few seconds on small corpora, with several faults in each."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from tests.chaos.account import check_vectors
from tests.chaos.corpora import edits_meanwhile, in_small_steps, make_corpus
from tests.chaos.leases import wait_until_taken_up
from tests.chaos.operations import begin, progress_of, ring_more, wait, wait_until_indexed
from tests.chaos.scenarios import (
    begin_run,
    finish_run,
    freeze_in_every_stage,
    ready_meanwhile,
    run_with_poison,
    sync_again,
)

SMALL = 200


@pytest.fixture
def make_fleet(make_fleet):
    """Create fleets with pools so small that the texts in flight, which may be embedded twice, are a small share."""

    def make(**urls):
        fleet = make_fleet(**urls)
        fleet.environment["SEMANTIK_EMBED_POOL_CHUNKS"] = "4"
        return fleet

    return make


def test_a_night_of_workers_and_redis(make_fleet, postgres_url, redis, qdrant, tmp_path):
    """A worker dies, another is stopped past its lease, all receive bells, the broker loses messages and goes away."""
    fleet = make_fleet(database=postgres_url, broker=redis.url, qdrant=qdrant.url)
    fleet.environment |= {"SEMANTIK_WORK_LEASE": "5", "SEMANTIK_WORK_LEASE_RENEWAL": "1"}
    fleet.configure(sleep_ms_per_text=120)  # otherwise, on a busy machine, all is done before a worker is hit
    operation = begin_run(fleet, tmp_path, workers=2, documents=SMALL)
    victim = fleet.kill_while_working()
    ring_more(fleet)
    [other] = fleet.workers
    fleet.start_worker()
    redis.ask("flushall")
    assert wait_until_taken_up(fleet.ledger, victim.pid, first=30, last=60)
    redis.stop()
    fleet.freeze(other)
    time.sleep(6)
    redis.start()
    fleet.thaw(other)
    finish_run(fleet, operation, documents=SMALL)
    fleet.environment["SEMANTIK_SEARCH_EXECUTION"] = "workers"
    found = fleet.semantik("search", "file 7 part 1 speaks of topic49", "--no-rerank")
    assert found["hits"][0]["document"].endswith("file00007.txt")
    refused = fleet.semantik("search", "anything", "--collection", "nowhere", code=None)
    assert "nowhere" in refused["error"]["message"]


def test_a_night_of_workers_that_stand_still(make_fleet, postgres_url, redis, qdrant, tmp_path):
    """In each stage, one worker is stopped past its lease, then continues with units that others have claimed."""
    fleet = make_fleet(database=postgres_url, broker=redis.url, qdrant=qdrant.url)
    fleet.environment |= {
        "SEMANTIK_WORK_LEASE": "3",
        "SEMANTIK_WORK_LEASE_RENEWAL": "0.5",
        "SEMANTIK_SCHEDULE_TICK": "0.5",
        "SEMANTIK_WORK_MAX_IN_FLIGHT": "30",  # so that no stage finishes before the others
    }
    fleet.configure(sleep_ms_per_text=80, extractor_ms=10, parser_ms=20)  # slow enough to meet every stage
    qdrant.delay = 0.02
    fleet.start_scheduler()
    fleet.start_workers(2)
    operation = begin(fleet, in_small_steps(tmp_path, 160))
    freeze_in_every_stage(fleet, operation)
    finish_run(fleet, operation, documents=160)


def test_a_night_of_servers(own_postgres, make_fleet, unsteady, qdrant, tmp_path):
    """RabbitMQ loses its messages and goes away; the ledger restarts twice; the store goes away, then is slow."""
    broker = unsteady("rabbitmq")
    fleet = make_fleet(database=own_postgres.url, broker=broker.url, qdrant=qdrant.url)
    fleet.configure(sleep_ms_per_text=10)
    operation = begin_run(fleet, tmp_path, workers=2, documents=SMALL)
    broker.forget()
    broker.stop()
    own_postgres.restart()
    qdrant.away = True
    time.sleep(1)
    own_postgres.restart()
    broker.start()
    time.sleep(1)
    assert progress_of(fleet, operation).state == "running"
    qdrant.away, qdrant.delay = False, 0.2
    time.sleep(1)
    qdrant.delay, restored = 0.0, time.monotonic()
    finish_run(fleet, operation, documents=SMALL, interruptions=2 * 2)
    assert time.monotonic() - restored < 60, (
        "a worker stood still until its broker hung up, as Celery's own reconnecting made it"
    )


def newer_fakes(fleet) -> Path:
    """Return a folder with a newer release of the fleet's fakes, whose embedder gives other vectors.

    The embedder declares this by its ``OUTPUT_VERSION``. It logs what it embeds in the folder's ``newer.log``.
    """
    folder = Path(shutil.copytree(fleet.environment["PYTHONPATH"], fleet.folder / "newer"))
    [entries] = folder.glob("*.dist-info/entry_points.txt")
    entries.write_text(entries.read_text().replace("semantik_pipeline.testing:FakeEmbedder", "newer:Embedder"))
    code = """
        from pathlib import Path
        from semantik_pipeline.testing import FakeEmbedder

        class Embedder(FakeEmbedder):
            OUTPUT_VERSION = "2"

            def __init__(self, config=None):
                log = str(Path(__file__).with_suffix(".log"))
                super().__init__({**(config or {}), "salt": "newer", "log_path": log})
    """
    (folder / "newer.py").write_text(dedent(code))
    return folder


def test_a_night_of_people(make_fleet, postgres_url, redis, qdrant, tmp_path):
    """The embedder's options change, a supervisor restarts its processes one by one, and documents change and vanish.

    All this happens during one run. One worker has a newer release of the embedder, which would embed the documents
    differently, so the worker leaves them to others.
    """
    fleet = make_fleet(database=postgres_url, broker=redis.url, qdrant=qdrant.url)
    fleet.configure(sleep_ms_per_text=15)
    fleet.start_scheduler()
    fleet.start_supervisor("--profile", "all", "--processes", "2")
    newer = newer_fakes(fleet)
    rolled_out = fleet.start_worker(PYTHONPATH=str(newer))
    fleet.wait_until_ready(3)
    corpus = make_corpus(tmp_path / "corpus", SMALL)

    def supervised() -> list[dict[str, Any]]:
        return [one for one in fleet.status() if one["state"] == "ready" and one["pid"] != rolled_out.pid]

    with edits_meanwhile(corpus, every=0.1):
        operation = begin(fleet, corpus)
        wait_until_indexed(fleet, operation, 20)
        before = {worker["id"] for worker in supervised()}
        fleet.configure(salt="other", sleep_ms_per_text=1)
        with ready_meanwhile(fleet) as ready:
            fleet.semantik("fleet", "restart", *sorted(before), timeout=120)
        assert min(ready) >= 2, "one restarts at a time"
        assert wait(fleet, operation, 120).outcome in ("succeeded", "degraded")
    after = supervised()
    assert len(after) == 2 and not before & {worker["id"] for worker in after}
    assert all(worker["plugin_state_current"] for worker in after)
    sync_again(fleet, corpus)
    check_vectors(fleet, qdrant)
    [newer_worker] = [worker for worker in fleet.status() if worker["pid"] == rolled_out.pid]
    refused = {place.rpartition(":")[2]: reason for place, reason in newer_worker["refusals"].items()}
    assert "would differ from what its generation was built with" in refused["embed"]
    assert "embed" not in newer_worker["stages"] and not (newer / "newer.log").exists()


def test_a_night_of_poison(make_fleet, postgres_url, redis, qdrant, tmp_path):
    fleet = make_fleet(database=postgres_url, broker=redis.url, qdrant=qdrant.url)
    fleet.environment |= {
        "SEMANTIK_WORK_LEASE": "2",
        "SEMANTIK_WORK_LEASE_RENEWAL": "0.5",
        "SEMANTIK_WORK_MAX_ATTEMPTS": "2",
    }
    run_with_poison(fleet, tmp_path, documents=20)
