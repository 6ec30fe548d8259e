"""Indexes of a process that lives long are optimised when their collections are at rest."""

from __future__ import annotations

import itertools
import threading
import time

import pytest
from sqlalchemy import func, insert, select, text

from semantik_pipeline.errors import StorageFull
from semantik_pipeline.ledger.operations import lifecycle
from semantik_pipeline.ledger.tables import operations
from semantik_pipeline.operations import SourceRequest, optimize
from tests.plans import plans
from workers import optimizing
from workers.embedded import embedded_worker
from workers.optimizing import EVERY, LEFT, LONGEST, PATIENCE, Optimizing


def request(**texts: str) -> SourceRequest:
    return SourceRequest(connector="fake-connector", name="fake", config={"documents": texts})


@pytest.fixture
def pipe(make_pipeline, monkeypatch: pytest.MonkeyPatch):
    """A pipeline whose store notes what it is to optimise."""
    pipeline = make_pipeline()
    pipeline.optimized = []
    monkeypatch.setattr(pipeline.runtime.store, "optimize", pipeline.optimized.append)
    return pipeline


def index(pipe) -> str:
    return pipe.runtime.ledger.search_view("default").index


def test_an_index_is_optimised_after_each_operation_and_only_then(pipe) -> None:
    looking = Optimizing(pipe.runtime)
    looking.look()
    assert pipe.optimized == [], "there is no collection"
    pipe.index(request(a="alpha"))
    looking.look()
    looking.look()
    assert pipe.optimized == [index(pipe)]
    pipe.index(request(a="alpha", b="beta"), run=False)
    looking.look()
    assert len(pipe.optimized) == 1, "it is written to"
    pipe.run()
    looking.look()
    assert pipe.optimized == [index(pipe)] * 2


def test_a_store_that_fails_is_asked_again_ever_later_and_each_reason_is_told_once(
    pipe, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    pipe.index(request(a="alpha"))
    clock, tries = [0.0], []
    looking, fine = Optimizing(pipe.runtime, clock=lambda: clock[0]), pipe.runtime.store.optimize
    reasons = itertools.cycle(["no room"] * 10 + ["damaged"])

    def fail(name: str) -> None:
        tries.append(clock[0])
        raise StorageFull(next(reasons))

    monkeypatch.setattr(pipe.runtime.store, "optimize", fail)
    while clock[0] < 6 * 3600:
        looking.look()
        clock[0] += EVERY
    waits = [later - earlier for earlier, later in itertools.pairwise(tries)]
    assert waits[:8] == [30, 60, 120, 240, 480, 960, 1920, 3600] and set(waits[8:]) == {LONGEST}
    assert pipe.runtime.tally.counts("maintenance_failures")[(("step", "optimize"),)] == len(tries) > 11
    told = [record.getMessage() for record in caplog.records if "was not optimised" in record.getMessage()]
    assert len(told) == 2 and "no room" in told[0] and "damaged" in told[1]
    monkeypatch.setattr(pipe.runtime.store, "optimize", fine)
    clock[0] += LONGEST
    looking.look()
    looking.look()
    assert pipe.optimized == [index(pipe)]


def test_a_look_reads_what_is_new_and_forgets_no_operation_that_it_saw_running(pipe) -> None:
    looking = Optimizing(pipe.runtime)
    for said in ("alpha", "beta", "gamma"):
        pipe.index(request(a=said))
    pipe.index(request(a="delta"), run=False)
    looking.look()
    assert pipe.optimized == []
    pipe.run()
    looking.look()
    looking.look()
    assert pipe.optimized == [index(pipe)]
    with pipe.runtime.ledger.read() as tx:
        newest = tx.execute(select(func.max(operations.c.id))).scalar_one()
        (one,), upto = lifecycle.searched_indexes(tx, since=newest)
        (before,), _ = lifecycle.searched_indexes(tx, since=newest - 1)
    assert (one.touched, upto, before.touched) == (False, newest, True)


def test_an_index_that_is_never_at_rest_is_optimised_after_a_while(pipe) -> None:
    clock = [0.0]
    looking = Optimizing(pipe.runtime, clock=lambda: clock[0])
    pipe.index(request(a="alpha"))
    looking.look()
    pipe.index(request(a="beta"), run=False)
    for _ in range(int(PATIENCE / EVERY)):
        clock[0] += EVERY
        looking.look()
    assert len(pipe.optimized) == 1
    clock[0] += EVERY
    looking.look()
    assert len(pipe.optimized) == 2
    clock[0] += EVERY
    looking.look()
    assert len(pipe.optimized) == 2, "again after as long"


def test_an_index_that_was_asked_for_while_it_was_written_to_is_asked_for_again_when_it_is_at_rest(pipe) -> None:
    clock = [0.0]
    looking = Optimizing(pipe.runtime, clock=lambda: clock[0])
    pipe.index(request(a="alpha"))
    looking.look()
    pipe.index(request(a="beta"), run=False)
    looking.look()
    clock[0] += PATIENCE
    looking.look()
    assert len(pipe.optimized) == 2, "it was never at rest"
    pipe.run()  # it ends before the next look
    clock[0] += EVERY
    looking.look()
    looking.look()
    assert pipe.optimized == [index(pipe)] * 3


def test_a_command_whose_index_can_not_be_optimised_has_done_its_work(pipe, monkeypatch, caplog) -> None:
    pipe.index(request(a="alpha"))

    def fail(name: str) -> None:
        raise StorageFull("The disk is full.")

    monkeypatch.setattr(pipe.runtime.store, "optimize", fail)
    optimize(pipe.runtime, "default")
    assert "The disk is full" in caplog.text


def test_an_index_that_fails_keeps_no_other_from_its_turn(pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe.index(request(a="alpha"))
    pipe.index(request(b="beta"), collection="other")
    first, second = sorted(pipe.runtime.ledger.search_view(name).index for name in ("default", "other"))
    fine = pipe.runtime.store.optimize

    def fail_on_first(name: str) -> None:
        fine(name)
        if name == first:
            raise OSError("damaged")

    monkeypatch.setattr(pipe.runtime.store, "optimize", fail_on_first)
    Optimizing(pipe.runtime).look()
    assert pipe.optimized == [first, second]


def test_one_that_took_long_is_left_alone_for_a_while(pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    looking, fine = Optimizing(pipe.runtime, clock=lambda: clock[0]), pipe.runtime.store.optimize

    def slow(name: str) -> None:
        fine(name)
        clock[0] += 10.0

    monkeypatch.setattr(pipe.runtime.store, "optimize", slow)
    for number in range(3):
        pipe.index(request(**{f"a{number}": "alpha"}))
        looking.look()
    assert len(pipe.optimized) == 1
    clock[0] += LEFT * 10.0
    looking.look()
    assert len(pipe.optimized) == 2


@pytest.mark.parametrize("lives_long", [True, False])
def test_a_worker_of_a_process_that_lives_long_does_so(pipe, monkeypatch: pytest.MonkeyPatch, lives_long: bool) -> None:
    monkeypatch.setattr(optimizing, "EVERY", 0.02)
    pipe.index(request(a="alpha"))
    with embedded_worker(pipe.runtime):
        pipe.runtime.scheduling = lives_long
        until = time.monotonic() + (20 if lives_long else 0.2)
        while not pipe.optimized and time.monotonic() < until:
            time.sleep(0.02)
    assert pipe.optimized == ([index(pipe)] if lives_long else [])


@pytest.mark.parametrize("ledger", ["sqlite", "postgres"], indirect=True)
def test_a_look_does_not_read_operations_that_are_over(make_pipeline) -> None:
    pipe = make_pipeline()
    pipe.index(request(a="alpha"))
    over = {"collection_id": 1, "kind": "push", "state": "finished", "outcome": "succeeded", "created_at": 1.0}
    with pipe.runtime.ledger.write() as tx:
        tx.execute(insert(operations), [over] * 5000)
    with pipe.runtime.ledger.write() as tx:
        tx.execute(text("analyze"))
        _, newest = lifecycle.searched_indexes(tx, since=None)
    told = plans(pipe.runtime.ledger, lambda tx: lifecycle.searched_indexes(tx, since=newest - 5), about="operations")
    assert "SCAN operations" not in told and "Seq Scan on operations" not in told, told
    assert "ix_operations_state" in told


def test_a_worker_that_is_to_end_waits_for_no_work_of_the_store_that_is_for_speed_alone(pipe, monkeypatch) -> None:
    given_up = threading.Event()

    def slow(name: str, points: object, condition: object = None) -> None:
        folding.set()
        assert given_up.wait(60), "nobody gave it up"
        really(name, points, condition)

    really, folding = pipe.runtime.store.insert, threading.Event()
    monkeypatch.setattr(pipe.runtime.store, "insert", slow)
    monkeypatch.setattr(pipe.runtime.store, "stop_optimizing", given_up.set)
    with embedded_worker(pipe.runtime):
        pipe.index(request(a="alpha"), run=False)
        pipe.runtime.ring("sync")
        assert folding.wait(30)
        began = time.monotonic()
    assert time.monotonic() - began < 10 < pipe.runtime.settings.worker.soft_shutdown


def test_a_store_whose_methods_are_async_is_told_that_the_process_ends(pipe, monkeypatch) -> None:
    told = threading.Event()

    async def stop_optimizing() -> None:
        told.set()

    monkeypatch.setattr(pipe.runtime.store, "stop_optimizing", stop_optimizing)
    with embedded_worker(pipe.runtime):
        pass
    assert told.wait(10)
