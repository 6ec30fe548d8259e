"""A source whose connector one process lacks waits for a process that has it, and says what is missing meanwhile."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from semantik_pipeline import operations
from semantik_pipeline.errors import PipelineError
from semantik_pipeline.ledger.ingestion.sources import list_sources
from semantik_pipeline.ledger.operations import blocked_operations, operation_reports
from semantik_pipeline.ledger.queue.workers import WorkerRow
from semantik_pipeline.ledger.tables import sources
from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.pipeline import work_on
from semantik_pipeline.settings import load_settings
from semantik_pipeline.stages.left import LEFT, LeftWork
from workers.heartbeat import Presence

LEDGERS = ("sqlite", "postgres")


def request(name: str = "fake", connector: str = "fake-connector", **config: Any) -> SourceRequest:
    return SourceRequest(connector=connector, name=name, config=config or {"documents": {"a": "alpha beta"}})


def row(pipeline) -> Any:
    with pipeline.runtime.ledger.read() as tx:
        return tx.execute(select(sources)).mappings().one()


def shown(pipeline, operation_id: int, workers: list[WorkerRow] | None = None) -> dict:
    with pipeline.runtime.ledger.read() as tx:
        return operation_reports.show_operation(tx, operation_id, workers=workers)


def worker(**refusals: str) -> WorkerRow:
    return WorkerRow(
        id="w", host="h", pid=1, profile="p", state="ready", report={"queues": ["sync"]},
        activity={"refusals": refusals}, command=None, age=0.0, up=9.0,
    )  # fmt: skip


def test_a_connector_that_one_process_lacks_is_left_to_another(make_pipeline) -> None:
    without = make_pipeline(disabled=("fake-connector",))
    assert without.runtime.host  # it has read the state file that the next one writes anew
    good = make_pipeline()
    operation_id = good.index(request(), run=False)["id"]
    work_on(without.runtime, "sync")
    work_on(without.runtime, "sync")
    left = row(good)
    assert (left["lease_token"], left["attempts"], left["suspect"]) == (None, 0, False)
    assert left["operation_id"] == operation_id
    found = shown(good, operation_id)
    with good.runtime.ledger.read() as tx:
        [listed] = list_sources(tx)
    assert (listed["state"], listed["last_error"]["blocked"]) == ("waiting", True)
    assert found["state"] == "blocked"
    assert "fake-connector" in found["reason"] and "disabled" in found["reason"]
    refusals = Presence(without.runtime, profile="all", queues=("sync",)).activity()["refusals"]
    assert list(refusals) == [f"{left['id']}:sync"]
    assert "disabled" in shown(good, operation_id, [worker(**refusals)])["reason"]
    assert shown(good, operation_id, [worker(**refusals), worker()])["state"] == "running"
    good.run()
    assert good.result(operation_id)["outcome"] == "succeeded"
    assert row(good)["error"] is None


def test_a_variable_that_is_not_set_here_fails_no_sync(make_pipeline, monkeypatch) -> None:
    monkeypatch.delenv("ANOTHER_HOSTS_PASSWORD", raising=False)
    pipeline = make_pipeline()
    config = {"host": "127.0.0.1", "username": "ann", "password_env": "ANOTHER_HOSTS_PASSWORD"}
    operation_id = pipeline.index(request("mail", "imap", **config), run=False)["id"]
    work_on(pipeline.runtime, "sync")
    found = shown(pipeline, operation_id)
    assert found["state"] == "blocked"
    assert "ANOTHER_HOSTS_PASSWORD" in found["reason"]
    monkeypatch.setattr(operations, "PATIENCE", 0.3)
    with pytest.raises(PipelineError, match="ANOTHER_HOSTS_PASSWORD"):
        operations.wait(pipeline.runtime, operation_id)


def test_what_was_left_is_looked_at_again() -> None:
    clock = [0.0]
    left = LeftWork(clock=lambda: clock[0])
    left.leave(7, "disabled")
    assert (left.sources(), left.reasons()) == ([7], {7: "disabled"})
    clock[0] = LEFT + 1
    assert (left.sources(), left.reasons()) == ([], {7: "disabled"})
    clock[0] = 2 * LEFT + 1
    assert left.reasons() == {}
    assert LEFT > operations.PATIENCE, "or a command that works alone would wait for ever"


def test_units_that_wait_for_what_is_lacking_are_looked_at_again_before_they_count_as_free() -> None:
    clock = [0.0]
    left = LeftWork(clock=lambda: clock[0])
    left.unable("ACME_KEY is not set.")
    assert left.units() == ("ACME_KEY is not set.",)
    clock[0] = LEFT + 1
    assert (left.units(), left.lasts("ACME_KEY is not set.")) == ((), True)
    left.unable("ACME_KEY is not set.")
    assert left.units() == ("ACME_KEY is not set.",)
    assert LEFT + load_settings().schedule.tick < blocked_operations.RECENT
