"""One worker process that is drained, resumed, restarted without a supervisor and stopped, each while it works.

Also: a small source after a large one, and the scheduler by Celery's own command.
"""

from __future__ import annotations

import os
import pty
import signal
import time
import urllib.error
import urllib.request
from typing import Any

from sqlalchemy import and_, func, select

from semantik_pipeline.ledger.ingestion import sources as ledger_sources
from semantik_pipeline.ledger.queue import workers as ledger_workers
from semantik_pipeline.ledger.tables import documents, sources, work
from tests.chaos.corpora import json_lines, make_corpus
from tests.chaos.leases import count_leases, held_by
from tests.chaos.operations import begin, progress_of, schedule, wait
from tests.chaos.servers import free_port, until


def attempts_and_suspects(fleet) -> tuple[int, int]:
    """Return the number of attempts that are charged to documents now, and the number of suspects."""
    counts = select(func.coalesce(func.sum(work.c.attempts), 0), func.count().filter(work.c.suspect))
    with fleet.ledger.read() as tx:
        attempts, suspects = tx.execute(counts).one()
    return int(attempts), suspects


def indexed_before(fleet, source: str) -> int:
    """Return the number of documents of other sources that were indexed before the last document of a source."""
    source_id = select(sources.c.id).where(sources.c.name == source).scalar_subquery()
    units = work.join(documents, documents.c.id == work.c.document_id)
    own = and_(work.c.stage == "indexed", documents.c.source_id == source_id)
    last = select(func.max(work.c.updated_at)).select_from(units).where(own).scalar_subquery()
    others = and_(work.c.stage == "indexed", documents.c.source_id != source_id, work.c.updated_at < last)
    with fleet.ledger.read() as tx:
        return tx.execute(select(func.count()).select_from(units).where(others)).scalar_one()


def unblamed(fleet) -> None:
    """Check that no lease is held, no attempt is charged and no document is a suspect."""
    assert count_leases(fleet.ledger) == 0
    assert attempts_and_suspects(fleet) == (0, 0)


def all_to_be_embedded(fleet, operation: int, count: int) -> bool:
    """Whether ``count`` documents of an operation are chunked and extracted."""
    progress = progress_of(fleet, operation)
    early = sum(progress.stages.get(stage, 0) for stage in ("chunk", "extract"))
    return progress.seen == count and not early


def embedded_of(fleet, operation: int) -> int:
    """Return the number of an operation's documents that are embedded, whether or not they are in the index yet."""
    stages = progress_of(fleet, operation).stages
    return stages.get("upsert", 0) + stages.get("indexed", 0)


def test_a_worker_is_drained_resumed_restarted_and_ended(make_fleet, postgres_url, redis, qdrant, tmp_path):
    """Started by Celery's own command, so there is no supervisor.

    Embedding takes longer than the soft shutdown, so claims are released and not finished.
    """
    fleet = make_fleet(database=postgres_url, broker=redis.url, qdrant=qdrant.url)
    fleet.environment["SEMANTIK_EMBED_POOL_CHUNKS"] = "40"
    fleet.environment["SEMANTIK_WORKER_SOFT_SHUTDOWN"] = "1"
    fleet.configure(sleep_ms_per_text=50)  # a pool takes 2 s
    worker = fleet.start_worker()
    fleet.start_scheduler()
    fleet.wait_until_ready(1)
    [first] = fleet.names_of(worker.pid)
    operation = begin(fleet, make_corpus(tmp_path / "corpus", 700))
    until(lambda: held_by(fleet.ledger, worker.pid), "it works")

    fleet.semantik("fleet", "drain")
    assert not count_leases(fleet.ledger), "it has finished what it had in hand, or given it back"
    before = progress_of(fleet, operation).stages
    time.sleep(2.5)  # two ticks of the scheduler, each of which rings the bells
    assert count_leases(fleet.ledger) == 0 and progress_of(fleet, operation).stages == before
    fleet.semantik("fleet", "resume")
    small = begin(fleet, json_lines(tmp_path, "small", 20))
    until(
        lambda: all_to_be_embedded(fleet, small, 20), "a small source that comes later is read, chunked and extracted"
    )
    before = embedded_of(fleet, operation)
    assert wait(fleet, small, 200).outcome == "succeeded"
    assert progress_of(fleet, operation).state == "running", "it is not kept waiting for the end of the large one"
    # Three pools may have been at the embed stage when it came. Its own units are half a pool, so the fair share of the
    # large source is another half.
    passed = indexed_before(fleet, "small") - before
    assert passed <= 3.5 * 20, f"{passed} documents of the large source passed the 20 of the small one"

    fleet.semantik("fleet", "restart")
    assert worker.poll() is None, "its process id is what an init system knows"
    [second] = [name for name in fleet.names_of(worker.pid) if name != first]
    assert attempts_and_suspects(fleet) == (0, 0), "what it gave back is held against nobody"
    until(lambda: fleet.worker_at("embed", 0.5), "the program that it runs anew embeds")
    worker.send_signal(signal.SIGHUP)
    until(lambda: set(fleet.names_of(worker.pid)) - {first, second}, "it runs anew")
    assert worker.poll() is None and attempts_and_suspects(fleet) == (0, 0)

    until(lambda: fleet.worker_at("embed", 0.5), "it embeds")
    worker.terminate()
    assert worker.wait(timeout=20) == 0
    unblamed(fleet)
    assert progress_of(fleet, operation).state == "running"

    terminal, stdout = pty.openpty()
    worker = fleet.start_worker(stdout=stdout)
    os.close(stdout)
    until(lambda: fleet.worker_at("embed", 0.5), "another one, on a terminal, goes on")
    assert fleet.without_torch()
    os.close(terminal)
    worker.send_signal(signal.SIGHUP)
    assert worker.wait(timeout=20) == 0, "a terminal that closes ends it"
    unblamed(fleet)


def asked(port: int, page: str) -> tuple[int, str]:
    """Return the status and text of a probe's answer; status 0 if there is no answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()
    except OSError:
        return 0, ""


def test_a_worker_that_starts_before_its_broker_is_seen_and_waits_for_it(
    make_fleet, postgres_url, redis, qdrant, tmp_path
):
    fleet = make_fleet(database=postgres_url, broker=redis.url, qdrant=qdrant.url)
    redis.stop()
    port = free_port()
    worker = fleet.start_worker(SEMANTIK_METRICS_PORT=str(port))
    until(lambda: asked(port, "live")[0] == 200, "it lives")
    # on a busy machine, heartbeats are slow
    until(lambda: asked(port, "ready") == (503, "starting\n"), "it says that it starts")
    with fleet.ledger.read() as tx:
        [seen] = ledger_workers.living(tx)
    assert (seen.pid, seen.state) == (worker.pid, "starting")
    assert ledger_workers.served(seen, "embed", 1) == f"{seen.id} is starting"

    redis.start()
    until(lambda: asked(port, "ready")[0] == 200, "it is ready")
    small = wait(fleet, begin(fleet, json_lines(tmp_path, "small", 5)), 200)
    assert small.outcome == "succeeded"
    worker.terminate()
    assert worker.wait(timeout=30) == 0


def test_a_worker_ends_while_it_waits_for_its_broker(make_fleet, postgres_url, redis, qdrant):
    fleet = make_fleet(database=postgres_url, broker=redis.url, qdrant=qdrant.url)
    redis.stop()
    port = free_port()
    worker = fleet.start_worker(SEMANTIK_METRICS_PORT=str(port))
    until(lambda: asked(port, "live")[0] == 200, "it lives")
    worker.terminate()
    assert worker.wait(timeout=60) == 0
    with fleet.ledger.read() as tx:
        assert ledger_workers.living(tx) == []


def test_celerys_own_beat_has_syncs_begun_that_are_due(make_fleet, postgres_url, redis, qdrant, tmp_path, monkeypatch):
    """`celery -A workers.app beat` rings at every tick, like `semantik scheduler`, and nothing else rings.

    It leaves no file behind and ends on request.
    """
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    fleet = make_fleet(database=postgres_url, broker=redis.url, qdrant=qdrant.url)
    corpus = make_corpus(tmp_path / "corpus", 5)
    schedule(fleet, corpus, every=2)

    def source() -> dict[str, Any]:
        with fleet.ledger.read() as tx:
            return ledger_sources.find_source(tx, str(corpus))

    fleet.start_worker()
    fleet.wait_until_ready(1)
    time.sleep(2.5)  # two ticks, if there were a scheduler
    assert source()["state"] == "due"
    beat = fleet.start_beat()
    until(lambda: source()["documents"] == 5, "what is due is synced")
    (corpus / "later.txt").write_text("This file came later.")
    until(lambda: source()["documents"] == 6, "it goes on ticking")
    beat.terminate()
    assert beat.wait(timeout=30) == 0
    assert list(elsewhere.iterdir()) == []
    assert "Traceback" not in (tmp_path / "beat.log").read_text()
