"""What filters ask for is in every point, of chunks too that are as they were, and indexed where somebody wants it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import update

from semantik_pipeline import push
from semantik_pipeline.errors import SettingsError, UsageError
from semantik_pipeline.ledger.tables import documents
from semantik_pipeline.push import Given
from semantik_pipeline.stages.points import instant
from semantik_pipeline.testing.qdrant_double import QdrantDouble
from tests.integration.conftest import FAKE_COLLECTION, Pipeline

MAKE = Callable[..., Pipeline]


REVISED = ("epoch", "size", "created", "modified", "indexed")


def give_many(pipeline: Pipeline, paragraph: str) -> None:
    """Five documents of two chunks and of different size."""
    pipeline.runtime.collection("default", FAKE_COLLECTION)
    given = [
        Given(unique_id=f"d{number}", content=f"one{'!' * number}{' word' * 30}\n\n{paragraph}{' word' * 30}")
        for number in range(5)
    ]
    push.push(pipeline.runtime, given, collection="default")
    pipeline.run()


def give(pipeline: Pipeline, *paragraphs: str, **about: Any) -> dict[str, Any]:
    """The operation's result."""
    pipeline.runtime.collection("default", FAKE_COLLECTION)
    text = "\n\n".join(paragraph + " word" * 30 for paragraph in paragraphs)
    given = Given(unique_id="a", content=text, **about)
    pushed = push.push(pipeline.runtime, [given], collection="default")
    pipeline.run()
    return pipeline.result(pushed.operation_id)


def payloads(pipeline: Pipeline) -> list[dict[str, Any]]:
    runtime = pipeline.runtime
    page, _ = runtime.host.call(runtime.store.scroll, runtime.existing_index(runtime.generation(1)))
    return sorted((point.payload for point in page), key=lambda payload: payload["ordinal"])


def test_an_unchanged_chunk_has_size_and_times_of_the_new_revision(make_pipeline: MAKE) -> None:
    pipeline = make_pipeline()
    give(pipeline, "one", "two")
    with pipeline.runtime.ledger.write() as tx:  # long ago
        tx.execute(update(documents).values(created_at=1_000_000.0, changed_at=1_000_000.0))
    before = payloads(pipeline)
    result = give(pipeline, "one", "two and more of it")
    first, second = payloads(pipeline)
    assert result["chunks"]["embedded"] == 1
    assert first["text"] == before[0]["text"] and second["text"] != before[1]["text"]
    for field in REVISED:
        assert first[field] == second[field], field
    assert first["size"] > before[0]["size"]
    assert first["created"] == "1970-01-12T13:46:40Z"
    assert first["modified"] >= before[0]["modified"], "the source says nothing of it: when this content came"


def test_a_store_far_away_is_told_of_the_unchanged_chunks_of_many_documents_at_once(
    make_pipeline: MAKE,
) -> None:
    double = QdrantDouble().start()
    pipeline = make_pipeline(qdrant={"url": double.url})
    try:
        give_many(pipeline, "two")
        before = len(double.requests)
        give_many(pipeline, "two and more of it")
        told = [one for one in double.requests[before:] if "/points/payload" in one or "/points/batch" in one]
        points = payloads(pipeline)
    finally:
        pipeline.runtime.close()
        double.stop()
    assert len(told) == 1
    for number in range(5):
        first, second = (point for point in points if point["document"] == f"d{number}")
        assert (first["text"][:3], second["text"][:7]) == ("one", "two and")
        assert [first[name] for name in REVISED] == [second[name] for name in REVISED]
    assert len({point["size"] for point in points}) == 5


def test_a_field_that_the_operator_wants_is_indexed_in_what_is_there(make_pipeline: MAKE) -> None:
    pipeline = make_pipeline()
    give(pipeline, "one", metadata={"team": "it"})
    facet = pipeline.runtime.store.facet
    index = pipeline.runtime.index(pipeline.runtime.generation(1))
    with pytest.raises(UsageError, match=r"metadata\.team"):
        facet(index, "metadata.team")
    assert facet(index, "document") == [("a", 1)]
    pipeline.runtime.close()
    again = make_pipeline(store={"payload_indexes": {"metadata.team": "keyword"}}).runtime
    assert again.existing_index(again.generation(1)) == index
    assert again.store.facet(index, "metadata.team") == [("it", 1)]
    again.close()
    wrong = make_pipeline(store={"payload_indexes": {"no field": "keyword"}}).runtime
    with pytest.raises(SettingsError, match="no field"):
        wrong.existing_index(wrong.generation(1))


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("2026-01-31", "2026-01-31T00:00:00Z"),
        ("2026-01-31T12:00:00+02:00", "2026-01-31T10:00:00Z"),
        ("2026-01-31T12:00:00.9", "2026-01-31T12:00:00Z"),
        (datetime(2026, 1, 31, tzinfo=UTC).timestamp(), "2026-01-31T00:00:00Z"),
        ("yesterday", None),
        (None, None),
        (7, None),
        (["2026-01-31"], None),
        (float("nan"), None),
        (1e300, None),
        ("0001-01-01T00:00:00+23:00", None),
    ],
)
def test_times_are_told_in_one_way(told: Any, expected: str | None) -> None:
    assert instant(told) == expected
