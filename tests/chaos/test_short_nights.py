"""Short versions of the tests in ``test_fleet.py``: a few seconds on small corpora, with several faults in each."""

from __future__ import annotations

import signal
import time
from typing import Any

import pytest

from tests.chaos.fleet import (
    begun,
    edited,
    finish,
    in_small_steps,
    make_corpus,
    newer_fakes,
    poisoned,
    ready_meanwhile,
    stopped_in_every_stage,
    vectors_are_of_their_generations,
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
    operation = begun(fleet, tmp_path, workers=2, documents=SMALL)
    victim = fleet.kill_at_work()
    fleet.ring_twice()
    [other] = fleet.workers
    fleet.start_worker()
    redis.ask("flushall")
    assert fleet.taken_up(victim.pid, first=30, last=60)
    redis.stop()
    fleet.freeze(other)
    time.sleep(6)
    redis.start()
    other.send_signal(signal.SIGCONT)
    finish(fleet, operation, documents=SMALL)
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
    for _ in range(2):
        fleet.start_worker()
    fleet.ready(2)
    operation = fleet.begin_source(in_small_steps(tmp_path, 160))
    stopped_in_every_stage(fleet, operation)
    finish(fleet, operation, documents=160)


def test_a_night_of_servers(own_postgres, make_fleet, unsteady, qdrant, tmp_path):
    """RabbitMQ loses its messages and goes away; the ledger restarts twice; the store goes away, then is slow."""
    broker = unsteady("rabbitmq")
    fleet = make_fleet(database=own_postgres.url, broker=broker.url, qdrant=qdrant.url)
    fleet.configure(sleep_ms_per_text=10)
    operation = begun(fleet, tmp_path, workers=2, documents=SMALL)
    broker.forget()
    broker.stop()
    own_postgres.restart()
    qdrant.away = True
    time.sleep(1)
    own_postgres.restart()
    broker.start()
    time.sleep(1)
    assert fleet.progress(operation).state == "running"
    qdrant.away, qdrant.delay = False, 0.2
    time.sleep(1)
    qdrant.delay, well = 0.0, time.monotonic()
    finish(fleet, operation, documents=SMALL, cut=2 * 2)
    assert time.monotonic() - well < 60, (
        "a worker stood still until its broker hung up, as Celery's own reconnecting made it"
    )


def test_a_night_of_people(make_fleet, postgres_url, redis, qdrant, tmp_path):
    """During a run, the embedder's options change and a supervisor restarts its processes one by one; documents change
    and vanish.

    One worker has a newer release of the embedder: it leaves units to others that its release would embed differently.
    """
    fleet = make_fleet(database=postgres_url, broker=redis.url, qdrant=qdrant.url)
    fleet.configure(sleep_ms_per_text=15)
    fleet.start_scheduler()
    fleet.start_supervisor("--profile", "all", "--processes", "2")
    newer = newer_fakes(fleet)
    rolled_out = fleet.start_worker(PYTHONPATH=str(newer))
    fleet.ready(3)
    corpus = make_corpus(tmp_path / "corpus", SMALL)

    def supervised() -> list[dict[str, Any]]:
        return [one for one in fleet.status() if one["state"] == "ready" and one["pid"] != rolled_out.pid]

    with edited(corpus, every=0.1):
        operation = fleet.begin(corpus)
        fleet.until_indexed(operation, 20)
        before = {worker["id"] for worker in supervised()}
        fleet.configure(salt="other", sleep_ms_per_text=1)
        with ready_meanwhile(fleet) as ready:
            fleet.semantik("fleet", "restart", *sorted(before), timeout=120)
        assert min(ready) >= 2, "one restarts at a time"
        assert fleet.wait(operation, 120).outcome in ("succeeded", "degraded")
    after = supervised()
    assert len(after) == 2 and not before & {worker["id"] for worker in after}
    assert all(worker["plugin_state_current"] for worker in after)
    fleet.synced_again(corpus)
    vectors_are_of_their_generations(fleet, qdrant)
    [told] = [worker for worker in fleet.status() if worker["pid"] == rolled_out.pid]
    refused = {place.rpartition(":")[2]: reason for place, reason in told["refusals"].items()}
    assert "would differ from what its generation was built with" in refused["embed"]
    assert "embed" not in told["stages"] and not (newer / "newer.log").exists()


def test_a_night_of_poison(make_fleet, postgres_url, redis, qdrant, tmp_path):
    fleet = make_fleet(database=postgres_url, broker=redis.url, qdrant=qdrant.url)
    fleet.environment |= {
        "SEMANTIK_WORK_LEASE": "2",
        "SEMANTIK_WORK_LEASE_RENEWAL": "0.5",
        "SEMANTIK_WORK_MAX_ATTEMPTS": "2",
    }
    poisoned(fleet, tmp_path, documents=20)
