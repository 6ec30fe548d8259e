"""What is to leave the index leaves it in the end, however often the store fails; and an index that somebody dropped is
no document's fault."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import func, select

from semantik_pipeline import blobs, maintenance, operations
from semantik_pipeline.errors import PermanentError
from semantik_pipeline.ledger.documents import content, forgetting
from semantik_pipeline.ledger.queue import work
from semantik_pipeline.ledger.tables import chunks
from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.pipeline import work_on
from semantik_pipeline.stages import upsert
from semantik_pipeline.verification import verify

LEDGERS = ("sqlite", "postgres")

SECRET = "Secretive report"


@pytest.fixture(autouse=True)
def bodies_go_however_young(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs, "GRACE", -1.0)


def index(pipeline, run: bool = True, **documents: str) -> dict[str, Any]:
    request = SourceRequest(connector="fake-connector", name="fake", config={"documents": documents})
    return pipeline.index(request, run=run, allow_deletions=True)


@contextmanager
def refusing(pipeline, error: Exception) -> Iterator[None]:
    """The store deletes nothing."""

    def refuse(*_: Any, **__: Any) -> None:
        raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline.runtime.store, "delete", refuse)
        yield


def tried(pipeline, times: int) -> dict[str, Any]:
    """The document's unit after so many tries."""
    for _ in range(times):
        pipeline.hurry()
        work_on(pipeline.runtime, "upsert")
    return pipeline.unit("doc")


def points(pipeline) -> int:
    runtime = pipeline.runtime
    return runtime.store.count(runtime.ledger.search_view("default").index)


def nothing_is_left(pipeline) -> bool:
    with pipeline.runtime.ledger.read() as tx:
        rows = tx.execute(select(func.count()).select_from(chunks)).scalar_one()
    bodies = [path for path in (pipeline.runtime.settings.data_dir / "blobs").rglob("*") if path.is_file()]
    return rows == points(pipeline) == 0 and not bodies


@pytest.mark.parametrize("error", [ValueError("nobody expected this"), PermanentError("The store refuses this.")])
def test_a_deletion_that_fails_is_tried_until_it_succeeds(make_pipeline, error: Exception) -> None:
    pipeline = make_pipeline(work={"max_attempts": 3})
    index(pipeline, doc=SECRET)
    operation = index(pipeline, run=False)["id"]
    pipeline.run("sync")
    with refusing(pipeline, error):
        unit = tried(pipeline, 5)
    assert (unit["stage"], unit["attempts"], unit["error"]["type"]) == ("upsert", 3, type(error).__name__)
    assert unit["suspect"], "it keeps running alone"
    assert operations.look(pipeline.runtime, operation).reason == str(error)
    pipeline.run()
    assert pipeline.result(operation)["outcome"] == "succeeded"
    assert nothing_is_left(pipeline)


def test_a_deletion_waits_longer_once_it_has_failed_often(make_pipeline) -> None:
    pipeline = make_pipeline(work={"max_attempts": 2, "backoff": 1.0})
    index(pipeline, doc=SECRET)
    index(pipeline, run=False)
    pipeline.run("sync")
    with refusing(pipeline, ValueError("nobody expected this")):
        waits = [unit["not_before"] - unit["updated_at"] for unit in (tried(pipeline, 1), tried(pipeline, 1))]
    assert waits[0] < 10 < work.MAX_BACKOFF - 1 < waits[1]


def test_a_worker_that_dies_alone_with_a_deletion_does_not_end_it(make_pipeline) -> None:
    pipeline = make_pipeline(work={"max_attempts": 2})
    index(pipeline, doc=SECRET)
    index(pipeline, run=False)
    pipeline.run("sync")
    for alone in (False, True, True, True):
        pipeline.hurry()
        with pipeline.runtime.ledger.write() as tx:
            assert work.claim(tx, "upsert", worker="w", lease=60, limit=1, alone=alone) is not None
        maintenance.tick(pipeline.runtime, alone=True)
    assert pipeline.unit("doc")["stage"] == "upsert"
    pipeline.run()
    assert nothing_is_left(pipeline)


# -- an index that somebody dropped ------------------------------------------------------------------------------------


def drop_by_hand(pipeline) -> None:
    """As an operator does it, in the store: this process does not know."""
    runtime = pipeline.runtime
    runtime.store.drop_index(runtime.ledger.search_view("default").index)


def test_nothing_is_charged_for_an_index_that_is_gone_and_it_is_made_again(make_pipeline) -> None:
    pipeline = make_pipeline(work={"max_attempts": 1})
    index(pipeline, doc="the first text", other="another one")
    drop_by_hand(pipeline)
    operation = index(pipeline, run=False, doc="the second text", other="another one")["id"]
    pipeline.run("sync", "chunk", "embed")
    work_on(pipeline.runtime, "upsert")
    unit = pipeline.unit("doc")
    assert (unit["stage"], unit["attempts"], unit["suspect"]) == ("upsert", 0, False)
    assert "no index" in unit["blocked"]
    pipeline.run()
    assert pipeline.result(operation)["outcome"] == "succeeded"
    assert (points(pipeline), verify(pipeline.runtime).to_dict()["missing"]) == (1, 1), "what it had is told as lost"


def test_a_deletion_from_an_index_that_is_gone_ends(make_pipeline) -> None:
    pipeline = make_pipeline(work={"max_attempts": 1})
    index(pipeline, doc=SECRET)
    drop_by_hand(pipeline)
    assert index(pipeline)["outcome"] == "succeeded"
    assert nothing_is_left(pipeline)


def test_many_documents_leave_together_in_a_few_calls_of_the_store_and_short_transactions(make_pipeline, monkeypatch):
    """Each by itself would be 100 filter deletes, and 200 transactions."""
    pipeline = make_pipeline()
    runtime = pipeline.runtime
    index(pipeline, kept="stays", **{f"d{number:03}": f"text number {number}" for number in range(100)})
    index(pipeline, run=False, kept="stays")
    pipeline.run("sync")
    deletes, changed = list[int](), list[int]()
    delete, drop = runtime.store.delete, content.drop_chunks

    def deleting(index: str, **how: Any) -> Any:
        deletes.append(len(how["filter"]["should"]))
        return delete(index, **how)

    def dropping(tx: Any, dropped: Any) -> None:
        dropped = list(dropped)
        changed.append(len(dropped))
        drop(tx, dropped)

    monkeypatch.setattr(runtime.store, "delete", deleting)
    monkeypatch.setattr(forgetting, "drop_chunks", dropping)
    pipeline.run("upsert")
    assert pipeline.stages() == {"kept": "indexed"} and points(pipeline) == 1
    assert sum(deletes) == 100 and len(deletes) <= 3
    assert sum(changed) == 100 and max(changed) <= 16 and len(changed) <= 9
    assert verify(runtime).clean
    assert [keys for kind in ("raw", "parsed") for keys in map(len, runtime.blobs.keys(kind, older_than=-1))] == [1, 1]


def test_the_rows_of_large_documents_leave_in_transactions_of_their_own(make_pipeline, monkeypatch):
    monkeypatch.setattr(upsert, "ROWS", 10)
    pipeline = make_pipeline()
    text = "\n\n".join(f"Paragraph {number} is about subject {number}, {'and more ' * 10}" for number in range(12))
    index(pipeline, a=text, b=text, c="short", d="short too", kept="stays")
    assert 10 < pipeline.unit("a")["chunks"] < 40
    index(pipeline, run=False, kept="stays")
    pipeline.run("sync")
    together, forget = list[list[str]](), forgetting.forget_documents
    monkeypatch.setattr(
        forgetting,
        "forget_documents",
        lambda tx, units: (together.append(sorted(unit.unique_id for unit in units)), forget(tx, units)),
    )
    pipeline.run("upsert")
    assert sorted(filter(None, together)) == [["a"], ["b"], ["c", "d"]]
    assert pipeline.stages() == {"kept": "indexed"} and verify(pipeline.runtime).clean
