"""How long a task works on a stage: a loop that ends with work left waits for one of the next bells, which others hear too."""

from __future__ import annotations

import math

import pytest

from semantik_pipeline.ledger.queue import bulk_moves
from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.pipeline import SLICES, work_on
from semantik_pipeline.stages import claims
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


@pytest.mark.parametrize(("moment", "taken"), [(60.0, [1, 2, 4, 3]), (0.0, [1] * DOCUMENTS)], ids=["swift", "slow"])
def test_claims_grow_while_each_is_done_in_a_moment(
    make_pipeline, monkeypatch, moment: float, taken: list[int]
) -> None:
    monkeypatch.setattr(claims, "MOMENT", moment)
    pipeline = at_embed(make_pipeline, time_slice=1.0)
    sizes = []
    for held in Claims(pipeline.runtime, "embed", limit=1, deadline=60.0, until=math.inf):
        sizes.append(len(held.claim.units))
        with pipeline.runtime.ledger.write() as tx:
            bulk_moves.move_all(tx, [(unit, "upsert", {}) for unit in held.claim.units])
    assert sizes == taken


@pytest.mark.parametrize("stopping", [True, False])
def test_who_stops_rings_for_what_it_gives_back(make_pipeline, stopping: bool) -> None:
    pipeline = at_embed(make_pipeline, time_slice=1.0)
    claims = Claims(pipeline.runtime, "embed", limit=2, deadline=60.0, until=math.inf)
    held = claims.take()
    rung: list[str] = []
    pipeline.runtime.ring = rung.append
    if stopping:
        pipeline.runtime.stopping.set()
    held.close()
    assert rung == (["embed"] if stopping else [])


def test_a_loop_ends_with_work_left_and_rings_for_it(make_pipeline) -> None:
    pipeline = at_embed(make_pipeline, time_slice=SECONDS / SLICES)
    rung: list[str] = []
    pipeline.runtime.ring = rung.append
    work_on(pipeline.runtime, "embed")
    assert set(pipeline.stages().values()) == {"embed", "upsert"}
    assert rung[-1] == "embed"
