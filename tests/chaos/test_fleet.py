"""What a night does to a fleet: workers die, hang and are replaced, the broker forgets, servers go away and come back.

Each proof ends with the fleet's account (:meth:`Fleet.account`): every document accounted for, ledger and store agree
point by point, nothing embedded twice beyond the batches in flight, no attempt held against an innocent document.
"""

from __future__ import annotations

import json
import random
import signal
import threading
import time
from collections import Counter

import pytest

from semantik_pipeline.operations import SourceRequest
from tests.chaos.fleet import make_corpus
from tests.chaos.servers import OwnPostgres, until
from tests.conftest import missing_server

chaos = pytest.mark.chaos
DOCUMENTS = 2000
LONG = 400.0  # seconds that a run of 2,000 documents may take with its disturbances


def start(make_fleet, *, workers: int, documents: int, tmp_path, **urls):
    """A fleet in the middle of indexing a folder; returns it and the operation."""
    fleet = make_fleet(**urls)
    fleet.start_scheduler()
    for _ in range(workers):
        fleet.start_worker()
    fleet.ready(workers)
    operation = fleet.begin(make_corpus(tmp_path / "corpus", documents))
    fleet.until_indexed(operation, documents // 20)
    assert fleet.without_torch()
    return fleet, operation


def finish(fleet, operation: int, *, documents: int, disturb=None, every: float = 3.0, **account) -> None:
    progress = fleet.wait(operation, LONG, disturb, every)
    poisoned = int("poison" in account)
    assert progress.outcome == ("degraded" if poisoned else "succeeded")
    found = progress.result["documents"]
    assert found["seen"] == found["new"] == documents and found["quarantined"] == poisoned
    fleet.account(here=documents, **account)


def test_a_short_night(make_fleet, postgres_url, redis, qdrant, tmp_path):
    """One of each, on a small corpus: a death, a stopped worker, an empty broker, a store that is away."""
    fleet, operation = start(
        make_fleet,
        workers=2,
        documents=300,
        tmp_path=tmp_path,
        database=postgres_url,
        broker=redis.url,
        qdrant=qdrant.url,
    )
    first, second = fleet.workers
    fleet.ring_twice()
    fleet.kill(first)
    fleet.start_worker()
    redis.ask("flushall")
    qdrant.away = True
    second.send_signal(signal.SIGSTOP)
    time.sleep(fleet.settings.work.lease)
    qdrant.away = False
    second.send_signal(signal.SIGCONT)
    finish(fleet, operation, documents=300, disturbed=2)
    fleet.environment["SEMANTIK_SEARCH_ON"] = "workers"
    found = fleet.semantik("search", "file 7 part 1 speaks of topic49", "--no-rerank")
    assert found["hits"][0]["document"].endswith("file00007.txt")
    refused = fleet.semantik("search", "anything", "--collection", "nowhere", code=None)
    assert "nowhere" in refused["error"]["message"]


@chaos
@pytest.mark.timeout(600)
@pytest.mark.parametrize("broker", ["redis", "rabbitmq"])
def test_a_random_worker_dies_every_three_seconds(make_fleet, postgres_url, brokers, broker, qdrant, tmp_path):
    fleet, operation = start(
        make_fleet,
        workers=3,
        documents=DOCUMENTS,
        tmp_path=tmp_path,
        database=postgres_url,
        broker=brokers(broker),
        qdrant=qdrant.url,
    )
    kills_end = time.monotonic() + 60

    def strike() -> None:
        if time.monotonic() < kills_end:
            fleet.kill(random.choice(fleet.workers))
            fleet.start_worker()

    finish(fleet, operation, documents=DOCUMENTS, disturb=strike)
    assert fleet.kills >= 5


@chaos
@pytest.mark.timeout(600)
def test_the_units_of_a_dead_worker_are_taken_up_within_30_s(make_fleet, postgres_url, redis, qdrant, tmp_path):
    fleet, operation = start(
        make_fleet,
        workers=2,
        documents=DOCUMENTS,
        tmp_path=tmp_path,
        database=postgres_url,
        broker=redis.url,
        qdrant=qdrant.url,
    )
    victim = fleet.workers[0]
    until(lambda: bool(fleet.held_by(victim.pid)), "the victim holds something")
    fleet.kill(victim)
    held = fleet.held_by(victim.pid)
    until(lambda: not fleet.held_by(victim.pid), f"{len(held)} units are freed", 30)
    finish(fleet, operation, documents=DOCUMENTS)


@chaos
@pytest.mark.timeout(600)
def test_the_broker_forgets_everything_and_is_away_for_20_s(make_fleet, postgres_url, redis, qdrant, tmp_path):
    fleet, operation = start(
        make_fleet,
        workers=2,
        documents=DOCUMENTS,
        tmp_path=tmp_path,
        database=postgres_url,
        broker=redis.url,
        qdrant=qdrant.url,
    )
    redis.ask("flushall")
    time.sleep(5)
    redis.stop()
    time.sleep(20)
    redis.start()
    finish(fleet, operation, documents=DOCUMENTS, disturbed=0)


@chaos
@pytest.mark.timeout(600)
def test_postgres_restarts_in_mid_run(make_fleet, redis, qdrant, tmp_path):
    if OwnPostgres.programs() is None:
        missing_server("PostgreSQL's own programs are not here.", "Install them, for example: apt install postgresql.")
    server = OwnPostgres().start()
    try:
        fleet, operation = start(
            make_fleet,
            workers=2,
            documents=DOCUMENTS,
            tmp_path=tmp_path,
            database=server.url,
            broker=redis.url,
            qdrant=qdrant.url,
        )
        for _ in range(3):
            server.restart()
            time.sleep(6)
        finish(fleet, operation, documents=DOCUMENTS, disturbed=3 * 2)
        fleet.close()
    finally:
        server.stop()


@chaos
@pytest.mark.timeout(600)
def test_the_store_is_away_for_20_s_and_then_slow(make_fleet, postgres_url, redis, qdrant, tmp_path):
    fleet, operation = start(
        make_fleet,
        workers=2,
        documents=DOCUMENTS,
        tmp_path=tmp_path,
        database=postgres_url,
        broker=redis.url,
        qdrant=qdrant.url,
    )
    qdrant.away = True
    time.sleep(20)
    qdrant.away, qdrant.delay = False, 0.5
    time.sleep(20)
    qdrant.delay = 0.0
    finish(fleet, operation, documents=DOCUMENTS, disturbed=0)


@chaos
@pytest.mark.timeout(600)
def test_workers_stop_past_their_leases_and_go_on(make_fleet, postgres_url, redis, qdrant, tmp_path):
    """A worker that holds units of a stage is stopped until others have taken them, then continued; each stage once."""
    fleet = make_fleet(database=postgres_url, broker=redis.url, qdrant=qdrant.url)
    fleet.environment |= {
        "SEMANTIK_WORK_LEASE": "4",
        "SEMANTIK_WORK_RENEW": "1",
    }  # so that all stages are met in one run
    fleet.configure(sleep_ms_per_text=5)
    fleet.start_scheduler()
    for _ in range(3):
        fleet.start_worker()
    fleet.ready(3)
    operation = fleet.begin(make_corpus(tmp_path / "corpus", DOCUMENTS))
    stops: Counter[str] = Counter()
    stages = ["sync", "upsert", "chunk", "embed", "extract"]
    while fleet.progress(operation).state != "finished" and len(stops) < len(stages):
        for stage in [stage for stage in stages if stage not in stops]:
            victim = fleet.worker_holding(stage, seconds=0.5)
            if victim is None:
                continue
            victim.send_signal(signal.SIGSTOP)
            stops[stage] += 1
            until(lambda victim=victim: not fleet.held_by(victim.pid), f"the units of {stage} are freed", 40)
            time.sleep(1)
            victim.send_signal(signal.SIGCONT)
    assert len(stops) == len(stages), f"not every stage was met: {stops}"
    finish(fleet, operation, documents=DOCUMENTS, disturbed=stops.total())


@chaos
@pytest.mark.timeout(900)
@pytest.mark.parametrize("documents", [DOCUMENTS])
def test_a_poison_document_kills_its_process_each_time(make_fleet, postgres_url, redis, qdrant, tmp_path, documents):
    corpus = make_corpus(tmp_path / "corpus", documents)
    (corpus / "file00777.txt").write_text("this text is the poison, and all processes that embed it die")
    fleet = make_fleet(database=postgres_url, broker=redis.url, qdrant=qdrant.url)
    fleet.configure(crash_on="poison")
    fleet.start_scheduler()
    for _ in range(2):
        fleet.start_worker()
    fleet.ready(2)
    operation = fleet.begin(corpus)
    deaths = 0

    def replace() -> None:
        nonlocal deaths
        for worker in list(fleet.workers):
            if worker.poll() is not None:
                fleet.workers.remove(worker)
                fleet.start_worker()
                deaths += 1

    finish(fleet, operation, documents=documents, disturb=replace, every=0.3, poison="file00777", disturbed=20)
    [row] = fleet.semantik("documents", "list", "--status", "quarantined")["documents"]
    assert "file00777" in row["document"]
    assert fleet.settings.work.max_attempts <= deaths <= 12


@chaos
@pytest.mark.timeout(600)
def test_a_rolling_restart_with_a_changed_plugin_state(make_fleet, postgres_url, redis, qdrant, tmp_path):
    """The state file changes in mid-run, and what it says of the embedder would shape other vectors: the generation's
    own options count. The processes are replaced one by one; none of them idles for long."""
    fleet = make_fleet(database=postgres_url, broker=redis.url, qdrant=qdrant.url)
    fleet.start_scheduler()
    fleet.start_supervisor("--profile", "all", "--processes", "2")
    fleet.ready(2)
    operation = fleet.begin(make_corpus(tmp_path / "corpus", DOCUMENTS))
    fleet.until_indexed(operation, 100)
    before = {worker["id"] for worker in fleet.semantik("fleet", "status", code=None)["workers"]}
    fleet.configure(dimension=32)
    stale = fleet.semantik("fleet", "status", code=None)["workers"]
    assert not any(worker["plugin_state_current"] for worker in stale)
    fleet.semantik("fleet", "restart", timeout=120)
    after = [worker for worker in fleet.semantik("fleet", "status", code=None)["workers"] if worker["state"] == "ready"]
    assert len(after) == 2 and not before & {worker["id"] for worker in after}
    assert all(worker["plugin_state_current"] for worker in after)
    finish(fleet, operation, documents=DOCUMENTS, disturbed=0)
    assert qdrant.dimensions() == {64}


@chaos
@pytest.mark.timeout(600)
def test_a_plugin_that_is_disabled_blocks_the_operation_until_it_is_back(
    make_fleet, postgres_url, redis, qdrant, tmp_path
):
    fleet, operation = start(
        make_fleet,
        workers=1,
        documents=300,
        tmp_path=tmp_path,
        database=postgres_url,
        broker=redis.url,
        qdrant=qdrant.url,
    )
    state_file = fleet.folder / "data" / "plugins.json"
    state = json.loads(state_file.read_text())
    state_file.write_text(json.dumps({**state, "disabled_ids": ["fake-embedder"]}))
    fleet.replace_all()
    until(lambda: "fake-embedder" in str(fleet.semantik("fleet", "status", code=None)["blocked"]), "blocked", 60)
    shown = fleet.semantik("operations", "show", str(operation), code=None)
    assert "fake-embedder" in json.dumps(shown)
    state_file.write_text(json.dumps(state))
    fleet.replace_all()
    finish(fleet, operation, documents=300, disturbed=0)


@chaos
@pytest.mark.timeout(900)
def test_a_small_source_is_not_starved_by_a_large_one(make_fleet, postgres_url, redis, qdrant, tmp_path):
    """50 documents beside 50,000 take at most twice as long as alone."""
    fleet = make_fleet(database=postgres_url, broker=redis.url, qdrant=qdrant.url)
    fleet.start_scheduler()
    for _ in range(2):
        fleet.start_worker()
    fleet.ready(2)

    def lines(name: str, count: int) -> SourceRequest:
        path = tmp_path / f"{name}.jsonl"
        with path.open("w") as file:
            for number in range(count):
                text = f"{name} {number} speaks of topic{number % 101} and word{number % 997}"
                file.write(json.dumps({"id": f"{name}-{number}", "text": text}) + "\n")
        return SourceRequest(connector="jsonl", name=name, config={"path": str(path)})

    def seconds(name: str) -> float:
        began = time.monotonic()
        assert fleet.wait(fleet.begin_source(lines(name, 50)), 120).outcome == "succeeded"
        return time.monotonic() - began

    seconds("warm")
    alone = min(seconds(f"alone{turn}") for turn in range(2))
    large = fleet.begin_source(lines("large", 50_000))
    fleet.until_indexed(large, 100)
    beside = seconds("small")
    assert fleet.progress(large).state == "running"
    fleet.semantik("operations", "cancel", str(large))
    assert beside <= 2 * max(alone, 2.0), f"{beside:.1f} s beside the large source, {alone:.1f} s alone"


@chaos
@pytest.mark.timeout(600)
def test_documents_change_and_vanish_while_they_are_synced(make_fleet, postgres_url, redis, qdrant, tmp_path):
    fleet = make_fleet(database=postgres_url, broker=redis.url, qdrant=qdrant.url)
    fleet.start_scheduler()
    for _ in range(2):
        fleet.start_worker()
    fleet.ready(2)
    corpus = make_corpus(tmp_path / "corpus", DOCUMENTS)
    chance, over = random.Random(7), threading.Event()

    def edit() -> None:
        while not over.wait(0.01):
            victim = corpus / f"file{chance.randrange(DOCUMENTS):05}.txt"
            if chance.random() < 0.3:
                victim.unlink(missing_ok=True)
            else:
                victim.write_text(f"Edited at {time.time()} in mid-run: {victim.name}")

    editor = threading.Thread(target=edit)
    editor.start()
    try:
        progress = fleet.wait(fleet.begin(corpus), LONG)
    finally:
        over.set()
        editor.join()
    assert progress.outcome in ("succeeded", "degraded")  # one that vanished between two looks may be in quarantine
    here = len(list(corpus.iterdir()))
    last = fleet.wait(fleet.begin(corpus, allow_deletions=True), LONG)
    assert last.outcome == "succeeded" and last.result["documents"]["seen"] == here
    fleet.account(here=here, disturbed=0)
