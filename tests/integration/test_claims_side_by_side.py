"""Loops that claim from one stage at the same moment: nobody goes home while work is left, and others hear of it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import select

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
