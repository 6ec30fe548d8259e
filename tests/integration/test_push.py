"""Documents that callers give: taken in whole or not at all, once, and indexed as a sync's are."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from semantik_pipeline import operations, push
from semantik_pipeline.errors import TransientError, UsageError
from semantik_pipeline.ledger.access import audit_trail
from semantik_pipeline.ledger.ingestion import sources as ledger_sources
from semantik_pipeline.push import Given, Pushed
from semantik_pipeline.search import SearchQuery, search
from tests.integration.conftest import FAKE_COLLECTION, Pipeline

LEDGERS = ("sqlite", "postgres")

Make = Callable[..., Pipeline]


@pytest.fixture
def pipeline(make_pipeline: Make) -> Pipeline:
    made = make_pipeline()
    made.runtime.collection("default", FAKE_COLLECTION)
    return made


def give(pipeline: Pipeline, *documents: Given, run: bool = True, **where: Any) -> tuple[Pushed, dict[str, Any]]:
    pushed = push.push(pipeline.runtime, documents, **{"collection": "default", **where})
    if run:
        pipeline.run()
    return pushed, pipeline.result(pushed.operation_id)


def text(name: str, content: str, **about: Any) -> Given:
    return Given(unique_id=name, content=content, **about)


def found(pipeline: Pipeline, query: str) -> list[str]:
    answer = search(pipeline.runtime, SearchQuery(text=query, rerank=False, mode="sparse"))
    return [hit.document for hit in answer.hits]


def outcomes(pushed: Pushed) -> dict[str, str]:
    return {one.unique_id: one.outcome for one in pushed.documents}


def test_what_is_given_is_indexed_and_the_counts_add_up(pipeline: Pipeline) -> None:
    pushed, result = give(pipeline, text("a", "zebras graze"), text("b", "otters swim"), text("c", "  "))
    assert outcomes(pushed) == {"a": "new", "b": "new", "c": "new"}
    assert result["outcome"] == "succeeded"
    counted = result["documents"]
    assert (counted["seen"], counted["new"], counted["skipped"], counted["unchanged"]) == (3, 2, 1, 0)
    assert result["chunks"]["total"] == result["chunks"]["embedded"] == 2
    assert found(pipeline, "otters") == ["b"]


def test_the_same_again_changes_nothing_and_ends_at_once(pipeline: Pipeline) -> None:
    give(pipeline, text("a", "zebras graze"), text("b", "otters swim"))
    before = pipeline.unit("a")
    pushed, result = give(pipeline, text("a", "zebras graze"), text("b", "otters dive"), text("c", "owls"))
    assert outcomes(pushed) == {"a": "unchanged", "b": "changed", "c": "new"}
    counted = result["documents"]
    assert (counted["seen"], counted["new"], counted["changed"], counted["unchanged"]) == (3, 1, 1, 1)
    assert pipeline.unit("a") == before
    pushed, result = give(pipeline, text("a", "zebras graze"), run=False)
    assert (result["outcome"], result["documents"]["unchanged"], result["chunks"]["embedded"]) == ("succeeded", 1, 0)


def test_other_metadata_are_a_change_that_embeds_nothing(pipeline: Pipeline) -> None:
    give(pipeline, text("a", "zebras graze", metadata={"team": "x"}))
    pushed, result = give(pipeline, text("a", "zebras graze", metadata={"team": "y"}))
    assert outcomes(pushed) == {"a": "changed"}
    assert result["chunks"] == {"total": 1, "embedded": 0, "reused": 1}
    hit = search(pipeline.runtime, SearchQuery(text="zebras", rerank=False)).hits[0]
    assert hit.metadata["team"] == "y"


def test_a_file_is_known_by_its_content_and_name_whatever_the_client_calls_it(pipeline: Pipeline) -> None:
    markdown = Given(
        unique_id="notes",
        content=b"# Herons\n\nThey fish.",
        file_name="notes.md",
        media_type="application/octet-stream",
    )
    title = text("told", "They wade.", title="Flamingos")
    give(pipeline, markdown, title)
    rows = {row["document"]: row for row in operations.list_documents(pipeline.runtime, collection=None, status=None)}
    assert (rows["notes"]["media_type"], rows["notes"]["status"]) == ("text/markdown", "indexed")
    assert (rows["told"]["title"], rows["told"]["source"]) == ("Flamingos", "push")


def test_a_push_is_taken_in_whole_or_not_at_all(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push, "MOST", 2)
    bad: list[list[Given]] = [
        [],
        [text("a", "x"), text("a", "y")],
        [text("a", "x"), text("b", "y"), text("c", "z")],
        [text("a", "x"), text(" ", "y")],
        [text("a", "x"), text("i" * 3000, "y")],
    ]
    for documents in bad:
        with pytest.raises(UsageError):
            give(pipeline, *documents)
    with pytest.raises(UsageError, match="no collection 'elsewhere'"):
        give(pipeline, text("a", "x"), collection="elsewhere")
    assert operations.list_documents(pipeline.runtime, collection=None, status=None) == []


def test_callers_at_once_take_turns_and_lose_nothing(pipeline: Pipeline) -> None:
    def many(mark: str) -> None:
        mine = [text(f"{mark}{number}", f"{mark} {number}") for number in range(3)]
        for number in range(3):
            push.push(pipeline.runtime, [mine[number], text("shared", mark)], collection="default")

    threads = [threading.Thread(target=many, args=(mark,)) for mark in "xyz"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pipeline.run()
    stages = pipeline.stages()
    assert len(stages) == 10
    assert set(stages.values()) == {"indexed"}
    assert pipeline.unit("shared")["chunks"] == 1


def test_what_a_cancelled_push_parked_goes_on_when_it_is_given_again(pipeline: Pipeline) -> None:
    first, _ = give(pipeline, text("a", "zebras graze"), text("b", "otters swim"), run=False)
    operations.cancel(pipeline.runtime, first.operation_id)
    pipeline.run()
    assert pipeline.stages() == {"a": "chunk", "b": "chunk"}
    again, result = give(pipeline, text("a", "zebras graze"))
    assert outcomes(again) == {"a": "unchanged"}
    assert result["outcome"] == "succeeded"
    assert pipeline.stages() == {"a": "indexed", "b": "chunk"}


def test_a_paused_or_deleted_source_and_a_crowded_one_take_nothing(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = pipeline.runtime
    pushed, _ = give(pipeline, text("a", "zebras graze"), run=False)
    monkeypatch.setattr(push, "PENDING", 0)
    with pytest.raises(TransientError) as crowded:
        give(pipeline, text("b", "otters"))
    assert crowded.value.retry_after
    monkeypatch.undo()
    with runtime.ledger.write() as tx:
        ledger_sources.pause(tx, pushed.source_id, "for the weekend")
    with pytest.raises(UsageError, match="for the weekend"):
        give(pipeline, text("b", "otters"))


def test_a_sync_of_what_was_given_takes_nothing_away(pipeline: Pipeline) -> None:
    pushed, _ = give(pipeline, text("a", "zebras graze"))
    with pipeline.runtime.ledger.write() as tx:
        from semantik_pipeline.ledger.operations import lifecycle as ledger

        operation_id = ledger.begin(tx, 1, "sync")
        ledger.request_sync(tx, operation_id, pushed.source_id, lane=1, allow_deletions=True, full=True)
    pipeline.run()
    assert pipeline.result(operation_id)["outcome"] == "succeeded"
    assert found(pipeline, "zebras") == ["a"]


def test_a_push_is_in_the_audit_trail(pipeline: Pipeline) -> None:
    pushed, _ = give(pipeline, text("a", "zebras graze"))
    with pipeline.runtime.ledger.read() as tx:
        entry = audit_trail.entries(tx, limit=1)[0]
    assert (entry["event"], entry["subject"]) == ("document.push", "default: push")
    counts = {"new": 1, "changed": 0, "unchanged": 0}
    assert entry["detail"] == {"source": pushed.source_id, "operation": pushed.operation_id, **counts}


def test_a_dropped_document_comes_back_when_it_is_given_again(pipeline: Pipeline) -> None:
    give(pipeline, text("a", "zebras graze"))
    documents = operations.list_documents(pipeline.runtime, collection=None, status=None)
    operations.begin_drop(pipeline.runtime, documents)
    pipeline.run()
    assert found(pipeline, "zebras") == []
    pushed, _ = give(pipeline, text("a", "zebras graze"))
    assert outcomes(pushed) == {"a": "new"}
    assert found(pipeline, "zebras") == ["a"]
