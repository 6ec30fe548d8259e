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


@pytest.mark.parametrize("status", [408, 500])
def test_a_store_that_is_too_slow_or_sick_costs_no_document_an_attempt(
    make_pipeline: Callable[..., Any], double: QdrantDouble, tmp_path: Path, status: int
) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    for number in range(DOCUMENTS):
        (folder / f"{number}.txt").write_text(f"text {number} of a document. " * 20)
    pipeline = make_pipeline(plugins={"qdrant": {"tries": 1}}, qdrant={"url": double.url})
    operation = pipeline.folder(folder, run=False)["id"]
    pipeline.run("sync", "chunk", "embed")

    double.fail_next = [status] * 10_000
    for _ in range(4 * DOCUMENTS):  # each of them alone, more often than a document may fail
        pipeline.hurry()
        work_on(pipeline.runtime, "upsert")
    with pipeline.runtime.ledger.read() as tx:
        waiting = [tuple(row) for row in tx.execute(select(work.c.stage, work.c.attempts))]
    assert waiting == [("upsert", 0)] * DOCUMENTS

    double.fail_next = []
    pipeline.hurry()
    pipeline.run()
    assert pipeline.result(operation)["outcome"] == "succeeded"


def test_a_document_on_which_the_store_fails_keeps_nobody_else_waiting(
    make_pipeline: Callable[..., Any], double: QdrantDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    for number in range(DOCUMENTS):
        (folder / f"{number}.txt").write_text(f"text {number} of a document. " * 20)
    pipeline = make_pipeline(plugins={"qdrant": {"tries": 1}}, qdrant={"url": double.url})
    pipeline.folder(folder, run=False)
    pipeline.run("sync", "chunk", "embed")
    sick, insert = pipeline.unit("/7.txt")["document_id"], pipeline.runtime.store.insert

    def fail_on_one(index: str, points: list[Any], **options: Any) -> None:
        if any(point.payload["document_id"] == sick for point in points):
            double.fail_next = [500]
        insert(index, points, **options)

    monkeypatch.setattr(pipeline.runtime.store, "insert", fail_on_one)
    for _ in range(4 * DOCUMENTS):
        pipeline.hurry()
        work_on(pipeline.runtime, "upsert")
    assert {name for name, stage in pipeline.stages().items() if stage != "indexed"} == {"7.txt"}
    assert pipeline.unit("/7.txt")["attempts"] == 0
