"""While a process works on a small source's units, its other loops stand back."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import update

from semantik_pipeline import generations
from semantik_pipeline.generations import building
from semantik_pipeline.ledger import tables
from semantik_pipeline.ledger.queue import fair_queue
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
def test_a_loop_with_other_work_waits_until_a_small_sources_claim_is_finished(make_pipeline):
    pipeline = make_pipeline()
    sync(pipeline, "large", LARGE)
    with take(pipeline) as of_large:
        sync(pipeline, "small", SMALL)
        assert not of_large.wanted
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
        assert of_large.wanted is False


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


def test_a_process_that_is_to_stop_waits_for_nobody():
    one, stopping = Precedence(), threading.Event()
    with one.held(), ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(one.stand_back, stopping.is_set)
        time.sleep(0.05)
        assert not waiting.done()
        stopping.set()
        waiting.result(precedence.LOOK + 5)
        assert one.taken


def test_claims_of_small_sources_that_never_end_lose_their_precedence(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(precedence.time, "monotonic", lambda: now[0])
    one = Precedence()
    with one.held():
        while now[0] < precedence.LONGEST:
            assert one.taken
            now[0] += precedence.PATIENCE / 2
            with one.held():
                pass
        assert not one.taken
    with one.held():  # after a gap they have it again
        assert one.taken
        now[0] += precedence.PATIENCE
        assert not one.taken  # it hangs


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
