"""The way of a document: what a sync costs, what it leaves, and that its counts add up."""

from __future__ import annotations

import json
import os
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text

from semantik_pipeline.documents import Point
from semantik_pipeline.operations import SourceRequest, begin_drop, begin_retry, list_documents
from semantik_pipeline.pipeline import work_on
from semantik_pipeline.search import SearchQuery, search
from semantik_pipeline.verification import repair, verify

#: Where the ledger's own part is large; the rest of this file is about stages and stores.
both_ledgers = pytest.mark.parametrize("ledger", ["sqlite", "postgres"], indirect=True)

WORDS = [
    "alpha",
    "beta",
    "gamma",
    "delta",
    "epsilon",
    "zeta",
    "eta",
    "theta",
    "iota",
    "kappa",
    "lambda",
    "mu",
    "nu",
    "xi",
    "omicron",
    "pi",
    "rho",
    "sigma",
    "tau",
]


def paragraphs(name: str, count: int) -> str:
    return "\n\n".join(f"{name} paragraph {number} " + " ".join(WORDS[number % 7 :]) for number in range(count))


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    for number in range(6):
        (folder / f"d{number}.txt").write_text(paragraphs(f"doc{number}", 5))
    return folder


def adds_up(documents: dict[str, int]) -> bool:
    return documents["seen"] == sum(documents[name] for name in ("new", "changed", "unchanged", "skipped"))


def hits(pipeline, query: str, **options) -> list[str]:
    answer = search(pipeline.runtime, SearchQuery(text=query, rerank=False, **options))
    return [hit.document.rpartition("/")[2] for hit in answer.hits]


@pytest.fixture
def opened() -> Iterator[list[str]]:
    """The name of every file that this process opens from now on, as the interpreter itself says."""
    names: list[str] = []
    watching = True

    def hear(event: str, args: tuple) -> None:
        if watching and event == "open" and isinstance(args[0], str | bytes):
            names.append(os.fsdecode(args[0]).rpartition("/")[2])

    sys.addaudithook(hear)  # it can't be taken away again
    yield names
    watching = False


def test_a_second_sync_opens_and_embeds_nothing(make_pipeline, docs, tmp_path, opened):
    pipeline = make_pipeline(plugins={"fake-embedder": {"log_path": str(tmp_path / "log")}})
    first = pipeline.folder(docs)
    assert first["outcome"] == "succeeded"
    assert first["documents"] == {
        "seen": 6, "new": 6, "changed": 0, "unchanged": 0, "deleted": 0, "skipped": 0, "quarantined": 0,
    }  # fmt: skip
    assert first["chunks"]["embedded"] == first["chunks"]["total"] == len((tmp_path / "log").read_text().splitlines())
    files = {path.name for path in docs.iterdir()}
    assert files <= set(opened)  # so an opened file is seen
    opened.clear()
    second = pipeline.folder(docs)
    assert second["documents"]["unchanged"] == 6
    assert second["chunks"] == {"total": first["chunks"]["total"], "embedded": 0, "reused": first["chunks"]["total"]}
    assert not files & set(opened)
    assert verify(pipeline.runtime).clean


@both_ledgers
def test_an_edited_paragraph_embeds_its_chunk_alone(make_pipeline, docs):
    pipeline = make_pipeline()
    pipeline.folder(docs)
    path = docs / "d3.txt"
    path.write_text(path.read_text().replace("doc3 paragraph 2", "doc3 walrus 2"))
    result = pipeline.folder(docs)
    assert result["documents"]["changed"] == 1
    assert result["chunks"]["embedded"] == 1
    assert hits(pipeline, "walrus")[0] == "d3.txt"
    report = verify(pipeline.runtime)
    assert report.clean
    assert report.to_dict()["points_found"] == result["chunks"]["total"]


@both_ledgers
def test_what_vanished_is_gone_with_its_text_and_vectors(make_pipeline, docs):
    pipeline = make_pipeline()
    pipeline.folder(docs)
    (docs / "d1.txt").unlink()
    result = pipeline.folder(docs)
    assert result["documents"]["deleted"] == 1
    assert result["documents"]["seen"] == 5
    assert "d1.txt" not in hits(pipeline, "doc1 paragraph", limit=50)
    assert "d1.txt" not in pipeline.stages()
    assert count(pipeline, "embeddings") == count(pipeline, "chunks") == result["chunks"]["total"]
    assert verify(pipeline.runtime).clean


def test_a_deleted_document_comes_back(make_pipeline, docs):
    pipeline = make_pipeline()
    text = (docs / "d1.txt").read_text()
    pipeline.folder(docs)
    (docs / "d1.txt").unlink()
    pipeline.folder(docs)
    (docs / "d1.txt").write_text(text)
    result = pipeline.folder(docs)
    assert result["documents"]["new"] == 1
    assert hits(pipeline, "doc1")[0] == "d1.txt"
    assert verify(pipeline.runtime).clean


@both_ledgers
def test_skipped_and_quarantined_files_are_named_and_add_up(make_pipeline, docs):
    (docs / "empty.txt").write_text("")
    (docs / "blank.txt").write_text(" \n\t ")
    (docs / "noise.bin").write_bytes(bytes(range(256)) * 40)
    pipeline = make_pipeline()
    result = pipeline.folder(docs)
    assert result["outcome"] == "degraded"
    assert adds_up(result["documents"])
    assert (result["documents"]["skipped"], result["documents"]["quarantined"]) == (2, 1)
    rows = {
        row["document"].rpartition("/")[2]: row
        for row in list_documents(pipeline.runtime, collection=None, status=None)
    }
    assert rows["empty.txt"]["status"] == rows["blank.txt"]["status"] == "skipped"
    assert rows["noise.bin"]["status"] == "quarantined"
    assert all(rows[name]["reason"] for name in ("empty.txt", "blank.txt", "noise.bin"))
    again = pipeline.folder(docs)
    assert again["outcome"] == "degraded"  # a known one still counts
    assert (again["documents"]["skipped"], again["documents"]["quarantined"]) == (2, 1)
    assert adds_up(again["documents"])


def test_a_file_that_becomes_empty_leaves_the_index(make_pipeline, docs):
    pipeline = make_pipeline()
    pipeline.folder(docs)
    (docs / "d2.txt").write_text("   ")
    result = pipeline.folder(docs)
    assert result["documents"]["skipped"] == 1
    assert "d2.txt" not in hits(pipeline, "doc2", limit=50)
    assert verify(pipeline.runtime).clean


def test_indexing_another_folder_leaves_the_first_alone(make_pipeline, docs, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "o.txt").write_text("otherness of things")
    pipeline = make_pipeline()
    pipeline.folder(docs)
    result = pipeline.folder(other)
    assert (result["documents"]["seen"], result["documents"]["deleted"]) == (1, 0)
    assert len(pipeline.stages()) == 7


@both_ledgers
def test_a_mass_deletion_that_the_source_itself_reports_asks_too(make_pipeline):
    """A commit that deletes everything, a mailbox that was emptied: removals count as absences do."""
    documents = {f"d{number}": f"text number {number}" for number in range(6)}
    pipeline = make_pipeline(sync={"deletion_guard_count": 2, "deletion_guard_share": 0.5, "batch_size": 2})
    kept = SourceRequest(connector="fake-connector", name="fake", config={"documents": documents})
    pipeline.index(kept)
    emptied = {"documents": {}, "removed": sorted(documents), "incomplete": True}
    source = SourceRequest(connector="fake-connector", name="fake", config=emptied)
    refused = pipeline.index(source)
    assert refused["outcome"] == "failed" and "6 of 6 documents have vanished" in refused["errors"][0]
    again = pipeline.index(source)
    assert "6 of 6 documents have vanished" in again["errors"][0] and again["documents"]["deleted"] == 0
    assert len(pipeline.stages()) == 6
    allowed = pipeline.index(source, allow_deletions=True)
    assert allowed["outcome"] == "succeeded"
    assert not pipeline.stages() and verify(pipeline.runtime).clean


@both_ledgers
def test_removals_are_judged_together_however_many_slices_name_them(make_pipeline, tmp_path):
    """A cursor that has passed a removal by the time the run ends forgets nothing."""
    texts = {f"d{number}": f"text number {number}" for number in range(6)}
    file = tmp_path / "documents.json"
    source = fake_source(documents_file=str(file), incremental=True, checkpoint_every=1)
    pipeline = make_pipeline(sync={"deletion_guard_count": 2, "deletion_guard_share": 0.5}, work={"time_slice": 0.0001})
    file.write_text(json.dumps(texts))
    pipeline.index(source)
    file.write_text(json.dumps({name: texts[name] for name in ("d4", "d5")}))
    refused = pipeline.index(source)
    assert "4 of 6 documents have vanished" in refused["errors"][0]
    assert len(pipeline.stages()) == 6
    allowed = pipeline.index(source, allow_deletions=True)
    assert allowed["documents"]["deleted"] == 4
    assert set(pipeline.stages()) == {"d4", "d5"}


@both_ledgers
def test_what_a_run_that_failed_said_of_removals_is_not_believed_later(make_pipeline, tmp_path):
    texts = {f"d{number}": f"text number {number}" for number in range(6)}
    file = tmp_path / "documents.json"
    options = {"documents_file": str(file), "incremental": True, "checkpoint_every": 2}
    pipeline = make_pipeline(work={"max_attempts": 1})
    file.write_text(json.dumps(texts))
    pipeline.index(fake_source(**options))
    file.write_text(json.dumps({name: texts[name] for name in texts if name not in ("d0", "d1")}))
    failed = pipeline.index(fake_source(**options, fail_after=3))  # behind the checkpoint that passed both removals
    assert (failed["outcome"], failed["documents"]["deleted"]) == ("failed", 0)
    assert len(pipeline.stages()) == 6
    file.write_text(json.dumps({name: texts[name] for name in texts if name != "d1"}))
    ended = pipeline.index(fake_source(**options))
    assert (ended["outcome"], ended["documents"]["deleted"]) == ("succeeded", 1)  # named again, for its cursor was kept
    assert set(pipeline.stages()) == set(texts) - {"d1"}


@both_ledgers
def test_a_mass_deletion_pauses_the_source_and_asks(make_pipeline, docs):
    pipeline = make_pipeline(sync={"deletion_guard_count": 2, "deletion_guard_share": 0.5})
    pipeline.folder(docs)
    for number in range(4):
        (docs / f"d{number}.txt").unlink()
    refused = pipeline.folder(docs)
    assert refused["outcome"] == "failed"
    assert "4 of 6" in refused["errors"][0] and "--allow-deletions" in refused["errors"][0]
    assert len(pipeline.stages()) == 6
    allowed = pipeline.folder(docs, allow_deletions=True)
    assert allowed["documents"]["deleted"] == 4
    assert len(pipeline.stages()) == 2


def test_an_incomplete_enumeration_removes_nothing(make_pipeline):
    pipeline = make_pipeline()
    texts = {f"t{number}": f"text number {number}" for number in range(5)}
    pipeline.index(fake_source(documents=texts))
    partial = pipeline.index(fake_source(documents={"t0": texts["t0"]}, incomplete=True))
    assert partial["documents"]["deleted"] == 0
    removed = pipeline.index(fake_source(documents={"t0": texts["t0"]}, incomplete=True, removed=["t3"]))
    assert removed["documents"]["deleted"] == 1
    assert set(pipeline.stages()) == {"t0", "t1", "t2", "t4"}


def fake_source(**config) -> SourceRequest:
    return SourceRequest(connector="fake-connector", name="fake", config=config)


@both_ledgers
def test_a_sync_resumes_at_its_checkpoint(make_pipeline, tmp_path):
    log = tmp_path / "fetched"
    pipeline = make_pipeline(plugins={"fake-connector": {"log_path": str(log)}}, work={"time_slice": 0.001})
    texts = {f"t{number:03}": f"text number {number}" for number in range(100)}
    result = pipeline.index(fake_source(documents=texts, checkpoint_every=10))
    assert result["documents"]["new"] == 100
    assert len(log.read_text().splitlines()) == 100  # each was fetched once, though the sync was many slices


def test_backpressure_ends_a_slice(make_pipeline):
    pipeline = make_pipeline(work={"max_in_flight": 20})
    texts = {f"t{number:03}": f"text number {number}" for number in range(100)}
    pipeline.index(fake_source(documents=texts, checkpoint_every=10), run=False)
    work_on(pipeline.runtime, "sync")
    assert 20 < len(pipeline.stages()) <= 31
    pipeline.run()
    assert set(pipeline.stages().values()) == {"indexed"}
    assert len(pipeline.stages()) == 100


@pytest.mark.parametrize("failure", ["transient", "permanent", "bug"])
def test_a_document_that_cannot_be_fetched_harms_nobody(make_pipeline, failure):
    pipeline = make_pipeline()
    texts = {f"t{number}": f"text number {number}" for number in range(5)}
    result = pipeline.index(fake_source(documents=texts, fail_fetch={"t2": failure}))
    assert result["outcome"] == "degraded"
    assert result["documents"]["quarantined"] == 1
    assert pipeline.unit("t2")["error"]["stage"] == "sync"
    mended = pipeline.index(fake_source(documents={**texts, "t2": "another text"}))
    assert mended["outcome"] == "succeeded"


@pytest.mark.parametrize("count", [1000, pytest.param(20_000, marks=pytest.mark.chaos)])
def test_a_document_of_thousands_of_chunks_yields_and_resumes(make_pipeline, tmp_path, count):
    log = tmp_path / "log"
    folder = tmp_path / "large"
    folder.mkdir()
    (folder / "large.txt").write_text("\n\n".join(f"item {number} of a very long list" for number in range(count)))
    config = {
        "embedding": {"plugin": "fake-embedder", "options": {}},
        "chunking": {"plugin": "recursive", "options": {"max_tokens": 8, "min_tokens": 1, "overlap_tokens": 0}},
    }
    plugins = {"fake-embedder": {"log_path": str(log)}}
    options = {"embed": {"pool_chunks": 128}, "upsert": {"batch_size": 64}, "work": {"time_slice": 0.05}}
    first = make_pipeline(plugins=plugins, **options)
    operation = first.folder(folder, config=config, run=False)["id"]
    first.run("sync", "chunk", "extract")
    work_on(first.runtime, "embed")
    assert 0 < first.unit("large.txt")["embedded"] < count  # it left in the middle
    assert first.unit("large.txt")["stage"] == "embed"
    first.runtime.close()
    second = make_pipeline(plugins=plugins, **options)  # another process goes on
    second.runtime.index(second.runtime.generation(1))
    if count < 20_000:
        second.run()
    else:
        tracemalloc.start()
        second.run()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 16 * 2**20  # a batch is in hand, not the document
    assert second.result(operation)["outcome"] == "succeeded"
    lines = log.read_text().splitlines()
    assert len(lines) == len(set(lines)) == second.unit("large.txt")["chunks"] == count
    assert verify(second.runtime).clean


def test_a_text_of_a_hundred_megabytes_is_quarantined_unread_and_the_others_are_indexed(make_pipeline, tmp_path):
    folder = tmp_path / "large"
    folder.mkdir()
    with (folder / "large.txt").open("wb") as file:
        for _ in range(100):
            file.write(b"It says the same again. \n" * 40_000)
    (folder / "small.txt").write_text("A small one.")
    pipeline = make_pipeline()
    result = pipeline.folder(folder)
    assert pipeline.stages() == {"large.txt": "quarantined", "small.txt": "indexed"}
    assert (result["outcome"], result["documents"]["seen"]) == ("degraded", 2)
    error = pipeline.unit("large.txt")["error"]
    assert (error["stage"], error["type"]) == ("chunk", "PermanentError")
    assert "100,000,000 bytes" in error["message"] and "child.max_text_bytes" in error["message"]


def test_a_large_document_that_is_no_text_has_a_limit_of_its_own(make_pipeline, tmp_path):
    """A book of scanned pages has many bytes and little text."""
    folder = tmp_path / "large"
    folder.mkdir()
    (folder / "a.txt").write_text("x" * 3000)
    (folder / "b.pdf").write_bytes(b"%PDF-1.7" + b"x" * 3000)
    pipeline = make_pipeline(child={"max_text_bytes": 2000, "max_bytes": 4000})
    pipeline.folder(folder)
    assert "limit of texts is 2,000" in pipeline.unit("a.txt")["error"]["message"]
    assert "damaged" in pipeline.unit("b.pdf")["error"]["message"]
    both = make_pipeline(child={"max_bytes": 1000}, folder="other")
    both.folder(folder)
    assert "limit of documents is 1,000" in both.unit("a.txt")["error"]["message"]
    assert "limit of documents is 1,000" in both.unit("b.pdf")["error"]["message"]


@both_ledgers
def test_verify_names_damage_and_repair_mends_it(make_pipeline, docs):
    pipeline = make_pipeline()
    pipeline.folder(docs)
    runtime = pipeline.runtime
    index = runtime.ledger.search_view("default").index
    points, _ = runtime.store.scroll(index, fields=["document_id"], limit=100)
    runtime.store.delete(index, ids=[points[0].id, points[1].id])
    runtime.store.set_payload(index, [points[2].id], {"signature": "forged"})
    runtime.store.set_payload(index, [points[4].id], {"epoch": 0})
    orphan = Point(
        id="00000000-0000-0000-0000-000000000001",
        vector=vector(64),
        sparse_text="x",
        payload={"document_id": 999, "epoch": 1},
    )
    runtime.store.insert(index, [orphan])
    report = verify(runtime)
    found = report.to_dict()
    assert (found["missing"], found["stale"], found["orphaned"]) == (2, 2, 1)
    repair(runtime, report)
    pipeline.run()
    assert verify(runtime).clean


def vector(dimension: int):
    return np.ones(dimension, dtype="f4")


@both_ledgers
def test_dropped_documents_go_and_retried_ones_run_again(make_pipeline, docs):
    (docs / "bad.txt").write_text("POISON text")
    pipeline = make_pipeline(plugins={"fake-embedder": {"fail_on": "POISON"}})
    assert pipeline.folder(docs)["documents"]["quarantined"] == 1
    pipeline.runtime.close()
    pipeline = make_pipeline()  # the embedder is mended
    rows = list_documents(pipeline.runtime, collection=None, status="quarantined")
    begin_retry(pipeline.runtime, rows)
    pipeline.run()
    assert pipeline.stages()["bad.txt"] == "indexed"
    rows = [
        row
        for row in list_documents(pipeline.runtime, collection=None, status=None)
        if row["document"].endswith("d0.txt")
    ]
    begin_drop(pipeline.runtime, rows)
    pipeline.run()
    assert "d0.txt" not in pipeline.stages()
    assert verify(pipeline.runtime).clean
    assert pipeline.folder(docs)["documents"]["new"] == 1  # its source still has it
    assert pipeline.stages()["d0.txt"] == "indexed"


def count(pipeline, table: str) -> int:
    with pipeline.runtime.ledger.read() as tx:
        return tx.execute(text(f"select count(*) from {table}")).scalar_one()
