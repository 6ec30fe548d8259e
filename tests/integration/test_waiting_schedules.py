"""A source's schedule waits for a paused operation that holds its documents, instead of piling up syncs behind it."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, select, update

from semantik_pipeline import operations, sources
from semantik_pipeline.cli.source_views import state
from semantik_pipeline.ledger.ingestion import sources as ledger
from semantik_pipeline.ledger.queue import backlog
from semantik_pipeline.ledger.tables import operation_items
from semantik_pipeline.ledger.tables import operations as operation_table
from semantik_pipeline.ledger.tables import sources as table
from semantik_pipeline.schedules import Schedule
from semantik_pipeline.sources import NewSource
from tests.integration.conftest import FAKE_COLLECTION

LEDGERS = ("sqlite", "postgres")

DOCUMENTS = 4


@pytest.fixture
def pipe(make_pipeline):
    """A pipeline with a source on a schedule, whose documents are read and not indexed yet."""
    pipeline = make_pipeline()
    pipeline.runtime.collection("default", FAKE_COLLECTION)
    config = {"documents": {f"d{number}": f"text {number}" for number in range(DOCUMENTS)}}
    new = NewSource(connector="fake-connector", name="fake", config=config, schedule=Schedule(every=900.0))
    sources.add(pipeline.runtime, new, collection="default")
    return pipeline


def come(pipe) -> list[int]:
    """The source's time comes; returns the syncs that begin, after they have read it."""
    with pipe.runtime.ledger.write() as tx:
        tx.execute(update(table).values(due_at=1.0))
    begun = sources.begin_due(pipe.runtime)
    pipe.run("sync")
    return begun


def shown(pipe) -> dict[str, Any]:
    with pipe.runtime.ledger.read() as tx:
        (row,) = ledger.list_sources(tx)
        assert ledger.get_source(tx, row["id"]) == {**row, "now": pytest.approx(row["now"], abs=60)}
        return row


def items(pipe) -> int:
    with pipe.runtime.ledger.read() as tx:
        return tx.execute(select(func.count()).select_from(operation_items)).scalar_one()


def test_no_sync_is_begun_behind_a_paused_one(pipe) -> None:
    (paused,) = come(pipe)
    operations.pause(pipe.runtime, paused)
    before = items(pipe)
    for _ in range(3):
        assert come(pipe) == []
    assert items(pipe) == before
    row = shown(pipe)
    assert (row["state"], row["held_by"], row["operation_id"]) == ("waiting", paused, None)
    assert state(row) == f"waiting: operation {paused} is paused"
    with pipe.runtime.ledger.read() as tx:
        counted = backlog.of_sync(tx)
        assert (counted["paused"], counted["waiting"], counted["oldest_seconds"]) == (1, 0, 0)
        assert ledger.count_states(tx)["paused"] == 1


def test_what_was_missed_runs_once_when_it_goes_on(pipe) -> None:
    (paused,) = come(pipe)
    operations.pause(pipe.runtime, paused)
    assert come(pipe) == []
    operations.resume(pipe.runtime, paused)
    assert shown(pipe)["state"] == "due"
    (after,) = sources.begin_due(pipe.runtime)
    pipe.run()
    assert [pipe.result(one)["outcome"] for one in (paused, after)] == ["succeeded", "succeeded"]
    assert shown(pipe)["state"] == "idle"


def test_one_sync_at_most_waits_for_what_another_operation_holds(pipe) -> None:
    """It reads what is new; those after it would wait for the same documents."""
    come(pipe)
    pipe.run()
    rerun = operations.begin_retry(pipe.runtime, operations.list_documents(pipe.runtime, collection=None, status=None))
    operations.pause(pipe.runtime, rerun)
    assert len(come(pipe)) == 1
    assert come(pipe) == []
    assert items(pipe) == 3 * DOCUMENTS
    with pipe.runtime.ledger.read() as tx:
        still = select(func.count()).where(operation_table.c.state != "finished")
        assert tx.execute(still).scalar_one() == 2


def test_a_sync_that_somebody_asks_for_is_begun_and_takes_the_documents_up(pipe) -> None:
    (paused,) = come(pipe)
    operations.pause(pipe.runtime, paused)
    assert come(pipe) == []
    asked = sources.sync(pipe.runtime, shown(pipe))
    pipe.run()
    assert pipe.result(asked)["outcome"] == "succeeded"
    assert len(come(pipe)) == 1


def test_a_schedule_does_not_wait_for_an_operation_that_was_cancelled(pipe) -> None:
    (cancelled,) = come(pipe)
    operations.cancel(pipe.runtime, cancelled)
    assert len(come(pipe)) == 1


def test_a_source_that_somebody_paused_is_shown_as_that(pipe) -> None:
    (paused,) = come(pipe)
    operations.pause(pipe.runtime, paused)
    sources.pause(pipe.runtime, shown(pipe), "not now")
    come(pipe)
    assert (shown(pipe)["state"], shown(pipe)["held_by"]) == ("paused", None)
