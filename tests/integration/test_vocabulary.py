"""The words of a collection: learned from what is indexed, and gone with what is deleted, on both databases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from semantik_pipeline import operations, trash, vocabulary
from semantik_pipeline.ledger import words
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
    return search(pipeline.runtime, asked).understood["corrections"]


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
