"""Indexes of a process that lives long are optimised when their collections are at rest."""

from __future__ import annotations

import time

import pytest

from semantik_pipeline.operations import SourceRequest
from workers import optimizing
from workers.embedded import embedded_worker
from workers.optimizing import LEFT, Optimizing


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


def test_a_store_that_fails_is_asked_again_and_the_failure_counted(pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe.index(request(a="alpha"))
    looking, fine = Optimizing(pipe.runtime, clock=lambda: 0.0), pipe.runtime.store.optimize

    def fail(name: str) -> None:
        raise OSError("no room")

    monkeypatch.setattr(pipe.runtime.store, "optimize", fail)
    looking.look()
    assert pipe.runtime.tally.counts("maintenance_failures")[(("step", "optimize"),)] == 1
    monkeypatch.setattr(pipe.runtime.store, "optimize", fine)
    looking.look()
    assert pipe.optimized == [index(pipe)]


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
