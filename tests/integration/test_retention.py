"""What the ledger forgets with time, and what never, on both ledgers; how much room it takes."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, insert, select, update

from semantik_pipeline import maintenance, sources
from semantik_pipeline import operations as operations_of_people
from semantik_pipeline.ledger.access import audit_trail
from semantik_pipeline.ledger.database.storage import GROUPS, table_sizes
from semantik_pipeline.ledger.retention import expiry
from semantik_pipeline.ledger.tables import (
    audit,
    chores,
    documents,
    embeddings,
    metadata,
    operation_items,
    operation_sources,
    operations,
    workers,
)
from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.sources import NewSource
from tests.integration.conftest import FAKE_COLLECTION

LEDGERS = ("sqlite", "postgres")
DAY = 86400.0


def synced(pipeline) -> dict[str, Any]:
    pipeline.runtime.collection("default", FAKE_COLLECTION)
    names = [f"d{number}" for number in range(3)]
    config = {"documents": dict.fromkeys(names, "text"), "fail_fetch": dict.fromkeys(names, "skip")}  # all done by sync
    new = NewSource(connector="fake-connector", name="fake", config=config)
    source = sources.add(pipeline.runtime, new, collection="default")
    for _ in range(2):
        sources.sync(pipeline.runtime, source)
        pipeline.run("sync")
    return source


def age(pipeline, days: float) -> None:
    """Let everything be so many days older, and maintenance's last sweep be long ago."""
    for path in Path(pipeline.runtime.settings.blob_url).rglob("*"):
        os.utime(path, (time.time() - days * DAY,) * 2)
    with pipeline.runtime.ledger.write() as tx:
        tx.execute(update(operations).values(finished_at=operations.c.finished_at - days * DAY))
        tx.execute(update(embeddings).values(created_at=embeddings.c.created_at - days * DAY))
        tx.execute(update(audit).values(at=audit.c.at - days * DAY))
        tx.execute(update(workers).values(heartbeat=workers.c.heartbeat - days * DAY))
        tx.execute(update(chores).values(done_at=0))


def rows(pipeline, table: Any) -> int:
    with pipeline.runtime.ledger.read() as tx:
        return tx.execute(select(func.count()).select_from(table)).scalar_one()


def worker(pipeline, name: str) -> None:
    row = {"id": name, "host": "h", "pid": 1, "profile": "all", "state": "ready", "report": {}, "started_at": 0.0}
    with pipeline.runtime.ledger.write() as tx:
        now = tx.execute(select(audit_trail.now())).scalar_one()
        tx.execute(insert(workers).values(**row, heartbeat=now))


def test_what_is_old_goes_and_the_rest_stays(make_pipeline) -> None:
    pipeline = make_pipeline(retention={"operations_days": 30, "audit_days": 90, "workers_hours": 24})
    synced(pipeline)
    worker(pipeline, "old")
    finished = rows(pipeline, operations)
    assert (finished, rows(pipeline, operation_items)) == (2, 3)
    age(pipeline, 29)
    maintenance.tick(pipeline.runtime)
    assert (rows(pipeline, operations), rows(pipeline, workers)) == (2, 0)
    age(pipeline, 2)
    maintenance.tick(pipeline.runtime)
    kept = [rows(pipeline, table) for table in (operations, operation_sources, operation_items, documents)]
    assert kept == [0, 0, 0, 3]
    assert rows(pipeline, audit) > 0
    age(pipeline, 60)
    maintenance.tick(pipeline.runtime)
    assert rows(pipeline, audit) == 0
    assert pipeline.stages() == dict.fromkeys(("d0", "d1", "d2"), "skipped")


@pytest.mark.parametrize(
    ("kept", "bodies_left", "embeddings_left"),
    [
        ({"blobs_days": 1, "cache_days": 30}, 2, 2),
        ({"blobs_days": 30, "cache_days": 1}, 4, 1),
    ],
)
def test_stored_bodies_and_cached_results_have_each_their_own_time(
    make_pipeline, kept: dict[str, float], bodies_left: int, embeddings_left: int
) -> None:
    pipeline = make_pipeline(retention=kept)
    folder = Path(pipeline.runtime.settings.blob_url)

    def bodies() -> int:
        return sum(path.is_file() for path in folder.rglob("*"))

    for text in ("alpha", "beta"):
        pipeline.index(SourceRequest(connector="fake-connector", name="fake", config={"documents": {"a": text}}))
    assert (bodies(), rows(pipeline, embeddings)) == (4, 2), "of each revision what was read, and what was parsed of it"
    age(pipeline, 2)
    while maintenance.tick(pipeline.runtime):
        pass
    assert (bodies(), rows(pipeline, embeddings)) == (bodies_left, embeddings_left)


def test_it_sweeps_once_an_hour(make_pipeline) -> None:
    pipeline = make_pipeline()
    maintenance.tick(pipeline.runtime)
    worker(pipeline, "gone")
    with pipeline.runtime.ledger.write() as tx:
        tx.execute(update(workers).values(heartbeat=0))
    maintenance.tick(pipeline.runtime)
    assert rows(pipeline, workers) == 1


def test_unfinished_operations_and_those_of_removals_stay(make_pipeline) -> None:
    pipeline = make_pipeline()
    source = synced(pipeline)
    running = sources.sync(pipeline.runtime, source)
    removing = sources.remove(pipeline.runtime, source)
    with pipeline.runtime.ledger.write() as tx:
        tx.execute(update(operations).where(operations.c.id == removing).values(state="finished", finished_at=0))
        tx.execute(update(operations).where(operations.c.id == running).values(state="paused"))
        while expiry.sweep_operations(tx, older_than=-1):
            pass
        left = list(tx.execute(select(operations.c.id).order_by(operations.c.id)).scalars())
    assert left == [running, removing]


def test_a_cancelled_operation_stays_as_long_as_it_holds_documents(make_pipeline) -> None:
    """What is to finish them finds them by it."""
    pipeline = make_pipeline()
    request = SourceRequest(connector="fake-connector", name="fake", config={"documents": {"a": "alpha"}})
    cancelled = pipeline.index(request, run=False)["id"]
    pipeline.run("sync")
    assert operations_of_people.cancel(pipeline.runtime, cancelled) == 1
    age(pipeline, 365)
    maintenance.tick(pipeline.runtime)
    assert pipeline.unit("a")["held_by"] == cancelled
    again = operations_of_people.retry(pipeline.runtime, cancelled)
    pipeline.run()
    assert pipeline.result(again)["outcome"] == "succeeded"
    age(pipeline, 365)
    maintenance.tick(pipeline.runtime)
    assert (rows(pipeline, operations), rows(pipeline, operation_items)) == (0, 0)


def test_large_operations_go_in_batches(make_pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = make_pipeline()
    synced(pipeline)
    monkeypatch.setattr(expiry, "BATCH", 2)
    steps = 0
    more = True
    while more:
        with pipeline.runtime.ledger.write() as tx:
            more = expiry.sweep_operations(tx, older_than=-1)
        steps += 1
    assert (rows(pipeline, operation_items), rows(pipeline, operations)) == (0, 0)
    assert steps == 3  # two for the items, one for the operations


def test_tables_are_counted_by_group(make_pipeline) -> None:
    pipeline = make_pipeline()
    with pipeline.runtime.ledger.read() as tx:
        sizes = table_sizes(tx)
        postgres = tx.dialect.name == "postgresql"
    assert set().union(*GROUPS.values()) <= set(metadata.tables)
    assert set(sizes) == ({*GROUPS, "other"} if postgres else set())
    assert all(size > 0 for size in sizes.values())
