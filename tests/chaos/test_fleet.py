"""Long tests of a fleet under faults: workers die, hang and are replaced; brokers lose messages; servers go away.

Each ends with the fleet's account (``account.py``): every document is accounted for, ledger and store agree point by
point, nothing was embedded twice except pools in flight, and no attempt was charged to an innocent document. They run
with `make chaos`; short tests that combine the same faults are in ``test_short_nights.py``.
"""

from __future__ import annotations

import json
import random
import time
from functools import partial
from statistics import median

import pytest

from tests.chaos.account import check_account, check_store, check_vectors
from tests.chaos.corpora import edits_meanwhile, json_lines, make_corpus
from tests.chaos.leases import held_by, wait_until_taken_up
from tests.chaos.operations import begin, in_mid_run, progress_of, ring_more, wait, wait_until_indexed
from tests.chaos.scenarios import (
    LONG,
    begin_run,
    finish_run,
    freeze_in_every_stage,
    ready_meanwhile,
    run_with_poison,
    sync_again,
)
from tests.chaos.servers import until

DOCUMENTS = 2000

#: Milliseconds per text that make a run on two workers last half a minute or more, long enough to disturb it.
SLOW = 25

#: Number of documents of a large and of a small source.
LARGE, SMALL = 50_000, 50

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]


@pytest.mark.parametrize("broker", ["redis", "rabbitmq"])
def test_a_random_worker_dies_every_three_seconds(make_fleet, postgres_url, brokers, broker, qdrant, tmp_path):
    fleet = make_fleet(database=postgres_url, broker=brokers(broker), qdrant=qdrant.url)
    fleet.configure(sleep_ms_per_text=SLOW)
    operation = begin_run(fleet, tmp_path, workers=3, documents=DOCUMENTS)
    kills_end = time.monotonic() + 45

    def strike() -> None:
        if time.monotonic() < kills_end:
            fleet.kill(random.choice(fleet.workers))
            fleet.start_worker()

    finish_run(fleet, operation, documents=DOCUMENTS, disturb=strike)
    assert fleet.kills >= 5


def test_the_units_of_a_dead_worker_are_taken_up_within_30_s(
    make_fleet, postgres_url, redis, qdrant, tmp_path, record_property
):
    """Another worker claims or advances the first unit within 30 s, then the others one after another, as suspects.

    The summary records when the last was taken up. Meanwhile all workers receive the same bells.
    """
    fleet = make_fleet(database=postgres_url, broker=redis.url, qdrant=qdrant.url)
    operation = begin_run(fleet, tmp_path, workers=2, documents=DOCUMENTS)
    ring_more(fleet)
    victim = fleet.workers[0]
    until(lambda: len(held_by(fleet.ledger, victim.pid)) > 1, "the victim holds something")
    fleet.kill(victim)
    fleet.start_worker()
    ring_more(fleet)
    taken = wait_until_taken_up(fleet.ledger, victim.pid, first=30, last=200)
    record_property(
        "taken up", f"{len(taken)} units, the first after {taken[0]:.0f} s, the last after {taken[-1]:.0f} s"
    )
    finish_run(fleet, operation, documents=DOCUMENTS, disturb=partial(ring_more, fleet), every=2.0)


@pytest.mark.parametrize("name", ["redis", "rabbitmq"])
def test_the_broker_forgets_everything_and_is_away_for_20_s(make_fleet, postgres_url, unsteady, name, qdrant, tmp_path):
    broker = unsteady(name)
    fleet = make_fleet(database=postgres_url, broker=broker.url, qdrant=qdrant.url)
    fleet.configure(sleep_ms_per_text=SLOW)
    operation = begin_run(fleet, tmp_path, workers=2, documents=DOCUMENTS)
    broker.forget()
    time.sleep(5)
    with in_mid_run(fleet, operation, DOCUMENTS):
        broker.stop()
        time.sleep(20)
        broker.start()
    finish_run(fleet, operation, documents=DOCUMENTS)


def test_postgres_restarts_in_mid_run(own_postgres, make_fleet, redis, qdrant, tmp_path):
    fleet = make_fleet(database=own_postgres.url, broker=redis.url, qdrant=qdrant.url)
    fleet.configure(sleep_ms_per_text=SLOW)
    operation = begin_run(fleet, tmp_path, workers=2, documents=DOCUMENTS)
    for _ in range(3):
        with in_mid_run(fleet, operation, DOCUMENTS):
            own_postgres.restart()
            time.sleep(6)
    finish_run(fleet, operation, documents=DOCUMENTS, interruptions=3 * 2)


def test_the_store_is_away_for_20_s_and_then_slow(make_fleet, postgres_url, redis, qdrant, tmp_path):
    fleet = make_fleet(database=postgres_url, broker=redis.url, qdrant=qdrant.url)
    operation = begin_run(fleet, tmp_path, workers=2, documents=DOCUMENTS)
    with in_mid_run(fleet, operation, DOCUMENTS):
        qdrant.away = True
        time.sleep(20)
    qdrant.away, qdrant.delay = False, 0.5
    time.sleep(20)
    qdrant.delay = 0.0
    finish_run(fleet, operation, documents=DOCUMENTS)


def test_workers_stop_past_their_leases_and_go_on(make_fleet, postgres_url, redis, qdrant, tmp_path):
    """For each stage, a worker that holds units is stopped until others have claimed them, then continued."""
    fleet = make_fleet(database=postgres_url, broker=redis.url, qdrant=qdrant.url)
    fleet.environment |= {"SEMANTIK_WORK_LEASE": "4", "SEMANTIK_WORK_LEASE_RENEWAL": "1"}
    fleet.configure(sleep_ms_per_text=5, extractor_ms=10)  # slow enough to meet all stages in one run
    fleet.start_scheduler()
    fleet.start_workers(3)
    operation = begin(fleet, make_corpus(tmp_path / "corpus", DOCUMENTS))
    freeze_in_every_stage(fleet, operation)
    finish_run(fleet, operation, documents=DOCUMENTS)


def test_a_poison_document_kills_its_process_each_time(make_fleet, postgres_url, redis, qdrant, tmp_path):
    fleet = make_fleet(database=postgres_url, broker=redis.url, qdrant=qdrant.url)
    run_with_poison(fleet, tmp_path, documents=DOCUMENTS)


def test_a_rolling_restart_with_a_changed_plugin_state(make_fleet, postgres_url, redis, qdrant, tmp_path):
    """The state file changes during the run, with embedder options that would give other vectors of the same length.

    The generation's frozen options must be used. The processes are replaced one by one while the others take work.
    """
    fleet = make_fleet(database=postgres_url, broker=redis.url, qdrant=qdrant.url)
    fleet.start_scheduler()
    # On a busy machine the restart takes a minute. The run must last longer.
    fleet.configure(sleep_ms_per_text=4 * SLOW)
    fleet.start_supervisor("--profile", "all", "--processes", "2")
    fleet.wait_until_ready(2)
    operation = begin(fleet, make_corpus(tmp_path / "corpus", DOCUMENTS))
    wait_until_indexed(fleet, operation, 100)
    before = {worker["id"] for worker in fleet.status()}
    newer = fleet.folder / "embedded by the new processes.log"
    fleet.configure(salt="other", sleep_ms_per_text=SLOW, log_path=str(newer))
    stale = fleet.status()
    assert not any(worker["plugin_state_current"] for worker in stale)
    with in_mid_run(fleet, operation, DOCUMENTS):
        with ready_meanwhile(fleet) as ready:
            fleet.semantik("fleet", "restart", timeout=120)
        assert min(ready) >= 1, "one restarts at a time"
        after = [worker for worker in fleet.status() if worker["state"] == "ready"]
        assert len(after) == 2 and not before & {worker["id"] for worker in after}
        assert all(worker["plugin_state_current"] for worker in after)
    finish_run(fleet, operation, documents=DOCUMENTS)
    assert fleet.log.read_text() and newer.read_text(), "old and new processes embedded"
    check_vectors(fleet, qdrant)


def test_a_plugin_that_is_disabled_blocks_the_operation_until_it_is_back(
    make_fleet, postgres_url, redis, qdrant, tmp_path
):
    fleet = make_fleet(database=postgres_url, broker=redis.url, qdrant=qdrant.url)
    operation = begin_run(fleet, tmp_path, workers=1, documents=300)
    state_file = fleet.folder / "data" / "plugins.json"
    state = json.loads(state_file.read_text())
    state_file.write_text(json.dumps({**state, "disabled_ids": ["fake-embedder"]}))
    fleet.replace_all()
    until(lambda: "fake-embedder" in str(fleet.semantik("fleet", "status", code=None)["blocked"]), "blocked", 60)
    # The operation is blocked once the other stages have done all they can for it.
    shown = partial(fleet.semantik, "operations", "show", str(operation), code=None)
    until(lambda: "fake-embedder" in str(shown()["reason"]), "its operation blocked", 60)
    state_file.write_text(json.dumps(state))
    fleet.replace_all()
    finish_run(fleet, operation, documents=300)


def test_a_small_source_is_not_starved_by_a_large_one(
    make_fleet, postgres_url, redis, qdrant, tmp_path, record_property
):
    """A source of 50 documents with 20 chunks each, next to one of 50,000 documents with one chunk each.

    The reference is the median of three runs of the small source alone. If both sources begin together, the small one
    takes at most twice as long. If it comes later, both processors are busy and units in progress end first: the median
    of three runs is at most four times as long. The summary records all these times, and those of 50 documents of one
    chunk, the size of the large source's documents.
    """
    fleet = make_fleet(database=postgres_url, broker=redis.url, qdrant=qdrant.url)
    fleet.start_scheduler()
    fleet.start_workers(2)

    def seconds(name: str, chunks: int = 20) -> float:
        source = json_lines(tmp_path, name, SMALL, chunks=chunks)
        began = time.monotonic()
        assert wait(fleet, begin(fleet, source), 120).outcome == "succeeded"
        return time.monotonic() - began

    def thrice(name: str, chunks: int = 20) -> list[float]:
        return [seconds(f"{name}{turn}", chunks) for turn in range(3)]

    def end(large: int) -> int:
        """Cancel the sync of a large source, which must still run; return how many of its documents were seen."""
        assert progress_of(fleet, large).state == "running"
        fleet.semantik("operations", "cancel", str(large))
        ended = wait(fleet, large, 120)
        assert ended.outcome == "cancelled"
        return ended.seen

    seconds("warm")
    alone, alike_alone = thrice("alone"), thrice("alikealone", chunks=1)
    alike, seen = [], 0
    for turn in range(3):
        large = begin(fleet, json_lines(tmp_path, f"large{turn}", LARGE))
        alike.append(seconds(f"alike{turn}", chunks=1))
        seen += end(large)
    large = begin(fleet, json_lines(tmp_path, "large", LARGE))
    together = seconds("together")
    wait_until_indexed(fleet, large, SMALL * 2)
    later, alike_later = thrice("later"), thrice("alikelater", chunks=1)
    seen += end(large)
    times = _times(alone, [together], later)
    record_property(f"seconds of {SMALL} documents of 20 chunks each", times)
    alike_times = _times(alike_alone, alike, alike_later)
    record_property(f"of {SMALL} of one chunk, as the large source's (not asserted)", alike_times)
    check_account(fleet, expected=17 * SMALL + seen, cancelled=True)
    assert together <= 2 * median(alone), times
    assert median(later) <= 4 * median(alone), times


def _times(alone: list[float], together: list[float], later: list[float]) -> str:
    """Format the seconds that a small source took: alone, begun together with a large source, and begun later."""

    def seconds(taken: list[float]) -> str:
        return ", ".join(f"{one:.1f}" for one in taken)

    def compared(taken: list[float]) -> str:
        return f"{seconds(taken)} ({median(taken) / median(alone):.1f} times as long)"

    return f"alone {seconds(alone)}; begun with the large source {compared(together)}; begun later {compared(later)}"


def test_documents_change_and_vanish_while_they_are_synced(make_fleet, postgres_url, redis, qdrant, tmp_path):
    fleet = make_fleet(database=postgres_url, broker=redis.url, qdrant=qdrant.url)
    fleet.start_scheduler()
    fleet.start_workers(2)
    corpus = make_corpus(tmp_path / "corpus", DOCUMENTS)
    with edits_meanwhile(corpus) as deleted:
        progress = wait(fleet, begin(fleet, corpus), LONG)
    assert progress.outcome in ("succeeded", "degraded")  # a file that is deleted during the sync may be quarantined
    found = progress.result["documents"]
    assert found["seen"] == found["new"] + found["changed"] + found["unchanged"] + found["skipped"] > DOCUMENTS / 2
    assert found["quarantined"] <= len(deleted)
    check_store(fleet)
    sync_again(fleet, corpus)
