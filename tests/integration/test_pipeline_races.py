"""Two at a time: what one worker does while another, a sync or a person changes the same document."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time

import pytest
from sqlalchemy import select, text

from semantik_pipeline import maintenance
from semantik_pipeline.errors import PermanentError, ServiceUnavailable, StorageFull
from semantik_pipeline.ledger.documents import content
from semantik_pipeline.ledger.ingestion import revisions, sync
from semantik_pipeline.ledger.queue import work
from semantik_pipeline.ledger.tables import documents, sources
from semantik_pipeline.operations import SourceRequest, begin_drop, list_documents
from semantik_pipeline.pipeline import QUEUES, work_on
from semantik_pipeline.search import SearchQuery, search
from semantik_pipeline.stages import chunk as chunk_stage
from semantik_pipeline.stages import embed as embed_stage
from semantik_pipeline.stages.claims import Claims
from semantik_pipeline.stages.comparison import Comparison
from semantik_pipeline.stages.points import PointBuilder
from semantik_pipeline.stages.upsert import Upsert
from semantik_pipeline.testing import FakeConnector
from semantik_pipeline.verification import verify

LEDGERS = ("sqlite", "postgres")


def source(**documents: str) -> SourceRequest:
    return SourceRequest(connector="fake-connector", name="fake", config={"documents": documents})


def paragraph(name: str) -> str:
    return " ".join(f"{name}{number}" for number in range(30))


def paragraphs(name: str, count: int) -> str:
    return "\n\n".join(paragraph(f"{name}{number}x") for number in range(count))


def arrive(pipeline, **documents: str) -> None:
    """The source has these documents now; nothing but its sync has run."""
    pipeline.index(source(**documents), run=False)
    work_on(pipeline.runtime, "sync")


def take_upsert(pipeline, *, limit: int = 8, deadline: float = 60) -> tuple[Upsert, list[work.Unit]]:
    taken = Claims(pipeline.runtime, "upsert", limit=limit, deadline=deadline, until=time.monotonic() + 60).take()
    units = list(taken.claim.units)
    return Upsert(pipeline.runtime, taken.claim, taken.hold, pipeline.runtime.generation(units[0].generation_id)), units


def shown(pipeline, query: str) -> list[str]:
    return [hit.text for hit in search(pipeline.runtime, SearchQuery(text=query, rerank=False)).hits]


def test_a_large_document_that_changes_while_it_is_written_in_company_is_read_anew(make_pipeline, monkeypatch):
    pipeline = make_pipeline(upsert={"batch_size": 2})
    arrive(pipeline, large=paragraphs("old", 6), small=paragraph("small"))
    pipeline.run("chunk", "embed")
    writing, units = take_upsert(pipeline)
    assert len(units) == 2
    insert, changed = Upsert._insert, []

    def insert_and_be_overtaken(self, builder) -> None:
        insert(self, builder)
        if any("old" in point.payload["text"] for _, batch in builder.batches() for point in batch.points):
            if not changed:
                arrive(pipeline, large=paragraphs("new", 6), small=paragraph("small"))
            changed.append(True)

    monkeypatch.setattr(Upsert, "_insert", insert_and_be_overtaken)
    writing._write_small = lambda units: None  # the small one is still in hand when the large one is written
    writing.run(units)
    assert pipeline.unit("large")["stage"] == "chunk"  # where its new revision begins
    monkeypatch.undo()
    with pipeline.runtime.ledger.write() as tx:
        work.give_back(tx, writing.claim.token)
    pipeline.run()
    assert not [hit for hit in shown(pipeline, "old0x1 old0x2") if "old" in hit]
    assert [hit for hit in shown(pipeline, "new0x1 new0x2") if "new0x1" in hit]
    assert verify(pipeline.runtime).clean


def test_what_an_abandoned_revision_wrote_over_is_written_again(make_pipeline):
    """The first revision comes back after half of the second was written: its points are not what they were."""
    pipeline = make_pipeline()
    first, second = paragraph("same"), f"{paragraph('same')}\n\n{paragraph('more')}"
    pipeline.index(source(doc=first))
    arrive(pipeline, doc=second)
    pipeline.run("chunk", "embed")
    writing, units = take_upsert(pipeline)
    writing.index = pipeline.runtime.index(writing.generation)
    writing._touch(units)
    builder = PointBuilder(pipeline.runtime, writing.generation)
    with pipeline.runtime.ledger.read() as tx:
        rows = content.chunk_rows(tx, units[0], units[0].chunks_epoch)
    assert builder.add([(units[0], rows)])
    writing._insert(builder)  # and here it dies
    pipeline.index(source(doc=first))
    assert verify(pipeline.runtime).clean


@pytest.mark.parametrize("after", ["changed", "deleted", "lease over, then changed"])
def test_who_wakes_up_late_writes_and_dies_leaves_no_point_for_good(make_pipeline, after: str) -> None:
    """A holder stops before its insert, the next revision is indexed, and the holder continues.

    It dies before it can report that its lease is gone. Its points are of an older epoch: search hides them, and
    maintenance removes them.
    """
    pipeline = make_pipeline()
    arrive(pipeline, doc=paragraph("first"), other=paragraph("other"))
    pipeline.run("chunk", "embed")
    writing, units = take_upsert(pipeline, deadline=1)  # whoever comes alone waits no longer for what stands still
    writing.index = pipeline.runtime.index(writing.generation)
    writing._touch(units)
    builder = PointBuilder(pipeline.runtime, writing.generation)
    with pipeline.runtime.ledger.read() as tx:
        assert builder.add([(unit, content.chunk_rows(tx, unit, unit.chunks_epoch)) for unit in units])
    if after.startswith("lease"):
        with pipeline.runtime.ledger.write() as tx:
            tx.execute(text("update work set lease_until = 0"))
        maintenance.tick(pipeline.runtime)
    now_there = {"other": paragraph("other")} | ({} if after == "deleted" else {"doc": paragraph("second")})
    pipeline.index(source(**now_there), allow_deletions=True)
    writing._insert(builder)
    report = verify(pipeline.runtime).to_dict()
    assert (report["missing"], report["orphaned"], report["stale"]) == (0, 1, 0)
    assert not [hit for hit in shown(pipeline, "first1 first2") if "first" in hit]
    maintenance.tick(pipeline.runtime)
    pipeline.run()
    assert verify(pipeline.runtime).clean
    maintenance.tick(pipeline.runtime)
    assert not maintenance.ring_due(pipeline.runtime)  # once


def test_a_small_document_whose_chunk_rows_are_gone_gets_them_anew(make_pipeline):
    pipeline = make_pipeline()
    arrive(pipeline, doc=paragraph("one"))
    pipeline.run("chunk", "embed")
    with pipeline.runtime.ledger.write() as tx:
        tx.execute(text("delete from chunks"))
    pipeline.run(rounds=20)
    assert pipeline.unit("doc")["stage"] == "indexed"
    assert verify(pipeline.runtime).to_dict()["points_found"] == 1


def test_a_parse_that_is_gone_before_extraction_is_made_anew(make_pipeline):
    config = {
        "embedding": {"plugin": "fake-embedder", "options": {}},
        "extraction": {"enabled": True, "chunk": [], "document": [{"plugin": "fake-extractor", "options": {}}]},
    }
    pipeline = make_pipeline()
    pipeline.index(source(doc="Written on 3 May 2024 by Ada"), config=config, run=False)
    pipeline.run("sync", "chunk")
    unit = pipeline.unit("doc")
    assert unit["stage"] == "extract"
    blobs = pipeline.runtime.blobs
    blobs._fs.rm_file(blobs._path(f"parsed/{unit['parse_key']}"))
    pipeline.run(rounds=20)
    assert pipeline.unit("doc")["stage"] == "indexed"
    assert pipeline.unit("doc")["extracted"]


def test_a_document_that_is_removed_and_named_again_in_one_batch_stays(make_pipeline):
    pipeline = make_pipeline()
    pipeline.index(source(doc="a text"))
    both = SourceRequest(
        connector="fake-connector", name="fake", config={"documents": {"doc": "a text"}, "removed": ["doc"]}
    )
    pipeline.index(both)
    assert pipeline.stages() == {"doc": "indexed"}


def test_a_sync_and_a_chunker_of_one_document_do_not_wait_for_each_other_for_ever(make_pipeline, monkeypatch, caplog):
    pipeline = make_pipeline()
    arrive(pipeline, doc="first text")
    set_titles, reached = revisions.set_titles, threading.Event()

    def slowly(tx, *arguments) -> None:
        reached.set()
        time.sleep(1.0)  # the sync gets as far as it can
        set_titles(tx, *arguments)

    monkeypatch.setattr(chunk_stage.revisions, "set_titles", slowly)
    chunking = threading.Thread(target=work_on, args=(pipeline.runtime, "chunk"))
    chunking.start()
    assert reached.wait(60)
    arrive(pipeline, doc="second text")
    chunking.join()
    monkeypatch.undo()
    assert "deadlock" not in caplog.text
    pipeline.run()
    assert shown(pipeline, "text") == ["second text"]


def test_a_document_dropped_while_its_sync_compares_gets_a_revision_of_its_own(make_pipeline, monkeypatch):
    pipeline = make_pipeline()
    pipeline.index(source(doc="first text"))
    compare = Comparison.of

    def compare_while_it_is_dropped(self, batch, before):
        result = compare(self, batch, before)
        begin_drop(pipeline.runtime, list_documents(pipeline.runtime, collection=None, status=None))
        return result

    monkeypatch.setattr(Comparison, "of", compare_while_it_is_dropped)
    arrive(pipeline, doc="second text")
    monkeypatch.undo()
    with pipeline.runtime.ledger.read() as tx:
        assert tx.execute(select(documents.c.revision)).scalar_one() == 3
    pipeline.run()
    assert shown(pipeline, "text") == ["second text"]
    assert verify(pipeline.runtime).clean


def test_edits_while_every_stage_is_at_work(make_pipeline, caplog):
    """Syncs, stages and maintenance side by side, on the same documents: no deadlock, and the last texts win."""
    pipeline = make_pipeline(work={"time_slice": 0.2})
    runtime, done = pipeline.runtime, threading.Event()
    arrive(pipeline, **{f"d{number:02}": f"round 0 of {number}" for number in range(40)})

    def work_until_done(stage: str) -> None:
        while not done.is_set():
            work_on(runtime, stage)
            time.sleep(0.01)

    threads = [threading.Thread(target=work_until_done, args=(stage,)) for stage in QUEUES]
    for thread in threads:
        thread.start()
    try:
        for turn in range(1, 6):
            texts = {f"d{number:02}": f"round {turn} of {number}" for number in range(40) if number % 7 != turn}
            pipeline.index(source(**texts), run=False, allow_deletions=True)
            time.sleep(0.5)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    pipeline.run()
    maintenance.tick(runtime)  # sends what lost its lease in the middle of a write through upsert once more
    pipeline.run()
    assert "deadlock" not in caplog.text and "Traceback" not in caplog.text
    assert set(pipeline.stages().values()) == {"indexed"}
    assert len(pipeline.stages()) == len(texts)
    assert verify(runtime).clean
    hits = shown(pipeline, "round of")
    assert hits and all("round 5" in hit for hit in hits)


def test_an_empty_body_of_an_older_revision_forgets_nothing_of_the_newer(make_pipeline):
    pipeline = make_pipeline()
    pipeline.index(source(doc="first text"))
    arrive(pipeline, doc="second text")
    with pipeline.runtime.ledger.write() as tx:
        revisions.forget_hint(tx, pipeline.unit("doc")["document_id"], 1)
    with pipeline.runtime.ledger.read() as tx:
        assert tx.execute(select(documents.c.content_hash)).scalar_one() is not None


def test_metadata_that_changed_alone_reaches_the_index_and_embeds_nothing(make_pipeline, tmp_path):
    pipeline, corpus = make_pipeline(), tmp_path / "corpus.jsonl"
    lines = SourceRequest(connector="jsonl", name="corpus", config={"path": str(corpus)})
    for year, outcome in ((2020, "new"), (2021, "changed"), (2021, "unchanged")):
        corpus.write_text(json.dumps({"_id": "1", "title": "Leases", "text": "They expire.", "year": year}) + "\n")
        os.utime(corpus, (0, time.monotonic()))
        result = pipeline.index(lines)
        assert result["documents"][outcome] == 1
        answer = search(pipeline.runtime, SearchQuery(text="leases", rerank=False))
        assert [hit.metadata["year"] for hit in answer.hits] == [year]
    assert result["chunks"]["embedded"] == 0
    assert verify(pipeline.runtime).clean


def test_a_touched_file_is_unchanged(make_pipeline, tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.txt").write_text("a text")
    pipeline = make_pipeline()
    pipeline.folder(tmp_path / "docs")
    os.utime(tmp_path / "docs" / "a.txt", (0, 86400))
    assert pipeline.folder(tmp_path / "docs")["documents"]["unchanged"] == 1


# -- leases ----------------------------------------------------------------------------------------------------------


def test_a_ledger_that_fails_while_texts_are_gathered_keeps_no_lease(make_pipeline, monkeypatch):
    pipeline = make_pipeline()
    arrive(pipeline, one="first text", two="second text")
    pipeline.run("chunk")

    def away(*_, **__):
        raise ServiceUnavailable("The ledger is away.")

    monkeypatch.setattr(embed_stage.content, "unembedded_of", away)
    with pytest.raises(ServiceUnavailable):
        work_on(pipeline.runtime, "embed")
    monkeypatch.undo()
    assert pipeline.unit("one")["lease_token"] is None
    assert not pipeline.unit("one")["suspect"]
    pipeline.run()
    assert set(pipeline.stages().values()) == {"indexed"}


def test_what_was_saved_counts_when_a_later_part_fails(make_pipeline):
    """Two failures, then progress, then a failure: that is one failure, not the third."""
    pipeline = make_pipeline(work={"max_attempts": 3})
    arrive(pipeline, doc="a text")
    with pipeline.runtime.ledger.write() as tx:
        tx.execute(text("update work set attempts = 2"))
        claim = work.claim(tx, "chunk", worker="w", lease=60, limit=1)
        (unit,) = claim.units
        work.save_progress(tx, unit, progress={"ordinal": 5})
        quarantined = work.charge(tx, unit, {"type": "X", "message": "x"}, max_attempts=3, backoff=0)
    assert not quarantined
    assert pipeline.unit("doc")["attempts"] == 1


def test_a_source_whose_workers_die_is_given_up_after_its_attempts(make_pipeline):
    pipeline = make_pipeline(work={"max_attempts": 2})
    operation = pipeline.index(source(doc="a text"), run=False)["id"]
    for alone in (False, True, True):  # the first death, in company, is not charged
        with pipeline.runtime.ledger.write() as tx:
            assert sync.claim_source(tx, worker="dead", lease=0.01, alone=not alone) is None
            assert sync.claim_source(tx, worker="dead", lease=0.01, alone=alone) is not None
        time.sleep(0.05)
        maintenance.tick(pipeline.runtime)
    with pipeline.runtime.ledger.read() as tx:
        assert sync.sources_due(tx) == (False, False)
    result = pipeline.result(operation)
    assert result["outcome"] == "failed"
    assert "died" in result["errors"][0]


def test_a_slow_source_makes_progress_with_each_document(make_pipeline, monkeypatch):
    fetch = FakeConnector.fetch

    async def slowly(self, reference):
        await asyncio.sleep(0.1)
        return await fetch(self, reference)

    monkeypatch.setattr(FakeConnector, "fetch", slowly)
    pipeline = make_pipeline(sync={"progress_timeout": 0.4})
    arrive(pipeline, **{f"d{number}": f"text {number}" for number in range(6)})
    assert len(pipeline.stages()) == 6


# -- servers that are away, and words that no database keeps ---------------------------------------------------------


def test_a_source_that_is_away_harms_none_of_its_documents(make_pipeline, monkeypatch):
    fetch, calls = FakeConnector.fetch, []

    async def away_at_first(self, reference):
        calls.append(reference.unique_id)
        if len(calls) <= 4:
            raise ServiceUnavailable("The source is away.")
        return await fetch(self, reference)

    monkeypatch.setattr(FakeConnector, "fetch", away_at_first)
    pipeline = make_pipeline(work={"max_attempts": 9})
    result = pipeline.index(source(one="first text", two="second text"))
    assert result["outcome"] == "succeeded"
    assert pipeline.stages() == {"one": "indexed", "two": "indexed"}


def test_an_error_that_says_what_no_database_keeps_is_kept(make_pipeline, monkeypatch):
    def refuse(*_):
        raise PermanentError("It begins with \x00 and goes on with \udcff.")

    monkeypatch.setattr(embed_stage, "checked", refuse)
    pipeline = make_pipeline()
    result = pipeline.index(source(doc="a text"))
    assert result["outcome"] == "degraded"
    assert pipeline.unit("doc")["error"]["message"].startswith("It begins with \ufffd")


def test_a_full_disk_stops_the_process_and_blames_no_document(make_pipeline, monkeypatch):
    def full(*_):
        raise StorageFull("The disk is full.")

    pipeline = make_pipeline()
    arrive(pipeline, one="first text", two="second text")
    monkeypatch.setattr(type(pipeline.runtime.blobs), "put_many", full)
    work_on(pipeline.runtime, "chunk")
    monkeypatch.undo()
    assert isinstance(pipeline.runtime.fatal, StorageFull)
    assert [(pipeline.unit(name)["stage"], pipeline.unit(name)["attempts"]) for name in ("one", "two")] == [
        ("chunk", 0)
    ] * 2
    pipeline.runtime.fatal = None
    pipeline.run()
    assert set(pipeline.stages().values()) == {"indexed"}


def test_half_a_revision_that_the_store_refuses_is_taken_back(make_pipeline, monkeypatch):
    pipeline = make_pipeline(upsert={"batch_size": 2})
    old = paragraphs("old", 6)
    pipeline.index(source(doc=old))
    store = type(pipeline.runtime.store)
    insert = store.insert

    def refuse_the_fifth(self, name, points, **options) -> None:
        if any("new4x" in point.payload["text"] for point in points):
            raise PermanentError("The point is too large.")
        insert(self, name, points, **options)

    monkeypatch.setattr(store, "insert", refuse_the_fifth)
    result = pipeline.index(source(doc=paragraphs("new", 6)))
    assert result["outcome"] == "degraded"
    hits = shown(pipeline, "old0x1 new0x1")
    assert hits and all(hit.startswith("old") for hit in hits)
    assert verify(pipeline.runtime).clean
    monkeypatch.undo()
    pipeline.index(source(doc=old))
    assert verify(pipeline.runtime).clean


# -- forgetting ------------------------------------------------------------------------------------------------------


def test_a_deleted_document_leaves_no_word_behind(make_pipeline):
    config = {
        "embedding": {"plugin": "fake-embedder", "options": {}},
        "extraction": {"enabled": True, "chunk": [], "document": [{"plugin": "fake-extractor", "options": {}}]},
    }
    pipeline = make_pipeline()
    secret = "Secretive report of 3 May 2024 by Ada"
    pipeline.index(source(one=secret, two=secret, other="something else"), config=config)
    pipeline.index(source(other="something else"), allow_deletions=True)
    with pipeline.runtime.ledger.read() as tx:
        assert tx.execute(text("select count(*) from extractions")).scalar_one() == 1
        for table in ("documents", "work", "chunks", "extractions"):
            for row in tx.execute(text(f"select * from {table}")).all():
                said = str(row)  # not the year alone: the digits of a time may have it
                assert not any(word in said for word in ("May 2024", "Ada", "Secretive")), (table, row)
        assert tx.execute(select(sources.c.id)).all()
