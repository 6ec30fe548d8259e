"""While a process works on a small source's units, its other loops stand back."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import update

from semantik_pipeline import generations, maintenance
from semantik_pipeline import pipeline as stage_table
from semantik_pipeline.generations import building
from semantik_pipeline.ledger import tables
from semantik_pipeline.ledger.queue import fair_queue, work
from semantik_pipeline.ledger.queue.work import STAGES
from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.pipeline import work_on
from semantik_pipeline.stages import precedence
from semantik_pipeline.stages.claims import Claims, Held
from semantik_pipeline.stages.precedence import Precedence

LARGE, SMALL = int(fair_queue.SMALL) + 60, 3


@pytest.fixture(autouse=True)
def few_cores(monkeypatch) -> None:
    monkeypatch.setattr(precedence, "FEW", 1_000_000)


both_ledgers = pytest.mark.parametrize("ledger", ["sqlite", "postgres"], indirect=True)


def claims(pipeline, stage: str = "chunk") -> Claims:
    return Claims(pipeline.runtime, stage, limit=SMALL, deadline=60, until=time.monotonic() + 60)


def take(pipeline, stage: str = "chunk") -> Held:
    held = claims(pipeline, stage).take()
    assert held is not None
    return held


def sources_of(held: Held) -> set[str]:
    return {unit.source for unit in held.claim.units}


def sync(pipeline, name: str, count: int) -> None:
    documents = {f"{name}{number:03}": f"The text of {name} {number}." for number in range(count)}
    pipeline.index(SourceRequest(connector="fake-connector", name=name, config={"documents": documents}), run=False)
    work_on(pipeline.runtime, "sync")


@both_ledgers
def test_a_loop_with_other_work_waits_until_a_small_sources_claim_is_finished(make_pipeline, monkeypatch):
    monkeypatch.setattr(precedence, "BETWEEN", 2.0)
    monkeypatch.setattr(precedence, "PATIENCE", 30.0)
    pipeline = make_pipeline()
    sync(pipeline, "large", LARGE)
    with take(pipeline) as of_large:
        assert not of_large.wanted
        sync(pipeline, "small", SMALL)
        assert of_large.wanted  # the small source is about to be claimed
        with ThreadPoolExecutor(1) as pool:
            of_small = take(pipeline)
            assert sources_of(of_small) == {"small"}
            assert of_large.wanted and not of_small.wanted  # what it has not begun is to be given back
            began = time.monotonic()
            later = pool.submit(take, pipeline)
            time.sleep(0.2)
            assert not later.done()
            of_small.close()
            with later.result(5):
                assert time.monotonic() - began < precedence.PATIENCE
        time.sleep(precedence.BETWEEN)
        assert not of_large.wanted


@both_ledgers
def test_a_loop_that_has_more_of_the_small_source_does_not_wait(make_pipeline):
    pipeline = make_pipeline()
    sync(pipeline, "large", LARGE)
    with take(pipeline):
        sync(pipeline, "small", 2 * SMALL)
        began = time.monotonic()
        with take(pipeline) as first, take(pipeline) as second:
            assert sources_of(first) == sources_of(second) == {"small"}
            assert time.monotonic() - began < precedence.PATIENCE


def test_nobody_waits_longer_than_patience_for_a_small_source_that_hangs(make_pipeline, monkeypatch):
    monkeypatch.setattr(precedence, "PATIENCE", 0.3)
    pipeline = make_pipeline()
    sync(pipeline, "large", LARGE)
    with take(pipeline):
        sync(pipeline, "small", SMALL)
        hung = take(pipeline)
        began = time.monotonic()
        with take(pipeline) as other:
            assert (sources_of(hung), sources_of(other)) == ({"small"}, {"large"})
        assert 0.25 <= time.monotonic() - began < 5
        with take(pipeline):  # and then not again
            assert time.monotonic() - began < 5
        hung.close()


def test_a_large_source_alone_has_no_precedence(make_pipeline):
    pipeline = make_pipeline()
    sync(pipeline, "large", LARGE)
    with take(pipeline) as held:
        assert not any(unit.hastened for unit in held.claim.units)
        assert not pipeline.runtime.room.precedence.taken


@both_ledgers
def test_between_two_stages_the_loops_stand_back_and_one_of_them_goes_on_with_the_small_source(
    make_pipeline, monkeypatch
):
    monkeypatch.setattr(precedence, "BETWEEN", 5.0)
    pipeline = make_pipeline()
    sync(pipeline, "large", LARGE)
    with take(pipeline) as of_large, ThreadPoolExecutor(1) as pool:
        sync(pipeline, "small", SMALL)
        with take(pipeline) as of_small, pipeline.runtime.ledger.write() as tx:
            for unit in of_small.claim.units:
                work.move(tx, unit, "extract")
            for unit in of_large.claim.units:  # their turns are before the small source's
                work.move(tx, unit, "embed")
        assert of_large.wanted
        waiting = pool.submit(take, pipeline, "embed")  # as a loop that the bell of the small source did not reach
        time.sleep(2 * precedence.LOOK)
        assert not waiting.done()
        with take(pipeline, "extract") as of_small:
            with pipeline.runtime.ledger.write() as tx:
                for unit in of_small.claim.units:
                    work.move(tx, unit, "embed")
            began = time.monotonic()
        with waiting.result(5) as held:
            assert "small" in sources_of(held)
            assert time.monotonic() - began < precedence.BETWEEN - 1


def test_a_process_that_is_to_stop_waits_for_nobody(make_pipeline):
    pipeline = make_pipeline()
    sync(pipeline, "large", LARGE)
    with pipeline.runtime.room.precedence.held(), ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(claims(pipeline).take)
        time.sleep(2 * precedence.LOOK)
        assert not waiting.done()
        pipeline.runtime.stopping.set()
        assert waiting.result(5) is None
        assert pipeline.runtime.room.precedence.taken


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """time.monotonic() of precedence.py, to be set."""
    now = [100.0]
    monkeypatch.setattr(precedence.time, "monotonic", lambda: now[0])
    return now


def test_others_stand_back_for_a_moment_after_a_claim_and_before_the_first(clock):
    one = Precedence()
    assert not one.taken
    one.expect()
    assert one.taken
    clock[0] += precedence.BETWEEN
    assert not one.taken
    with one.held():
        clock[0] += precedence.BETWEEN
        with one.held():
            clock[0] += precedence.BETWEEN
        assert one.taken
    assert one.taken
    clock[0] += precedence.BETWEEN
    assert not one.taken


def test_claims_of_small_sources_that_never_end_have_precedence_for_half_of_the_time(clock):
    one, looks = Precedence(), 20
    with one.held():
        taken, step = [], precedence.BETWEEN / looks
        while len(taken) * step < 4 * precedence.LONGEST:
            if len(taken) % looks == 0:
                with one.held():
                    pass
            taken.append(one.taken)
            clock[0] += step
        first = int(precedence.LONGEST / step)
        assert all(taken[: first - 1])
        assert 0.45 < sum(taken[first:]) / len(taken[first:]) < 0.55
    clock[0] += precedence.LONGEST
    with one.held():
        assert one.taken
        clock[0] += precedence.PATIENCE
        assert not one.taken  # it hangs


@pytest.mark.parametrize("stage", ["embed", "upsert"])
def test_it_is_told_when_a_claim_brought_a_small_source_to_its_end(make_pipeline, stage):
    pipeline = make_pipeline()
    sync(pipeline, "large", LARGE)
    sync(pipeline, "small", SMALL)
    earlier = STAGES[: STAGES.index(stage)]
    pipeline.run(*earlier)
    told: list[bool] = []
    loop = Claims(
        pipeline.runtime,
        stage,
        limit=SMALL,
        deadline=60,
        until=time.monotonic() + 60,
        between=lambda *, after_small=False: told.append(after_small),
    )
    small = []
    for held in loop:
        small.append("small" in sources_of(held))
        with pipeline.runtime.ledger.write() as tx:
            for unit in held.claim.units:
                work.move(tx, unit, "indexed")
    assert told == (small if stage == "upsert" else [False] * len(small))
    assert set(small) == {True, False}


def test_right_after_a_small_source_operations_are_finished_for_half_of_the_time(make_pipeline, monkeypatch):
    now, settled = [100.0], []

    def slow(runtime) -> None:
        settled.append(now[0])
        now[0] += 0.5

    monkeypatch.setattr(stage_table.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(maintenance, "settle", slow)
    looking = stage_table.Settling(make_pipeline().runtime, 10.0)
    looking()
    assert not settled
    looking(after_small=True)
    assert settled == [100.0]
    looking(after_small=True)  # too soon, and not forgotten
    assert len(settled) == 1
    now[0] += 0.5
    looking()
    assert settled == [100.0, 101.0]
    now[0] += 0.5
    looking()
    assert len(settled) == 2


def test_with_cores_to_spare_nobody_stands_back(monkeypatch):
    monkeypatch.setattr(precedence, "FEW", 0)
    one = Precedence()
    with one.held():
        assert not one.taken


@both_ledgers
def test_what_is_built_beside_never_goes_first(make_pipeline):
    """A build's turns are documents' numbers, below what the source was once hastened up to."""
    pipeline = make_pipeline()
    sync(pipeline, "small", SMALL)
    pipeline.run()
    with pipeline.runtime.ledger.write() as tx:
        tx.execute(update(tables.sources).values(hastened_upto=1e9))
    generations.reindex(pipeline.runtime, "default", {"embedding.dimension": 32})
    building.advance(pipeline.runtime, seconds=0)
    with take(pipeline) as held:
        assert len(held.claim.units) == SMALL
        assert not any(unit.hastened for unit in held.claim.units)
