"""Another build of a collection's index beside the one that search reads: filled, verified, switched to, taken back."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from semantik_pipeline import generations, maintenance, operations
from semantik_pipeline.errors import Conflict, FingerprintMismatch, UsageError
from semantik_pipeline.generations import building
from semantik_pipeline.ledger.catalog import collections as ledger_collections
from semantik_pipeline.ledger.documents import document_reports
from semantik_pipeline.ledger.generations import backfill, builds, switching
from semantik_pipeline.ledger.ingestion import revisions
from semantik_pipeline.ledger.operations import operation_reports
from semantik_pipeline.ledger.queue import backlog
from semantik_pipeline.ledger.queue import work as work_ledger
from semantik_pipeline.ledger.tables import chunks, documents, embeddings, operation_items, work
from semantik_pipeline.ledger.tables import generations as table
from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.pipeline import work_on
from semantik_pipeline.search import SearchQuery, search
from semantik_pipeline.verification import verify
from tests.integration.conftest import FAKE_COLLECTION, texts

#: Builds, their switch and their end are rows of the ledger; what is computed, and what a plan says, is not.
both_ledgers = pytest.mark.parametrize("ledger", ["sqlite", "postgres"], indirect=True)

WORDS = [
    "lease",
    "epoch",
    "bell",
    "ledger",
    "broker",
    "worker",
    "queue",
    "chunk",
    "vector",
    "index",
    "reranker",
    "document",
]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Twenty documents."""
    return documents_of(tmp_path / "corpus", 20)


def documents_of(folder: Path, count: int) -> Path:
    """So many documents of three chunks or so each, every sentence its own."""
    contents = {
        f"d{number:02}": "\n\n".join(
            " ".join(f"{word}{number:02}x{part} speaks of {word}." for word in WORDS) for part in range(3)
        )
        for number in range(count)
    }
    return texts(folder, **contents)


def build(pipe, operation_id: int, rounds: int = 200) -> dict:
    """Let maintenance and the stages work until the operation has ended."""
    for _ in range(rounds):
        building.advance(pipe.runtime, seconds=5)
        pipe.run()
        if pipe.result(operation_id)["outcome"] is not None:
            return pipe.result(operation_id)
    raise AssertionError(f"not at its end: {shown(pipe, operation_id)}")


def shown(pipe, operation_id: int) -> dict:
    with pipe.runtime.ledger.read() as tx:
        return operation_reports.show_operation(tx, operation_id, workers=None)


def clear(pipe) -> None:
    """Let maintenance remove what is retired."""
    while building.advance(pipe.runtime, seconds=5):
        pass


def states(pipe) -> list[str]:
    """Of the collection's generations, newest first."""
    query = select(table.c.state).order_by(table.c.id.desc())
    with pipe.runtime.ledger.read() as tx:
        return list(tx.execute(query).scalars())


def ask(pipe, text: str = "epoch03x1", **options) -> list[str]:
    query = SearchQuery(text=text, limit=5, rerank=False, **options)
    return [Path(hit.document).stem for hit in search(pipe.runtime, query).hits]


def view(pipe):
    return pipe.runtime.ledger.search_view("default")


def rows(pipe, *tables) -> list[int]:
    with pipe.runtime.ledger.read() as tx:
        return [tx.execute(select(func.count()).select_from(one)).scalar_one() for one in tables]


@both_ledgers
def test_a_model_of_another_dimension_takes_over(make_pipeline, corpus):
    pipe = make_pipeline()
    pipe.folder(corpus)
    before = view(pipe)
    assert ask(pipe)[0] == "d03"
    operation_id = generations.reindex(pipe.runtime, "default", {"embedding.dimension": 32})
    assert view(pipe) == before
    result = build(pipe, operation_id)
    assert result["outcome"] == "succeeded", result
    assert result["documents"]["seen"] == 20
    assert result["gate"]["reason"] is None
    assert result["gate"]["probes"] == result["gate"]["found"] == result["chunks"]["total"]
    after = view(pipe)
    assert (before.dimension, after.dimension) == (64, 32)
    assert after.index != before.index
    assert ask(pipe)[0] == "d03"
    assert states(pipe) == ["active", "kept"]
    assert verify(pipe.runtime).clean
    with pipe.runtime.ledger.read() as tx:
        assert ledger_collections.get_collection(tx, "default").config["embedding"]["options"]["dimension"] == 32


@both_ledgers
def test_what_changes_meanwhile_reaches_both_and_a_rollback_loses_nothing(make_pipeline, corpus):
    pipe = make_pipeline()
    pipe.folder(corpus)
    operation_id = generations.reindex(pipe.runtime, "default", {"embedding.dimension": 32})
    building.advance(pipe.runtime, seconds=5)  # filled; nothing is worked on yet
    (corpus / "d03.txt").write_text("a changed document about zebras")
    (corpus / "d04.txt").unlink()
    texts(corpus, new="a new document about okapis")
    pipe.folder(corpus, run=False)
    assert build(pipe, operation_id)["outcome"] == "succeeded"

    def check() -> None:
        assert ask(pipe, "zebras")[0] == "d03"
        assert ask(pipe, "okapis")[0] == "new"
        assert "d04" not in ask(pipe, "epoch04x1")
        assert verify(pipe.runtime).clean

    check()
    (corpus / "d05.txt").write_text("changed after the switch, about quaggas")
    pipe.folder(corpus)
    replaced = view(pipe)
    generations.rollback(pipe.runtime, "default")
    assert view(pipe).dimension == 64
    check()
    assert ask(pipe, "quaggas")[0] == "d05"
    generations.rollback(pipe.runtime, "default")  # and forward again
    assert view(pipe) == replaced
    check()


def test_only_what_changed_is_computed(make_pipeline, corpus, tmp_path):
    log = tmp_path / "embedded"
    pipe = make_pipeline(plugins={"fake-embedder": {"log_path": str(log)}})
    pipe.folder(corpus)

    def embedded() -> int:
        return len(log.read_text().splitlines())

    first = embedded()
    operation_id = generations.reindex(
        pipe.runtime, "default", {"extraction": True, "extraction.chunk": ["fake-extractor"]}
    )
    parsed = []
    original = pipe.runtime.children.run
    pipe.runtime.children.run = lambda task, *args, **named: (
        parsed.append(task.__name__),
        original(task, *args, **named),
    )[1]
    result = build(pipe, operation_id)
    assert result["outcome"] == "succeeded"
    assert result["chunks"]["embedded"] == 0
    assert embedded() == first
    assert "parse_and_chunk" not in parsed  # chunks are taken over
    only_what_is_new_is_embedded(pipe, log)


@pytest.mark.chaos
@pytest.mark.timeout(900)
def test_of_a_thousand_documents_only_what_changed_is_computed(make_pipeline, tmp_path):
    log = tmp_path / "embedded"
    pipe = make_pipeline(plugins={"fake-embedder": {"log_path": str(log)}})
    result = pipe.folder(documents_of(tmp_path / "corpus", 1000))
    assert (result["outcome"], result["documents"]["seen"]) == ("succeeded", 1000)
    before = len(log.read_text().splitlines())
    changes = {"extraction": True, "extraction.chunk": ["fake-extractor"]}
    result = build(pipe, generations.reindex(pipe.runtime, "default", changes))
    assert (result["chunks"]["embedded"], len(log.read_text().splitlines())) == (0, before)
    only_what_is_new_is_embedded(pipe, log)


def only_what_is_new_is_embedded(pipe, log: Path) -> None:
    """Another chunk size embeds exactly the texts that were not seen before."""
    first = len(log.read_text().splitlines())
    with pipe.runtime.ledger.read() as tx:
        known = set(tx.execute(select(embeddings.c.key)).scalars())
    result = build(pipe, generations.reindex(pipe.runtime, "default", {"chunking.max_tokens": 25}))
    with pipe.runtime.ledger.read() as tx:
        now = set(
            tx.execute(select(chunks.c.embed_key).where(chunks.c.generation_id == view(pipe).generation_id)).scalars()
        )
    assert result["chunks"]["embedded"] == len(now - known) == len(log.read_text().splitlines()) - first > 0


def test_a_plan_foretells_it(make_pipeline, corpus):
    pipe = make_pipeline()
    pipe.folder(corpus)
    total = rows(pipe, chunks)[0]
    same = generations.plan(pipe.runtime, "default")
    assert (same.documents, same.chunks, same.texts_to_embed, same.changes) == (20, total, 0, [])
    other_model = generations.plan(pipe.runtime, "default", {"embedding.dimension": 32})
    assert other_model.texts_to_embed == total
    assert other_model.reuse["parse"] == {"documents": 20, "total": 20}
    assert other_model.changes == ["embedding.options.dimension: 64 → 32"]
    extraction = generations.plan(pipe.runtime, "default", {"extraction.enabled": True})
    assert extraction.texts_to_embed == 0
    assert extraction.reuse["chunk"] == {"documents": 20, "total": 20}
    finer = generations.plan(pipe.runtime, "default", {"chunking.max_tokens": 20})
    assert finer.estimated
    assert finer.chunks > total
    result = build(pipe, generations.reindex(pipe.runtime, "default", {"chunking.max_tokens": 20}))
    assert finer.chunks == result["chunks"]["total"]  # all documents are in the sample
    assert finer.texts_to_embed == result["chunks"]["embedded"]


@both_ledgers
def test_a_build_that_loses_documents_is_not_switched_to(make_pipeline, corpus):
    pipe = make_pipeline(plugins={"fake-chunker": {"fail_on": "lease07x0"}})
    pipe.folder(corpus)
    before = view(pipe)
    changes = {"chunking.plugin": "fake-chunker"}
    result = build(pipe, generations.reindex(pipe.runtime, "default", changes))
    assert result["outcome"] == "failed"
    assert "1 documents that search finds now are not in the build" in result["errors"][0]
    assert "d07" in result["errors"][0]
    assert view(pipe) == before
    clear(pipe)
    assert states(pipe) == ["active"]
    assert pipe.runtime.host.call(pipe.runtime.store.list_indexes) == [before.index]
    assert verify(pipe.runtime).clean
    accepted = build(pipe, generations.reindex(pipe.runtime, "default", changes, accept_losses=True))
    assert accepted["outcome"] == "degraded"
    assert (accepted["gate"]["losses"], accepted["documents"]["quarantined"]) == (1, 1)
    assert ask(pipe)[0] == "d03"


def test_what_reads_like_a_filter_is_asked_for_as_it_stands(make_pipeline, tmp_path):
    """A probe is a text, not a question of a person: nothing in it excludes, filters or is an error of typing."""
    said = '{0} git log -{0}x0 source:nowhere after:2099-01-01 says "no such phrase {0}" and -{0}x1'
    pipe = make_pipeline()
    pipe.folder(texts(tmp_path / "manual", **{word: said.format(word) for word in WORDS}))
    result = build(pipe, generations.reindex(pipe.runtime, "default", {"embedding.dimension": 32}))
    assert result["outcome"] == "succeeded", result
    assert result["gate"]["found"] == result["gate"]["probes"] >= len(WORDS)


@both_ledgers
def test_a_second_one_is_refused_with_the_first_ones_name(make_pipeline, corpus):
    pipe = make_pipeline()
    pipe.folder(corpus)
    outcomes: list[object] = []

    def begin() -> None:
        try:
            outcomes.append(generations.reindex(pipe.runtime, "default", {"embedding.dimension": 32}))
        except Conflict as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=begin) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    begun = [one for one in outcomes if isinstance(one, int)]
    assert len(begun) == 1
    assert all(f"reindex-{begun[0]}" in one for one in outcomes if isinstance(one, str))
    with pytest.raises(UsageError, match="would be the same as the current one"):
        generations.reindex(pipe.runtime, "default", {})


@both_ledgers
@pytest.mark.parametrize("phase", ["backfilling", "building", "verifying"])
def test_cancelled_it_leaves_nothing_behind(make_pipeline, corpus, monkeypatch, phase: str):
    pipe = make_pipeline()
    pipe.folder(corpus)
    before = rows(pipe, chunks, embeddings, work, table)
    indexes = pipe.runtime.host.call(pipe.runtime.store.list_indexes)
    operation_id = generations.reindex(pipe.runtime, "default", {"embedding.dimension": 32})
    monkeypatch.setattr(backfill, "BATCH", 5)
    building.advance(pipe.runtime, seconds=0 if phase == "backfilling" else 5)
    if phase == "backfilling":
        pipe.run("chunk", "embed")
    elif phase == "building":
        for _ in range(3):
            pipe.run("chunk", "embed")
    else:
        pipe.run()
        building.advance(pipe.runtime, seconds=0)
    with pipe.runtime.ledger.read() as tx:
        assert [one.phase for one in builds.building(tx)] == [phase]
    assert rows(pipe, chunks)[0] > before[0]
    operations.cancel(pipe.runtime, operation_id)
    assert pipe.result(operation_id)["outcome"] == "cancelled"
    clear(pipe)
    pipe.run()
    assert rows(pipe, chunks, embeddings, work, table) == before
    assert pipe.runtime.host.call(pipe.runtime.store.list_indexes) == indexes
    assert ask(pipe)[0] == "d03"
    with pytest.raises(UsageError):
        operations.cancel(pipe.runtime, operation_id)


@both_ledgers
def test_a_build_that_is_cancelled_goes_a_slice_at_a_time(make_pipeline, corpus, monkeypatch):
    """However large it is: no transaction has more of its units than a slice, and nobody takes what is left of it."""
    pipe = make_pipeline()
    pipe.folder(corpus)
    operation_id = generations.reindex(pipe.runtime, "default", {"embedding.dimension": 32})
    building.advance(pipe.runtime, seconds=5)
    with pipe.runtime.ledger.write() as tx:
        claimed = work_ledger.claim(tx, "chunk", worker="me", lease=60, limit=3)
    generation_id = claimed.units[0].generation_id
    monkeypatch.setattr(switching, "BATCH", 5)
    before = rows(pipe, work)[0]
    operations.cancel(pipe.runtime, operation_id)
    with pipe.runtime.ledger.read() as tx:
        its = select(work.c.stage, work.c.lease_token.is_not(None)).where(work.c.generation_id == generation_id)
        found = tx.execute(its).all()
    assert sorted(map(tuple, found)) == [("chunk", False)] * (before - 23) + [("chunk", True)] * 3, "none is touched"
    assert maintenance.ring_due(pipe.runtime) == []
    assert not any(work_on(pipe.runtime, stage) for stage in ("chunk", "embed"))
    assert {unit["waiting"] + unit["in_progress"] for unit in backlogs(pipe).values()} == {0}
    for left in (15, 10, 5, 0):
        with pipe.runtime.ledger.write() as tx:
            assert switching.remove_rows(tx, generation_id)
            assert bool(work_ledger.held(tx, claimed.token)) is False
        assert rows(pipe, work) == [20 + left]
    clear(pipe)
    assert states(pipe) == ["retired", "active"], "somebody had units of it, and may be writing still"
    with pipe.runtime.ledger.write() as tx:
        tx.execute(update(table).where(table.c.id == generation_id).values(retire_at=1.0))
    clear(pipe)
    assert states(pipe) == ["active"]


@both_ledgers
def test_the_units_of_a_cancelled_build_leave_the_stages_before_its_rows_go(make_pipeline, corpus, monkeypatch):
    """Whoever claims would read past them until the last row is gone."""
    pipe = make_pipeline()
    pipe.folder(corpus)
    operation_id = generations.reindex(pipe.runtime, "default", {"embedding.dimension": 32})
    building.advance(pipe.runtime, seconds=5)
    with pipe.runtime.ledger.write() as tx:
        claimed = work_ledger.claim(tx, "chunk", worker="me", lease=60, limit=3)
    assert operations.pause(pipe.runtime, operation_id) == 20
    assert operations.cancel(pipe.runtime, operation_id) == 0
    its = work.c.generation_id == claimed.units[0].generation_id
    monkeypatch.setattr(switching, "ASIDE", 6)
    monkeypatch.setattr(switching, "remove_rows", lambda tx, generation_id: False)
    waiting = []
    while building.advance(pipe.runtime, seconds=0):
        with pipe.runtime.ledger.read() as tx:
            waiting.append(list(tx.execute(select(work.c.stage).where(its)).scalars()).count("chunk"))
    assert waiting == [14, 8, 2]
    with pipe.runtime.ledger.write() as tx:
        assert set(tx.execute(select(work.c.stage).where(its)).scalars()) == {"retired"}
        assert not work_ledger.held(tx, claimed.token)
    assert states(pipe) == ["retired", "active"], "somebody had units of it, and may be writing still"
    with pipe.runtime.ledger.read() as tx:
        shown = document_reports.show_document(tx, claimed.units[0].document_id)["generations"]
    assert [one["status"] for one in shown] == ["indexed"]


def backlogs(pipe) -> dict:
    with pipe.runtime.ledger.read() as tx:
        return backlog.by_stage(tx)


@both_ledgers
def test_paused_it_waits_and_keeps_no_sync_from_going_on(make_pipeline, corpus):
    pipe = make_pipeline()
    pipe.folder(corpus)
    operation_id = generations.reindex(pipe.runtime, "default", {"embedding.dimension": 32})
    building.advance(pipe.runtime, seconds=5)
    operations.pause(pipe.runtime, operation_id)
    (corpus / "d03.txt").write_text("a changed document about zebras")
    synced = pipe.folder(corpus)
    assert (synced["outcome"], synced["documents"]["changed"]) == ("succeeded", 1)
    building.advance(pipe.runtime, seconds=5)
    pipe.run()
    assert shown(pipe, operation_id)["state"] == "paused"
    assert states(pipe) == ["building", "active"]
    operations.resume(pipe.runtime, operation_id)
    assert build(pipe, operation_id)["outcome"] == "succeeded"
    assert ask(pipe, "zebras")[0] == "d03"


@both_ledgers
def test_a_kept_generation_retires_when_its_time_is_over(make_pipeline, corpus):
    pipe = make_pipeline()
    pipe.folder(corpus)
    first = view(pipe)
    build(pipe, generations.reindex(pipe.runtime, "default", {"embedding.dimension": 32}))
    clear(pipe)
    assert states(pipe) == ["active", "kept"]
    with pipe.runtime.ledger.write() as tx:
        tx.execute(update(table).where(table.c.id == first.generation_id).values(retire_at=1.0))
    clear(pipe)
    assert states(pipe) == ["active"]
    assert pipe.runtime.host.call(pipe.runtime.store.list_indexes) == [view(pipe).index]
    with pipe.runtime.ledger.read() as tx:
        assert tx.execute(select(func.count()).where(chunks.c.generation_id == first.generation_id)).scalar_one() == 0
    assert verify(pipe.runtime).clean
    with pytest.raises(UsageError, match="no generation to go back to"):
        generations.rollback(pipe.runtime, "default")


def test_a_collection_says_what_is_outdated(make_pipeline, corpus):
    pipe = make_pipeline()
    pipe.folder(corpus)
    assert generations.outdated(pipe.runtime, "default") == []
    with pipe.runtime.ledger.write() as tx:
        tx.execute(update(table).values(plugins={"recursive": "0.0.1", "fake-embedder": "1.0.0"}))
    [line] = generations.outdated(pipe.runtime, "default")
    assert line.startswith("recursive: built with 0.0.1, ")


@both_ledgers
def test_documents_that_meet_a_filter_go_their_way_again(make_pipeline, corpus):
    pipe = make_pipeline(plugins={"fake-chunker": {"fail_on": "lease07x0"}})
    config = {**FAKE_COLLECTION, "chunking": {"plugin": "fake-chunker", "options": {}}}
    assert pipe.folder(corpus, config=config)["documents"]["quarantined"] == 1
    where = {
        "must": [
            {"key": "status", "match": {"value": "quarantined"}},
            {"key": "error.stage", "match": {"value": "chunk"}},
        ]
    }
    operation_id = generations.rerun(pipe.runtime, "default", where)
    pipe.run()
    with pipe.runtime.ledger.read() as tx:
        mine = operation_items.c.operation_id == operation_id
        assert tx.execute(select(func.count()).where(mine)).scalar_one() == 1
    with pytest.raises(UsageError, match="matches the filter"):
        generations.rerun(pipe.runtime, "default", {"must": [{"key": "media_type", "match": {"value": "image/png"}}]})
    with pytest.raises(UsageError):
        generations.rerun(pipe.runtime, "default", {"muss": []})


def test_an_empty_collection_and_documents_without_text_are_built_too(make_pipeline, tmp_path):
    pipe = make_pipeline()
    folder = texts(tmp_path / "few", blank="   ", real="one real text about leases")
    (folder / "broken.pdf").write_bytes(b"%PDF-1.4 no pdf")
    first = pipe.folder(folder)
    assert (first["documents"]["skipped"], first["documents"]["quarantined"]) == (1, 1)
    result = build(pipe, generations.reindex(pipe.runtime, "default", {"embedding.dimension": 32}))
    assert result["outcome"] == "degraded"  # one was in quarantine before, and is
    assert result["documents"]["seen"] == 3
    assert (result["documents"]["skipped"], result["documents"]["quarantined"]) == (1, 1)
    json.dumps(result)


def test_a_document_whose_content_is_not_stored_does_not_start_at_chunk(make_pipeline):
    pipe = make_pipeline()
    given = {"documents": dict.fromkeys(("lost", "read", "refused", "skipped", "unread"), "a text about leases")}
    failing = {"refused": "permanent", "skipped": "skip", "unread": "unreadable"}
    request = SourceRequest(connector="fake-connector", name="fake", config={**given, "fail_fetch": failing})
    pipe.index(request)
    with pipe.runtime.ledger.write() as tx:
        lost = tx.execute(select(documents.c.id, documents.c.revision).where(documents.c.unique_id == "lost")).one()
        revisions.forget_hint(tx, lost.id, lost.revision)  # as when an earlier build found its body missing
    generations.reindex(pipe.runtime, "default", {"embedding.dimension": 32})
    building.advance(pipe.runtime, seconds=5)
    query = select(documents.c.unique_id, work.c.stage, work.c.reason, work.c.error["message"].as_string())
    with pipe.runtime.ledger.read() as tx:
        units = query.join(work, work.c.document_id == documents.c.id).where(work.c.generation_id == 2)
        found = {name: (stage, reason or error or "") for name, stage, reason, error in tx.execute(units)}
    assert {name: stage for name, (stage, _) in found.items()} == {
        "lost": "quarantined", "read": "chunk", "refused": "quarantined", "skipped": "skipped", "unread": "quarantined",
    }  # fmt: skip
    assert found["lost"][1] == "Its stored body is missing. The next sync of its source fetches it."
    assert "skip" in found["skipped"][1] and "permanent" in found["refused"][1] and "unreadable" in found["unread"][1]


@both_ledgers
def test_a_kept_index_that_nobody_can_serve_holds_up_no_sync(make_pipeline, corpus):
    pipe = make_pipeline()
    pipe.folder(corpus)
    first = view(pipe).generation_id
    build(pipe, generations.reindex(pipe.runtime, "default", {"embedding.dimension": 32}))
    with pipe.runtime.ledger.write() as tx:  # as if a newer plugin gave other results than it was built with
        other = {**pipe.runtime.generation(first).fingerprints, "chunk": "0" * 32}
        tx.execute(update(table).where(table.c.id == first).values(fingerprints=other))
    pipe.runtime.close()
    again = make_pipeline()
    (corpus / "d03.txt").write_text("a changed document about zebras")
    synced = again.folder(corpus, run=False)["id"]
    for stage in ("sync", "chunk", "embed", "upsert"):
        work_on(again.runtime, stage)
    assert again.result(synced)["outcome"] == "succeeded"
    assert ask(again, "zebras")[0] == "d03"
    assert generations.rollback(again.runtime, "default")["pending_documents"] == 1


def test_nobody_is_sent_to_vectors_that_queries_are_not_embedded_for(make_pipeline, corpus):
    pipe = make_pipeline()
    pipe.folder(corpus)
    first = view(pipe)
    build(pipe, generations.reindex(pipe.runtime, "default", {"embedding.dimension": 32}))
    with pipe.runtime.ledger.write() as tx:  # as if another revision of the model were installed by now
        other = {**pipe.runtime.generation(first.generation_id).fingerprints, "embed": "0" * 32}
        tx.execute(update(table).where(table.c.id == first.generation_id).values(fingerprints=other))
    pipe.runtime.close()
    again = make_pipeline()
    second = view(again)
    with pytest.raises(Conflict, match="would give other vectors here"):
        generations.rollback(again.runtime, "default")
    assert view(again) == second and ask(again)[0] == "d03"
    generations.rollback(again.runtime, "default", force=True)
    assert view(again).index == first.index
    with pytest.raises(FingerprintMismatch, match="would give other vectors here"):
        ask(again, mode="dense")
    by_words = search(again.runtime, SearchQuery(text="epoch03x1", limit=5, rerank=False))
    assert Path(by_words.hits[0].document).stem == "d03"
    assert [line for line in by_words.warnings if line.startswith("by words alone")]
    assert ask(again) == ask(again, mode="sparse")


@both_ledgers
def test_a_rollback_while_another_one_is_built_keeps_what_was_wanted(make_pipeline, corpus):
    pipe = make_pipeline()
    pipe.folder(corpus)
    build(pipe, generations.reindex(pipe.runtime, "default", {"embedding.dimension": 32}))
    third = generations.reindex(pipe.runtime, "default", {"embedding.dimension": 16})
    building.advance(pipe.runtime, seconds=5)
    generations.rollback(pipe.runtime, "default")
    assert wanted_dimension(pipe) is None
    assert build(pipe, third)["outcome"] == "succeeded"
    assert (view(pipe).dimension, wanted_dimension(pipe)) == (16, 16)
    assert generations.outdated(pipe.runtime, "default") == []


def wanted_dimension(pipe) -> int | None:
    with pipe.runtime.ledger.read() as tx:
        return ledger_collections.get_collection(tx, "default").config["embedding"]["options"].get("dimension")


@both_ledgers
def test_what_is_lost_while_it_is_verified_is_no_success(make_pipeline, corpus, monkeypatch):
    """A document that search found all the while fails in the build alone, after the gate has looked for such."""
    pipe = make_pipeline()
    pipe.folder(corpus)
    before = view(pipe)
    operation_id = generations.reindex(pipe.runtime, "default", {"embedding.dimension": 32})
    original = building.Gate.advance

    def verified(gate, until):
        verdict = original(gate, until)
        if verdict is not None:
            lost = (work.c.generation_id == gate.generation_id) & (work.c.document_id == document_id(pipe, "d07.txt"))
            with pipe.runtime.ledger.write() as tx:
                tx.execute(update(work).where(lost).values(stage="quarantined", indexed_epoch=None))
        return verdict

    monkeypatch.setattr(building.Gate, "advance", verified)
    result = build(pipe, operation_id)
    assert result["outcome"] == "failed"
    assert "d07" in result["errors"][0]
    assert view(pipe) == before
    clear(pipe)
    assert pipe.runtime.build_gates == {}


def document_id(pipe, name: str) -> int:
    with pipe.runtime.ledger.read() as tx:
        return tx.execute(select(documents.c.id).where(documents.c.unique_id.endswith(name))).scalar_one()
