"""The pipeline into a Qdrant server that goes away for a while, then is slow, then right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from semantik_pipeline.ledger.tables import work
from semantik_pipeline.pipeline import work_on
from semantik_pipeline.testing.qdrant_double import QdrantDouble
from semantik_pipeline.testing.qdrant_grpc import QdrantGrpcDouble
from semantik_pipeline.verification import verify

DOCUMENTS = 12


@pytest.fixture
def double() -> Iterator[QdrantDouble]:
    double = QdrantDouble().start()
    yield double
    double.stop()


@pytest.fixture(params=["http", "grpc"])
def options(request: pytest.FixtureRequest, double: QdrantDouble) -> Iterator[dict[str, Any]]:
    """Options of the store that speaks to the double."""
    if request.param == "http":
        yield {}
        return
    beside = QdrantGrpcDouble(double).start()
    yield {"prefer_grpc": True, "grpc_port": beside.port}
    beside.stop()


def test_a_store_that_is_away_costs_no_document_anything(
    make_pipeline: Callable[..., Any], double: QdrantDouble, options: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    for number in range(DOCUMENTS):
        (folder / f"{number}.txt").write_text(f"text {number} of a document. " * 20)
    pipeline = make_pipeline(plugins={"qdrant": {"tries": 1, **options}}, qdrant={"url": double.url})

    double.away = True
    operation = pipeline.folder(folder, run=False)["id"]
    pipeline.run("sync", "chunk", "embed")
    for _ in range(4):  # more often than a document may fail
        pipeline.hurry()
        work_on(pipeline.runtime, "upsert")
    with pipeline.runtime.ledger.read() as tx:
        waiting = tx.execute(select(work.c.stage, work.c.attempts, work.c.suspect, work.c.blocked)).all()
    assert [(stage, attempts, suspect) for stage, attempts, suspect, _ in waiting] == [("upsert", 0, False)] * DOCUMENTS
    assert all("Qdrant at" in blocked for *_, blocked in waiting)

    double.away, double.delay = False, 0.02
    pipeline.run()
    double.delay = 0.0
    assert pipeline.result(operation)["outcome"] == "succeeded"
    report = verify(pipeline.runtime).to_dict()
    assert (report["missing"], report["orphaned"], report["stale"]) == (0, 0, 0)
    (collection,) = double.client.get_collections().collections
    assert double.client.count(collection.name).count == report["points_found"] >= DOCUMENTS
