"""Sources as units of the stage sync: how many wait and since when, which are read, and which make no way."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from rich.console import Console
from sqlalchemy import update

from semantik_pipeline import fleet, sources
from semantik_pipeline.cli.fleet_views import show_fleet
from semantik_pipeline.ledger.database.connection import now
from semantik_pipeline.ledger.ingestion.sources import find_source
from semantik_pipeline.ledger.ingestion.sync import claim_source, pause_slice
from semantik_pipeline.ledger.queue import backlog
from semantik_pipeline.ledger.tables import operations
from semantik_pipeline.ledger.tables import sources as table
from semantik_pipeline.pipeline import work_on
from semantik_pipeline.schedules import Schedule
from semantik_pipeline.sources import NewSource
from tests.integration.conftest import FAKE_COLLECTION
from workers.heartbeat import Paces
from workers.metrics import fleet_metrics

LEDGERS = ("sqlite", "postgres")


@pytest.fixture
def pipe(make_pipeline):
    pipeline = make_pipeline()
    pipeline.runtime.collection("default", FAKE_COLLECTION)
    return pipeline


def add(pipe, **config: Any) -> None:
    config = {"documents": {"a": "alpha", "b": "beta"}, **config}
    new = NewSource(connector="fake-connector", name="notes", config=config, schedule=Schedule(every=3600))
    sources.add(pipe.runtime, new, collection="default")


def change(pipe, **values: Any) -> None:
    with pipe.runtime.ledger.write() as tx:
        tx.execute(update(table).values(**values))


def told(pipe) -> dict[str, float]:
    """What is counted of the stage, ages in tens of seconds."""
    found = fleet.view(pipe.runtime)["stages"]["sync"]
    return {name: found[name] // (10 if name == "oldest_seconds" else 1) for name in backlog.COUNTS if found[name]}


def test_a_source_waits_since_it_was_due_or_asked_for_or_since_its_last_slice(pipe) -> None:
    add(pipe)
    change(pipe, due_at=now() - 65)
    assert told(pipe) == {"waiting": 1, "oldest_seconds": 6}, "nobody has begun its sync"
    [operation] = sources.begin_due(pipe.runtime)
    with pipe.runtime.ledger.write() as tx:
        tx.execute(update(operations).values(created_at=now() - 45))
    assert told(pipe) == {"waiting": 1, "oldest_seconds": 4}
    with pipe.runtime.ledger.write() as tx:
        claim = claim_source(tx, worker="w", lease=60)
    assert told(pipe) == {"in_progress": 1}
    with pipe.runtime.ledger.write() as tx:
        pause_slice(tx, claim, delay=100)
    assert told(pipe) == {"delayed": 1}
    change(pipe, not_before=now() - 25)
    assert told(pipe) == {"waiting": 1, "oldest_seconds": 2}
    change(pipe, error={"message": "no plugin here", "blocked": True})
    assert told(pipe) == {"waiting": 1, "oldest_seconds": 4}, "who looks at it and leaves it moves nothing"
    change(pipe, held_by=operation)
    assert told(pipe) == {"paused": 1}
    change(pipe, held_by=None, paused="by hand", suspect=True)
    assert told(pipe) == {"paused": 1, "suspects": 1}


def test_sources_that_wait_are_measured_and_shown_beside_the_stages_of_documents(pipe) -> None:
    add(pipe)
    change(pipe, due_at=now() - 65)
    view = fleet.view(pipe.runtime)
    measured = {
        (metric.name, sample.labels["stage"]): sample.value
        for metric in fleet_metrics(view)
        for sample in metric.samples
        if "stage" in sample.labels
    }
    assert measured["semantik_backlog_units", "sync"] == 1
    assert measured["semantik_units_in_progress", "sync"] == 0
    assert 65 <= measured["semantik_backlog_oldest_age_seconds", "sync"] < 80
    shown = Console(file=StringIO(), width=80)
    show_fleet(shown, view)
    [row] = [line for line in shown.file.getvalue().splitlines() if line.startswith("sync")]
    assert row.split()[:3] == ["sync", "0", "1"] and len(row) <= 80


def test_documents_that_are_read_are_the_rate_of_sync(pipe) -> None:
    add(pipe, fail_fetch={"b": "permanent"})
    sources.begin_due(pipe.runtime)
    work_on(pipe.runtime, "sync")
    assert Paces(pipe.runtime.tally).look()["sync"]["units"] == 1, "the other could not be read"


def test_a_source_that_fails_and_is_tried_again_is_stuck_and_says_why(pipe) -> None:
    add(pipe, fail_after=0)
    sources.begin_due(pipe.runtime)
    work_on(pipe.runtime, "sync")
    assert fleet.view(pipe.runtime)["stuck"] == [], "it has just failed"
    with pipe.runtime.ledger.read() as tx:
        source = find_source(tx, "notes")
    assert (source["state"], 0 <= source["now"] - source["last_error"]["at"] < 10) == ("retrying", True)
    change(pipe, error={**source["last_error"], "at": source["now"] - 65})
    [stuck] = fleet.view(pipe.runtime)["stuck"]
    expected = {"document": None, "source": "notes", "stage": "sync", "attempts": 1}
    assert stuck.items() >= expected.items() and 65 <= stuck["seconds"] < 80
    assert stuck["reason"] == source["last_error"]["message"] != ""
    shown = Console(file=StringIO(), width=80)
    show_fleet(shown, fleet.view(pipe.runtime))
    assert "notes: sync after 1 attempt, 1 min" in shown.file.getvalue()
    change(pipe, lease_token="t")
    assert fleet.view(pipe.runtime)["stuck"] == [], "it is read"
    change(pipe, lease_token=None, error=None, attempts=0, suspect=True)
    with pipe.runtime.ledger.write() as tx:
        tx.execute(update(operations).values(created_at=now() - 65))
    assert [one["reason"] for one in fleet.view(pipe.runtime)["stuck"]] == [backlog.ALONE]
