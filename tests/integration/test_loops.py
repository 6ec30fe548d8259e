"""How long a task works on a stage.

A loop that ends with work left waits for one of the next bells, which others hear too.
"""

from __future__ import annotations

import math

import pytest
from sqlalchemy import update

from semantik_pipeline.ledger.queue import bulk_moves
from semantik_pipeline.ledger.tables import work
from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.pipeline import SLICES, work_on
from semantik_pipeline.stages.claims import Claims

DOCUMENTS, SECONDS = 10, 0.05
TEXTS = {f"d{number}": f"text number {number}" for number in range(DOCUMENTS)}


def at_embed(make_pipeline, time_slice: float):
    """A pipeline whose documents all wait to be embedded, each in a claim of its own."""
    slow = {"fake-embedder": {"sleep_ms_per_text": 1000 * SECONDS}}
    pipeline = make_pipeline(plugins=slow, work={"time_slice": time_slice}, embed={"pool_chunks": 1})
    pipeline.index(SourceRequest(connector="fake-connector", name="fake", config={"documents": TEXTS}), run=False)
    pipeline.run("sync", "chunk", "extract")
    assert set(pipeline.stages().values()) == {"embed"}
    return pipeline


def test_a_loop_goes_on_beyond_a_slice_while_there_is_work(make_pipeline) -> None:
    pipeline = at_embed(make_pipeline, time_slice=DOCUMENTS * SECONDS / 2)
    work_on(pipeline.runtime, "embed")
    assert set(pipeline.stages().values()) == {"upsert"}


def finish(pipeline, units) -> None:
    with pipeline.runtime.ledger.write() as tx:
        bulk_moves.move_all(tx, [(unit, "upsert", {}) for unit in units])


def test_claims_grow_while_each_is_done_in_a_moment(make_pipeline) -> None:
    pipeline = at_embed(make_pipeline, time_slice=1.0)
    seconds = iter([0.0, 0.0, 60.0, 0.0, 0.0])  # how long each takes: the third one too long
    sizes = []
    for held in Claims(pipeline.runtime, "embed", limit=1, largest=4, deadline=60.0, until=math.inf):
        sizes.append(len(held.claim.units))
        held._began -= next(seconds)
        finish(pipeline, held.claim.units)
    assert sizes == [1, 2, 4, 1, 2]


@pytest.mark.parametrize("why", ["given back", "suspects", "no growth"])
def test_claims_grow_for_nothing_else(make_pipeline, why: str) -> None:
    pipeline = at_embed(make_pipeline, time_slice=1.0)
    if why == "suspects":
        with pipeline.runtime.ledger.write() as tx:
            tx.execute(update(work).values(suspect=True))
    claims = Claims(
        pipeline.runtime, "embed", limit=2, largest=1 if why == "no growth" else 4, deadline=60.0, until=math.inf
    )
    for _ in range(3):
        held = claims.take()
        assert held is not None and len(held.claim.units) == (1 if why == "suspects" else 2)
        if why != "given back":
            finish(pipeline, held.claim.units)
        held.close()
    if why == "suspects":
        with pipeline.runtime.ledger.write() as tx:
            tx.execute(update(work).values(suspect=False))
        held = claims.take()
        assert held is not None and len(held.claim.units) == 2, "suspects say nothing about company"
        held.close()


@pytest.mark.parametrize("ends", ["stopping", "resting", None])
def test_who_stops_or_is_drained_rings_for_what_it_gives_back(make_pipeline, ends: str | None) -> None:
    pipeline = at_embed(make_pipeline, time_slice=1.0)
    claims = Claims(pipeline.runtime, "embed", limit=2, deadline=60.0, until=math.inf)
    held = claims.take()
    rung: list[str] = []
    pipeline.runtime.ring = rung.append
    if ends:
        getattr(pipeline.runtime, ends).set()
    held.close()
    assert rung == (["embed"] if ends else [])


def test_a_loop_ends_with_work_left_and_rings_for_it(make_pipeline) -> None:
    pipeline = at_embed(make_pipeline, time_slice=SECONDS / SLICES)
    rung: list[str] = []
    pipeline.runtime.ring = rung.append
    work_on(pipeline.runtime, "embed")
    assert set(pipeline.stages().values()) == {"embed", "upsert"}
    assert rung[-1] == "embed"
