"""A child chunks the next documents while those before them are saved."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import func, select

from semantik_pipeline.errors import LeaseLost
from semantik_pipeline.ledger.tables import work
from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.pipeline import work_on
from semantik_pipeline.plugins.child import _Slots
from semantik_pipeline.runtime import Runtime
from semantik_pipeline.stages import chunk, claims
from semantik_pipeline.stages.claims import Held

TEXTS = {f"d{number}": f"text {number}" for number in range(8)}


class Children:
    """Children that work in this process. Counts the requests that have begun."""

    def __init__(self, runtime: Runtime, before: Callable[[int], None] = lambda number: None) -> None:
        self._host, self._before = runtime.host, before
        self._changed = threading.Condition()
        self.begun = 0

    def run(self, function: Callable[..., Any], *args: Any, **_: object) -> Any:
        with self._changed:
            self.begun += 1
            number = self.begun
            self._changed.notify_all()
        self._before(number)
        return function(self._host, *args)

    def wait_until_begun(self, count: int) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self.begun >= count, timeout=20)

    def close(self) -> None:
        pass


@pytest.fixture
def runtime(make_pipeline, monkeypatch) -> Runtime:
    """Its ledger has documents to chunk, each in a request of its own."""
    monkeypatch.setattr(chunk, "TOGETHER", 1)
    monkeypatch.setattr(claims, "LONG", 600.0)  # on a busy machine a request may take seconds
    pipeline = make_pipeline()
    request = SourceRequest(connector="fake-connector", name="fake", config={"documents": TEXTS})
    pipeline.index(request, run=False)
    pipeline.runtime.children = Children(pipeline.runtime)
    work_on(pipeline.runtime, "sync")
    return pipeline.runtime


@pytest.fixture
def saved(monkeypatch) -> list[str]:
    """The documents that were saved, in order."""
    found: list[str] = []
    settle = chunk._settle

    def settling(runtime: Any, claim: Any, group: Any, answers: Any) -> None:
        settle(runtime, claim, group, answers)
        found.extend(job.unit.unique_id for job in group)

    monkeypatch.setattr(chunk, "_settle", settling)
    return found


def at_chunk(runtime: Runtime) -> tuple[int, int]:
    """The number of units that wait to be chunked, and how many of them are leased."""
    counts = select(func.count(), func.count(work.c.lease_token)).where(work.c.stage == "chunk")
    with runtime.ledger.read() as tx:
        waiting, leased = tx.execute(counts).one()
    return waiting, leased


def test_the_next_request_has_begun_before_one_is_saved(runtime, saved, monkeypatch) -> None:
    settle, ahead = chunk._settle, []

    def settling(*given: Any) -> None:
        ahead.append(runtime.children.wait_until_begun(min(len(saved) + 2, len(TEXTS))))
        settle(*given)

    monkeypatch.setattr(chunk, "_settle", settling)
    work_on(runtime, "chunk")
    assert ahead == [True] * len(TEXTS)
    assert sorted(saved) == sorted(TEXTS) and at_chunk(runtime) == (0, 0)


def test_a_process_that_is_to_end_saves_what_has_begun_and_gives_back_the_rest(runtime, saved) -> None:
    def stop(number: int) -> None:
        if number == 3:
            runtime.stopping.set()

    runtime.children = Children(runtime, stop)
    work_on(runtime, "chunk")
    assert runtime.children.begun == len(saved) == 3
    assert at_chunk(runtime) == (len(TEXTS) - 3, 0)


def test_a_claim_that_lost_its_lease_saves_nothing_that_was_made_ahead(runtime, saved, monkeypatch) -> None:
    settle = chunk._settle

    def losing(runtime: Any, claim: Any, *given: Any) -> None:
        if len(saved) == 2:
            raise LeaseLost("lost")
        settle(runtime, claim, *given)

    monkeypatch.setattr(chunk, "_settle", losing)
    held = []
    pieces = chunk._Pieces.run

    def once(self: Any) -> None:
        held.append(self)
        if len(held) > 1:
            runtime.stopping.set()
        pieces(self)

    monkeypatch.setattr(chunk._Pieces, "run", once)
    work_on(runtime, "chunk")
    assert len(saved) == 2 and at_chunk(runtime) == (len(TEXTS) - 2, 0), "given back, since it was not really lost"


def test_an_error_of_a_request_made_ahead_is_charged_to_its_document_alone(runtime, saved, monkeypatch) -> None:
    blamed, plain = [], chunk.fail

    def failing(runtime: Any, claim: Any, units: Any, error: Exception, **options: Any) -> Any:
        blamed.extend((unit.unique_id, str(error)) for unit in units)
        return plain(runtime, claim, units, error, **options)

    def fail(number: int) -> None:
        if number == 4:
            raise OSError("no space left")

    monkeypatch.setattr(chunk, "fail", failing)
    runtime.children = Children(runtime, fail)
    work_on(runtime, "chunk")
    assert sorted(saved) == sorted(TEXTS), "it was tried again, and succeeded"
    assert blamed == [(saved[-1], "no space left")], "the one that came last, as it was tried again"
    assert runtime.children.begun == len(TEXTS) + 1


def test_a_claim_that_makes_way_begins_nothing_that_it_would_not_save(runtime, saved, monkeypatch) -> None:
    asked = []

    def wanted(held: Any) -> bool:
        asked.append(held)
        return len(asked) == 2  # and nobody waits a moment later

    monkeypatch.setattr(Held, "wanted", property(wanted))
    work_on(runtime, "chunk")
    assert sorted(saved) == sorted(TEXTS), "the next claim had those that were given back"
    assert runtime.children.begun == len(TEXTS)


def test_a_loop_that_takes_a_child_again_at_once_overtakes_nobody() -> None:
    slots, order, over = _Slots(1), [], threading.Event()

    def again() -> None:
        while not over.is_set():
            slots.acquire(lambda: None)
            order.append("loop")
            time.sleep(0.01)
            slots.release()

    loop = threading.Thread(target=again)
    loop.start()
    try:
        for _ in range(5):
            before = len(order)
            slots.acquire(lambda: None)
            assert len(order) - before <= 2, "the one that runs, and one that came just before"
            slots.release()
            time.sleep(0.02)
    finally:
        over.set()
        loop.join()
