"""A document that can't be read has neither vanished nor changed: what is indexed of it stays, and the sync says so."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select

from semantik_pipeline import operations
from semantik_pipeline.cli import working
from semantik_pipeline.cli.index import run_sync
from semantik_pipeline.documents import IngestedDocument
from semantik_pipeline.errors import DocumentUnreadable, TransientError, UsageError
from semantik_pipeline.ledger.catalog import collections
from semantik_pipeline.ledger.operations import lifecycle, outcomes
from semantik_pipeline.ledger.tables import generations, work
from semantik_pipeline.operations import SourceRequest, begin_drop, list_documents
from semantik_pipeline.pipeline import work_on
from semantik_pipeline.search import SearchQuery, search
from semantik_pipeline.verification import verify
from tests.integration.conftest import FAKE_COLLECTION, texts

LEDGERS = ("sqlite", "postgres")


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """File name -> why its bytes can't be had; the tests may run as root, who may read everything."""
    codes: dict[str, int] = {}
    opened = os.open

    def refuse(path, *given, **named):
        code = codes.get(Path(os.fsdecode(path)).name) if isinstance(path, str | bytes) else None
        if code is not None:
            raise OSError(code, os.strerror(code), path)
        return opened(path, *given, **named)

    monkeypatch.setattr(os, "open", refuse)
    return codes


def found(pipeline, query: str) -> list[str]:
    answer = search(pipeline.runtime, SearchQuery(text=query, rerank=False))
    return [hit.document.rpartition("/")[2] for hit in answer.hits]


def problems(pipeline, operation_id: int) -> list[str]:
    with pipeline.runtime.ledger.read() as tx:
        return outcomes.problems(tx, operation_id)


def fake(documents: dict[str, str], **options: Any) -> SourceRequest:
    return SourceRequest(connector="fake-connector", name="fake", config={"documents": documents, **options})


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """``refusing(pipeline, refuse)``: the fake source can't read what ``refuse`` says, asked for each fetch."""

    def put(pipeline: Any, refuse: Callable[[str], bool]) -> None:
        cls = pipeline.runtime.host.registry.get("fake-connector").cls
        whole = cls.fetch

        async def fetch(self: Any, reference: Any) -> IngestedDocument:
            if refuse(reference.unique_id):
                raise DocumentUnreadable(f"{reference.unique_id}: denied")
            return await whole(self, reference)

        monkeypatch.setattr(cls, "fetch", fetch)

    return put


def revision(pipeline, name: str) -> tuple[int, int]:
    unit = pipeline.unit(name)
    return unit["revision"], unit["epoch"]


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO])
def test_a_file_that_can_no_longer_be_read_stays_in_the_index(make_pipeline, tmp_path, refused, code):
    folder = texts(tmp_path / "docs", apple="the apple grows", pear="the pear grows", plum="the plum grows")
    pipeline = make_pipeline()
    pipeline.folder(folder)
    before = revision(pipeline, "pear.txt")
    (folder / "pear.txt").chmod(0)
    (folder / "plum.txt").unlink()
    texts(folder, fig="the fig grows", quince="the quince grows")
    (folder / "fig.txt").chmod(0)
    refused.update({"pear.txt": code, "fig.txt": code})
    for seen in ({"new": 2, "unchanged": 2, "deleted": 1}, {"new": 0, "unchanged": 4, "deleted": 0}):
        result = pipeline.folder(folder)
        assert (result["outcome"], result["unread"]) == ("degraded", 2)
        assert {name: result["documents"][name] for name in seen} == seen
        assert (result["documents"]["seen"], result["documents"]["quarantined"]) == (4, 1)
        (told,) = problems(pipeline, result["id"])
        assert "pear.txt" in told and "Each sync tries it again" in told
        assert found(pipeline, "pear")[0] == "pear.txt" and revision(pipeline, "pear.txt") == before
        assert pipeline.stages() == {
            "apple.txt": "indexed", "pear.txt": "indexed", "fig.txt": "quarantined", "quince.txt": "indexed",
        }  # fmt: skip
        assert pipeline.unit("fig.txt")["error"]["type"] == "DocumentUnreadable"
        assert pipeline.unit("fig.txt")["epoch"] == 1, "what still can't be read costs no revision"
        assert verify(pipeline.runtime).clean
        unread = list_documents(pipeline.runtime, collection=None, status="unread")
        assert [(row["document"].rpartition("/")[2], row["status"]) for row in unread] == [
            ("fig.txt", "quarantined"), ("pear.txt", "indexed"),
        ]  # fmt: skip
        assert unread[0]["reason"].startswith("sync: ")
        assert unread[1]["reason"] == "could not be read; its indexed content is kept"
    refused.clear()
    for name in ("pear.txt", "fig.txt"):
        (folder / name).chmod(0o644)
    result = pipeline.folder(folder)
    assert (result["outcome"], result["unread"], result["chunks"]["embedded"]) == ("succeeded", 0, 1)
    assert set(pipeline.stages().values()) == {"indexed"} and revision(pipeline, "pear.txt") == before
    assert list_documents(pipeline.runtime, collection=None, status="unread") == []
    assert found(pipeline, "fig")[0] == "fig.txt"


def test_what_changed_meanwhile_is_indexed_when_it_can_be_read_again_and_what_went_is_removed(
    make_pipeline, tmp_path, refused
):
    folder = texts(tmp_path / "docs", apple="the apple grows", pear="the pear grows", plum="the plum grows")
    pipeline = make_pipeline()
    pipeline.folder(folder)
    texts(folder, pear="the quince grows, not the other one", plum="the plum rots")
    refused.update({"pear.txt": errno.EACCES, "plum.txt": errno.EACCES})
    assert pipeline.folder(folder)["unread"] == 2
    (folder / "plum.txt").unlink()
    del refused["pear.txt"]
    result = pipeline.folder(folder)
    assert (result["outcome"], result["documents"]["changed"], result["documents"]["deleted"]) == ("succeeded", 1, 1)
    assert found(pipeline, "quince")[0] == "pear.txt" and "plum.txt" not in pipeline.stages()
    assert verify(pipeline.runtime).clean


def test_a_file_without_permission_that_is_excluded_leaves_the_index(make_pipeline, tmp_path, refused):
    folder = texts(tmp_path / "docs", apple="the apple grows", pear="the pear grows")
    pipeline = make_pipeline()
    pipeline.folder(folder)
    (folder / "pear.txt").chmod(0)
    refused["pear.txt"] = errno.EACCES
    pipeline.folder(folder)
    assert found(pipeline, "pear")[0] == "pear.txt"
    result = pipeline.index(operations.folder_source(folder, exclude=["pear.txt"]))
    assert (result["outcome"], result["unread"], result["documents"]["deleted"]) == ("succeeded", 0, 1)
    assert found(pipeline, "pear") == ["apple.txt"]


@pytest.mark.parametrize(
    ("error", "tries", "stage"),
    [(TransientError("away"), 3, "indexed"), (OSError("reset"), 3, "indexed"), (ValueError("a bug"), 1, "quarantined")],
    ids=["transient", "os", "other"],
)
def test_how_often_a_document_is_fetched_that_fails(make_pipeline, refusing, error, tries, stage):
    pipeline = make_pipeline()
    pipeline.index(fake({"a": "an apple"}))
    fetched: list[str] = []

    def refuse(name: str) -> bool:
        fetched.append(name)
        raise error

    refusing(pipeline, refuse)
    result = pipeline.index(fake({"a": "a new apple"}))
    assert (len(fetched), pipeline.stages(), result["unread"]) == (tries, {"a": stage}, int(stage == "indexed"))


def test_why_a_file_in_quarantine_can_not_be_read_is_told_beside_why_it_is_there(make_pipeline, tmp_path, refused):
    folder = texts(tmp_path / "docs", apple="the apple grows")
    (folder / "noise.bin").write_bytes(bytes(range(256)) * 40)
    pipeline = make_pipeline()
    pipeline.folder(folder)
    (folder / "noise.bin").chmod(0)
    refused["noise.bin"] = errno.EACCES
    result = pipeline.folder(folder)
    assert (result["unread"], result["documents"]["quarantined"]) == (1, 1)
    (told,) = problems(pipeline, result["id"])
    assert "noise.bin" in told and "permission denied" in told
    assert pipeline.unit("noise.bin")["error"]["stage"] == "chunk"


def test_a_quarantine_in_a_generation_that_is_on_its_way_out_means_nothing(make_pipeline):
    pipeline = make_pipeline()
    texts = {"a": "an apple", "b": "a bean"}
    pipeline.index(fake(texts))
    failed = {"stage": "sync", "type": "DocumentUnreadable", "message": "denied", "plugins": "fake-connector 0.9"}
    with pipeline.runtime.ledger.write() as tx:
        generation = dict(tx.execute(select(generations)).mappings().one())
        former = tx.execute(
            insert(generations).values({**generation, "id": 99, "state": "retired", "index_name": "former"})
        ).inserted_primary_key[0]
        for unit in tx.execute(select(work)).mappings().all():
            lost = {"generation_id": former, "stage": "quarantined", "error": failed}
            tx.execute(insert(work).values({**unit, **lost}))
    assert pipeline.index(fake(texts))["documents"]["unchanged"] == 2, "nor is a plugin mended that it failed with"
    result = pipeline.index(fake({**texts, "b": "a new bean"}, fail_fetch={"b": "unreadable"}))
    assert (result["unread"], len(problems(pipeline, result["id"]))) == (1, 1)


def test_a_document_in_the_trash_that_can_not_be_read_stays_there(make_pipeline, monkeypatch):
    monkeypatch.setenv("SEMANTIK_RETENTION_TRASH_DAYS", "30")
    pipeline = make_pipeline()
    config = {"documents": {"a": "an apple", "b": "a bean"}}
    pipeline.index(SourceRequest(connector="fake-connector", name="fake", config=config))
    rows = list_documents(pipeline.runtime, collection=None, status=None)
    begin_drop(pipeline.runtime, [row for row in rows if row["document"] == "b"])
    pipeline.run()
    broken = {**config, "fail_fetch": {"b": "unreadable"}}
    result = pipeline.index(SourceRequest(connector="fake-connector", name="fake", config=broken))
    assert (result["outcome"], result["unread"]) == ("succeeded", 0)
    assert pipeline.stages() == {"a": "indexed"}
    pipeline.index(SourceRequest(connector="fake-connector", name="fake", config=config))
    assert pipeline.stages() == {"a": "indexed", "b": "indexed"}
    assert pipeline.unit("b")["embedded"] == 0


def test_what_the_next_slice_of_a_run_reads_was_no_problem_of_the_run(make_pipeline, refusing):
    pipeline = make_pipeline()
    texts = {f"d{one}": f"text {one}" for one in range(6)}
    pipeline.index(fake(texts, checkpoint_every=3))
    tries: list[str] = []

    def refuse(name: str) -> bool:
        tries.append(name)
        if name == "d3" and tries.count(name) == 1:
            pipeline.runtime.stopping.set()  # the slice is cut between two checkpoints
            return True
        return name == "d1"

    refusing(pipeline, refuse)
    news = {name: f"new {text}" for name, text in texts.items()}
    operation_id = pipeline.index(fake(news, checkpoint_every=3), run=False)["id"]
    work_on(pipeline.runtime, "sync")
    assert tries == ["d0", "d1", "d2", "d3"]
    pipeline.runtime.stopping.clear()
    pipeline.run()
    assert tries[4:] == ["d3", "d4", "d5"]
    result = pipeline.result(operation_id)
    assert (result["outcome"], result["unread"], problems(pipeline, operation_id)) == ("degraded", 1, ["d1: denied"])


def test_what_could_not_be_read_and_is_not_asked_for_again_in_the_run_is_told_at_its_end(make_pipeline, refusing):
    pipeline = make_pipeline()
    texts = {f"d{one}": f"text {one}" for one in range(4)}
    pipeline.index(fake(texts, incremental=True))
    pipeline.index(fake(texts, incremental=True))
    tries: list[str] = []

    def refuse(name: str) -> bool:
        tries.append(name)
        if tries == ["d0", "d2", "d0"]:
            pipeline.runtime.stopping.set()
        return True

    refusing(pipeline, refuse)
    news = {**texts, "d0": "new text 0", "d2": "new text 2"}
    assert pipeline.index(fake(news, incremental=True))["unread"] == 2
    operation_id = pipeline.index(fake(news, incremental=True), run=False)["id"]
    work_on(pipeline.runtime, "sync")
    assert tries == ["d0", "d2", "d0"], "cut while it asks for what was not named"
    pipeline.runtime.stopping.clear()
    pipeline.run()
    result = pipeline.result(operation_id)
    told = {"d0: denied", "d2: denied"}
    assert (result["outcome"], result["unread"], {*problems(pipeline, operation_id)}) == ("degraded", 2, told)


def test_a_run_that_begins_anew_forgets_what_the_one_before_could_not_read(make_pipeline, refusing):
    pipeline = make_pipeline()
    texts = {f"d{one}": f"text {one}" for one in range(4)}
    pipeline.index(fake(texts, checkpoint_every=1))
    tries: list[str] = []

    def refuse(name: str) -> bool:
        tries.append(name)
        if name == "d1":
            pipeline.runtime.stopping.set()
        return tries == ["d0"]

    refusing(pipeline, refuse)
    news = {name: f"new {text}" for name, text in texts.items()}
    operation_id = pipeline.index(fake(news, checkpoint_every=1), run=False)["id"]
    work_on(pipeline.runtime, "sync")
    assert problems(pipeline, operation_id) == ["d0: denied"]
    other = fake(news, checkpoint_every=2)
    with pipeline.runtime.ledger.write() as tx:
        collections.put_source(tx, 1, other.connector, other.name, other.config)
    pipeline.runtime.stopping.clear()
    pipeline.run()
    result = pipeline.result(operation_id)
    assert (result["outcome"], result["unread"], problems(pipeline, operation_id)) == ("succeeded", 0, [])


def test_a_sync_that_a_worker_without_this_count_finished_is_shown(make_pipeline, monkeypatch):
    """While a fleet is rolled over a worker of the release before may end it."""
    pipeline = make_pipeline()

    def waited(runtime: Any, operation_id: int, watch: Any) -> Any:
        pipeline.run()
        with runtime.ledger.read() as tx:
            progress = lifecycle.progress(tx, operation_id)
        return replace(progress, result={name: of for name, of in progress.result.items() if name != "unread"})

    monkeypatch.setattr(working, "at_work", lambda call: nullcontext(pipeline.runtime))
    monkeypatch.setattr(operations, "wait", waited)
    answer, _ = run_sync(None, [fake({"a": "an apple"})], "default", config=FAKE_COLLECTION)
    assert (answer["outcome"], answer["unread"]) == ("succeeded", 0)


@pytest.mark.parametrize("incremental", [False, True])
def test_retry_reads_again_what_could_not_be_read(make_pipeline, refusing, incremental):
    pipeline = make_pipeline()
    texts, refused = {"a": "an apple", "b": "a bean"}, {"b"}
    for _ in range(2):
        pipeline.index(fake(texts, incremental=incremental))
    refusing(pipeline, lambda name: name in refused)
    degraded = pipeline.index(fake({**texts, "b": "a new bean"}, incremental=incremental))
    assert (degraded["outcome"], degraded["unread"], degraded["documents"]["quarantined"]) == ("degraded", 1, 0)
    for outcome, unread in (("degraded", 1), ("succeeded", 0)):
        again = operations.retry(pipeline.runtime, degraded["id"])
        pipeline.run()
        result = pipeline.result(again)
        assert (result["outcome"], result["unread"]) == (outcome, unread)
        refused.clear()
    assert pipeline.unit("b")["revision"] == 2
    with pytest.raises(UsageError, match="left nothing unfinished"):
        operations.retry(pipeline.runtime, degraded["id"])
