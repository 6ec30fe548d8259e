"""Operations are finished one by one, and those that have something left to do are only looked at."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event, select, text

from semantik_pipeline import maintenance
from semantik_pipeline.ledger.operations import lifecycle, outcomes
from semantik_pipeline.ledger.tables import operation_items, operations
from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.push import Given, push
from tests.integration.conftest import FAKE_COLLECTION

LEDGERS = ("sqlite", "postgres")


def request(name: str) -> SourceRequest:
    config = {"documents": {f"{name}/{number}": f"{name} {number}" for number in range(3)}}
    return SourceRequest(connector="fake-connector", name=name, config=config)


@contextmanager
def statements(pipeline):
    """What the ledger is asked meanwhile."""
    asked: list[str] = []

    def note(_connection, _cursor, statement, *_: Any) -> None:
        asked.append(statement)

    event.listen(pipeline.runtime.ledger.engine, "before_cursor_execute", note)
    yield asked
    event.remove(pipeline.runtime.ledger.engine, "before_cursor_execute", note)


def test_operations_that_have_something_left_to_do_are_locked_by_nobody(make_pipeline) -> None:
    pipeline = make_pipeline()
    for name in ("one", "two"):
        pipeline.index(request(name), run=False)
    with statements(pipeline) as asked:
        maintenance.settle(pipeline.runtime)
    assert len(asked) > 2
    assert not [one for one in asked if "FOR UPDATE" in one or one.startswith(("BEGIN IMMEDIATE", "UPDATE"))]


def test_others_take_documents_in_while_an_operation_is_counted(make_pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has a transaction of its own, in which only it is locked."""
    pipeline = make_pipeline()
    with monkeypatch.context() as context:
        context.setattr(maintenance, "settle", lambda runtime: None)
        done = pipeline.index(request("done"))["id"]
    begun = pipeline.index(request("begun"), run=False)["id"]
    counts, engine = outcomes.counts, pipeline.runtime.ledger.engine

    def meanwhile(tx: Any, operation_id: int) -> Any:
        assert operation_id == done
        if engine.dialect.name == "postgresql":
            with engine.begin() as other:
                other.execute(text("set local lock_timeout = '2s'"))
                lifecycle.note_items(other, begun, [(1, "new", 1)])
        return counts(tx, operation_id)

    monkeypatch.setattr(outcomes, "counts", meanwhile)
    maintenance.settle(pipeline.runtime)
    with pipeline.runtime.ledger.read() as tx:
        assert [lifecycle.state(tx, one) for one in (done, begun)] == ["finished", "running"]


def test_a_push_asks_for_its_own_operation_alone(make_pipeline) -> None:
    pipeline = make_pipeline()
    pipeline.runtime.collection("default", FAKE_COLLECTION)
    asked = []
    for number in range(4):
        with statements(pipeline) as these:
            push(pipeline.runtime, [Given(unique_id=f"d{number}", content=f"text {number}")], collection="default")
        asked.append(len(these))
    assert asked[1] == asked[3], "however many pushes are on their way"


def test_a_push_that_brings_nothing_new_ends_at_once(make_pipeline) -> None:
    pipeline = make_pipeline()
    pipeline.runtime.collection("default", FAKE_COLLECTION)
    given = [Given(unique_id="d", content="text")]
    first = push(pipeline.runtime, given, collection="default").operation_id
    assert pipeline.result(push(pipeline.runtime, given, collection="default").operation_id)["outcome"] is None
    pipeline.run()
    assert pipeline.result(first)["outcome"] == "succeeded"
    again = push(pipeline.runtime, given, collection="default").operation_id
    assert pipeline.result(again)["outcome"] == "succeeded"
    with pipeline.runtime.ledger.read() as tx:
        left = tx.execute(select(operations.c.id).where(operations.c.state != "finished")).scalars().all()
        assert left == []
        assert len(tx.execute(select(operation_items)).all()) == 3
