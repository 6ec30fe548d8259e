"""The words of a collection: learned from what is indexed, and gone with what is deleted, on both databases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, func, insert, select, update

from semantik_pipeline import maintenance, operations, trash, vocabulary
from semantik_pipeline.errors import ServiceUnavailable
from semantik_pipeline.ledger.documents import words
from semantik_pipeline.ledger.tables import workers
from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.search import SearchQuery, search

LEDGERS = ("sqlite", "postgres")
TEXTS = {
    "lease": "The notice period of the lease is three months, and the tenant pays the deposit.",
    "draft": "A draft of the lease: the period of notice is not agreed yet.",
    "engine": "The turbine engine burns kerosene, which the pump brings from the tank.",
    "zeppelin": "A zeppelin is an airship; its envelope holds hydrogen or helium.",
}


def indexed(pipeline, texts: dict[str, str] = TEXTS) -> None:
    pipeline.index(SourceRequest(connector="fake-connector", name="fake", config={"documents": texts}))
    vocabulary.advance(pipeline.runtime, seconds=10, last=True)


def corrections(pipeline, text: str) -> dict[str, str]:
    asked: Any = SearchQuery(text=text, rerank=False, mode="sparse")
    return search(pipeline.runtime, asked).interpretation["corrections"]


def learned(pipeline) -> set[str]:
    with pipeline.runtime.ledger.read() as tx:
        return set(tx.execute(select(words.words.c.word)).scalars())


def sweep(pipeline) -> None:
    for _ in vocabulary.sweep(pipeline.runtime):
        pass


def test_a_deleted_documents_words_go_with_the_next_sweep_and_shared_ones_stay(make_pipeline) -> None:
    pipeline = make_pipeline()
    indexed(pipeline)
    assert {"zeppelin", "lease", "turbine", "period"} <= learned(pipeline)
    documents = operations.list_documents(pipeline.runtime, collection="default", status=None)
    gone = [one for one in documents if one["document"] in ("zeppelin", "draft")]
    operations.begin_drop(pipeline.runtime, gone, purge=True)
    pipeline.run()
    assert corrections(pipeline, "zepelin") == {}  # even before
    sweep(pipeline)
    assert learned(pipeline).isdisjoint({"zeppelin", "airship", "draft", "agreed"})
    assert {"lease", "period", "notice", "turbine", "the"} <= learned(pipeline)
    assert corrections(pipeline, "laese") == {"laese": "lease"}


def test_what_a_document_says_no_more_goes_too(make_pipeline, tmp_path: Path) -> None:
    pipeline = make_pipeline()
    file = tmp_path / "here" / "a.txt"
    file.parent.mkdir()
    file.write_text("the zeppelin flies")
    pipeline.folder(file.parent)
    vocabulary.advance(pipeline.runtime, seconds=10, last=True)
    file.write_text("the aeroplane flies")
    pipeline.folder(file.parent)
    vocabulary.advance(pipeline.runtime, seconds=10, last=True)
    sweep(pipeline)
    assert learned(pipeline) == {"the", "aeroplane", "flies", "txt"}


def test_learning_twice_is_learning_once_and_goes_in_parts(make_pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = make_pipeline()
    monkeypatch.setattr(vocabulary, "WORDS", 5)
    indexed(pipeline)
    assert vocabulary.advance(pipeline.runtime, seconds=10, last=True) is False
    with pipeline.runtime.ledger.read() as tx:
        counts = dict(tx.execute(select(words.words.c.word, words.words.c.documents)).all())
        total = tx.execute(select(func.count()).select_from(words.words)).scalar_one()
    assert counts["lease"] == 2 and counts["the"] == 3 and counts["zeppelin"] == 1
    assert total == len(counts)


def test_a_collection_that_is_gone_leaves_no_word(make_pipeline) -> None:
    pipeline = make_pipeline()
    indexed(pipeline)
    trash.delete_collection(pipeline.runtime, "default", purge=True)
    trash.advance(pipeline.runtime)
    assert learned(pipeline) == set()


# -- what a sweep costs ------------------------------------------------------------------------------------------------


def lose(pipeline, *names: str) -> None:
    """Delete documents; their words say that many others have had them."""
    documents = operations.list_documents(pipeline.runtime, collection="default", status=None)
    operations.begin_drop(pipeline.runtime, [one for one in documents if one["document"] in names], purge=True)
    pipeline.run()
    with pipeline.runtime.ledger.write() as tx:
        tx.execute(update(words.words).values(documents=1000))


def test_a_sweep_reads_no_text_and_asks_for_few_words_at_once(make_pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = make_pipeline()
    indexed(pipeline, {**TEXTS, "zoo": "with this zebra and that lease there"})
    lose(pipeline, "zoo", "zeppelin", "engine")
    monkeypatch.setattr(vocabulary, "LOST", 4)
    store, asked = pipeline.runtime.store, []
    answer = store.search

    def recording(name, requests):
        asked.append(len(requests))
        return answer(name, requests)

    def reading(name, filter=None, fields=None, after=None, limit=1000, with_vectors=False):
        raise AssertionError(f"points are read by {filter}, which no index helps to find")

    monkeypatch.setattr(store, "search", recording)
    monkeypatch.setattr(store, "scroll", reading)
    steps = sum(1 for _ in vocabulary.sweep(pipeline.runtime))
    assert len(asked) > 3 and max(asked) <= 4 and steps > len(asked)
    assert {"lease", "notice"} <= learned(pipeline)
    assert learned(pipeline).isdisjoint({"zebra", "with", "this", "turbine", "zeppelin"})


def test_a_part_of_a_sweep_is_two_writes_however_many_words_it_has(make_pipeline) -> None:
    pipeline = make_pipeline()
    indexed(pipeline, {"one": TEXTS["lease"], "two": TEXTS["engine"], "three": f"{TEXTS['lease']} zebra"})
    first, last = pipeline.unit("one"), pipeline.unit("three")
    witness = {"document_id": last["document_id"], "epoch": last["indexed_chunks_epoch"]}
    with pipeline.runtime.ledger.write() as tx:
        of_the_first = words.words.c.document_id == first["document_id"]
        tx.execute(update(words.words).where(of_the_first).values(witness))
    lose(pipeline, "two", "three")
    written: list[str] = []

    def note(connection, cursor, statement, parameters, context, executemany) -> None:
        if statement.startswith(("UPDATE words", "DELETE FROM words")):
            written.append(statement)

    event.listen(pipeline.runtime.ledger.engine, "before_cursor_execute", note)
    before = learned(pipeline)
    sweep(pipeline)
    event.remove(pipeline.runtime.ledger.engine, "before_cursor_execute", note)
    assert sorted(one.split()[0] for one in written) == ["DELETE", "UPDATE"]
    assert {"lease", "notice", "tenant"} <= learned(pipeline)
    assert {"zebra", "turbine", "kerosene"} <= before - learned(pipeline)


def test_where_the_store_is_away_everything_else_is_swept(make_pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = make_pipeline()
    indexed(pipeline)
    lose(pipeline, "zeppelin")
    row = {"id": "old", "host": "h", "pid": 1, "profile": "all", "state": "ready", "report": {}, "started_at": 0.0}
    with pipeline.runtime.ledger.write() as tx:
        tx.execute(insert(workers).values(**row, heartbeat=0.0))

    def away(name, requests):
        raise ServiceUnavailable("The store is away.")

    monkeypatch.setattr(pipeline.runtime.store, "search", away)
    while maintenance.tick(pipeline.runtime):
        pass
    with pipeline.runtime.ledger.read() as tx:
        assert tx.execute(select(func.count()).select_from(workers)).scalar_one() == 0
    assert "zeppelin" in learned(pipeline)  # for the next sweep
