"""A document that can't be read has neither vanished nor changed: what is indexed of it stays, and the sync says so."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from semantik_pipeline.ledger.operations import outcomes
from semantik_pipeline.operations import SourceRequest, begin_drop, list_documents
from semantik_pipeline.search import SearchQuery, search
from semantik_pipeline.verification import verify
from tests.integration.conftest import texts

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
    refused.clear()
    for name in ("pear.txt", "fig.txt"):
        (folder / name).chmod(0o644)
    result = pipeline.folder(folder)
    assert (result["outcome"], result["unread"], result["chunks"]["embedded"]) == ("succeeded", 0, 1)
    assert set(pipeline.stages().values()) == {"indexed"} and revision(pipeline, "pear.txt") == before
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


def test_a_file_in_quarantine_that_can_not_be_read_is_told_of_once(make_pipeline, tmp_path, refused):
    folder = texts(tmp_path / "docs", apple="the apple grows")
    (folder / "noise.bin").write_bytes(bytes(range(256)) * 40)
    pipeline = make_pipeline()
    pipeline.folder(folder)
    (folder / "noise.bin").chmod(0)
    refused["noise.bin"] = errno.EACCES
    result = pipeline.folder(folder)
    assert (result["unread"], result["documents"]["quarantined"], problems(pipeline, result["id"])) == (1, 1, [])
    assert pipeline.unit("noise.bin")["error"]["stage"] == "chunk"


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
