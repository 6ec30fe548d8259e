"""Loops that claim from one stage at the same moment: nobody goes home while work is left, and others hear of it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select, update

from semantik_pipeline.ledger.queue import picking
from semantik_pipeline.ledger.tables import work
from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.pipeline import work_on
from semantik_pipeline.stages.claims import Claims

LEDGERS = ("sqlite", "postgres")


def waiting(make_pipeline, count: int):
    """A pipeline with so many documents due at ``chunk``."""
    pipeline = make_pipeline()
    documents = {f"d{number}": f"The text of document {number}." for number in range(count)}
    config = {"documents": documents}
    pipeline.index(SourceRequest(connector="fake-connector", name="fake", config=config), run=False)
    work_on(pipeline.runtime, "sync")
    return pipeline


def claims(pipeline, *, limit: int = 8) -> Claims:
    return Claims(pipeline.runtime, "chunk", limit=limit, deadline=60, until=time.monotonic() + 60)


def test_units_that_another_claim_keeps_locked_are_waited_for(make_pipeline):
    pipeline = waiting(make_pipeline, 2)
    mine = claims(pipeline)
    with ThreadPoolExecutor(1) as pool:
        with pipeline.runtime.ledger.write() as tx:
            assert len(tx.execute(select(work.c.document_id).with_for_update()).all()) == 2
            later = pool.submit(mine.take)
            time.sleep(0.1)
            assert not later.done()
        with later.result(timeout=10) as held:
            assert len(held.claim.units) == 2
    assert not mine.dry


def test_a_loop_that_can_not_take_all_rings_before_it_works(make_pipeline):
    pipeline = waiting(make_pipeline, 3)
    rung: list[str] = []
    pipeline.runtime.ring = rung.append
    with claims(pipeline, limit=2).take():
        assert rung == ["chunk"]
        with claims(pipeline).take() as rest:
            assert len(rest.claim.units) == 1
        assert rung == ["chunk"]


def test_a_loop_that_finds_nothing_is_dry(make_pipeline):
    pipeline = waiting(make_pipeline, 1)
    mine = claims(pipeline)
    with mine.take():
        assert mine.take() is None
        assert mine.dry


def test_a_claim_of_few_chunks_locks_few_units(make_pipeline):
    """What it locked and did not take others would pass by, and claim units that are behind it."""
    pipeline = waiting(make_pipeline, 100)
    with pipeline.runtime.ledger.write() as tx:
        tx.execute(update(work).values(chunks=10))
    if pipeline.runtime.ledger.engine.dialect.name == "sqlite":
        pytest.skip("On SQLite one transaction at a time writes.")
    with pipeline.runtime.ledger.write() as tx, pipeline.runtime.ledger.write() as other:
        mine, more = picking.pick(tx, "chunk", False, 100, 55, picking.ALL)
        theirs, _ = picking.pick(other, "chunk", False, 100, 10_000, picking.ALL)
        assert (len(mine), more) == (5, True)
        assert len(theirs) >= 100 - picking.FIRST


@pytest.mark.parametrize("chunks", [0, 1, 3, 10, 1000])
@pytest.mark.parametrize("most", [1, 90, 256])
def test_a_claim_takes_as_many_units_as_its_chunks_allow(make_pipeline, chunks: int, most: int):
    pipeline = waiting(make_pipeline, 100)
    with pipeline.runtime.ledger.write() as tx:
        tx.execute(update(work).values(chunks=chunks))
        keys, more = picking.pick(tx, "chunk", False, most, 256, picking.ALL)
        room = 100 if chunks == 0 else max(256 // chunks, 1)
        assert (len(keys), more) == (min(most, room, 100), min(most, room) <= 99)
        assert keys == sorted(keys)
