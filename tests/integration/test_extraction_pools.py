"""Texts of many documents go to an extractor together, each once, and cost the ledger no more than their number."""

from __future__ import annotations

import time
from typing import Any

import pytest
from sqlalchemy import delete, event, update

from semantik_pipeline.errors import ChildTimeout, ServiceUnavailable
from semantik_pipeline.ledger.tables import extractions, work
from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.pipeline import work_on
from semantik_pipeline.stages import extract
from tests.integration.conftest import FAKE_COLLECTION

LEDGERS = ("sqlite", "postgres")

EXTRACTION = {"chunk": [{"plugin": "fake-extractor", "options": {}}], "document": []}


def chunked(make_pipeline, extraction: dict[str, Any] = EXTRACTION, /, **documents: str) -> Any:
    """A pipeline with these documents at ``extract``."""
    pipeline = make_pipeline()
    source = SourceRequest(connector="fake-connector", name="fake", config={"documents": documents})
    pipeline.index(source, config={**FAKE_COLLECTION, "extraction": extraction}, run=False)
    pipeline.run("sync", "chunk")
    return pipeline


def test_a_text_of_two_pools_is_extracted_once(make_pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract, "POOL", 1)
    pipeline = chunked(make_pipeline, a="one text", b="one text", c="another text")
    run, given = pipeline.runtime.children.run, []

    def noting(function: Any, *arguments: Any, **options: Any) -> Any:
        given.extend(arguments[-1].values())
        return run(function, *arguments, **options)

    monkeypatch.setattr(pipeline.runtime.children, "run", noting)
    work_on(pipeline.runtime, "extract")
    assert sorted(given) == ["another text", "one text"]
    assert set(pipeline.stages().values()) == {"embed"}


def test_many_documents_take_as_many_statements_as_a_few(make_pipeline) -> None:
    """A statement that is given many rows counts as one: on SQLite, which is in this process, that is what it costs."""
    numbers = []
    for number in (2, 20):
        pipeline = chunked(make_pipeline, **{f"d{number}-{place}": f"text {number} {place}" for place in range(number)})
        statements: list[str] = []

        def seen(_connection, _cursor, statement, _parameters, _context, _many, into=statements) -> None:
            into.append(statement)

        event.listen(pipeline.runtime.ledger.engine, "before_cursor_execute", seen)
        work_on(pipeline.runtime, "extract")
        numbers.append(len(statements))
        assert set(pipeline.stages().values()) == {"embed"}
        pipeline.runtime.close()
    assert numbers[1] <= numbers[0]


def test_a_text_at_which_an_extractor_hangs_is_noted_however_large_its_document_is(make_pipeline, monkeypatch) -> None:
    """The claim in which the text is lost continues to the document's end.

    If it made way for others, it would begin with that text again. Others get their turns between the claims of a large
    document.
    """
    monkeypatch.setattr(extract, "POOL", 2)
    pipeline = make_pipeline(work={"time_slice": 0.01})
    texts = {"large": " ".join(f"{word} " * 30 + "." for word in ("HANGS", *"abcdefgh")), "small": "Anna met Ben."}
    source = SourceRequest(connector="fake-connector", name="fake", config={"documents": texts})
    pipeline.index(source, config={**FAKE_COLLECTION, "extraction": EXTRACTION}, run=False)
    pipeline.run("sync", "chunk")
    assert pipeline.unit("large")["chunks"] > 4 and pipeline.unit("small")["chunks"] == 1
    run, given = pipeline.runtime.children.run, []

    def hanging(function: Any, *arguments: Any, **options: Any) -> Any:
        given.append(arguments[-1].values())
        if any("HANGS" in text for text in arguments[-1].values()):
            time.sleep(0.02)  # longer than the slice
            raise ChildTimeout("it took more than 30 s")
        return run(function, *arguments, **options)

    monkeypatch.setattr(pipeline.runtime.children, "run", hanging)
    for _ in range(20):
        work_on(pipeline.runtime, "extract")
    assert pipeline.stages() == {"large": "embed", "small": "embed"}
    assert "30 s" in pipeline.unit("large")["notes"]["fake-extractor"]
    assert sum("HANGS" in text for texts in given for text in texts) == 1


def test_a_document_at_which_an_extractor_hangs_again_and_again_is_given_up_and_others_are_not(
    make_pipeline, monkeypatch
) -> None:
    monkeypatch.setattr(extract, "POOL", 2)
    hangs = " ".join(f"HANGS {word} " * 30 + "." for word in "abcdefghijklmnop")
    pipeline = chunked(make_pipeline, hangs=hangs, large=hangs.replace("HANGS", "Anna"), small="Anna met Ben.")
    run, given = pipeline.runtime.children.run, []

    def hanging(function: Any, *arguments: Any, **options: Any) -> Any:
        texts = arguments[-1].values()
        given.extend(texts)
        if any("HANGS" in text for text in texts):
            raise ChildTimeout("it took more than 30 s")
        return run(function, *arguments, **options)

    monkeypatch.setattr(pipeline.runtime.children, "run", hanging)
    assert pipeline.unit("hangs")["chunks"] > 2 * extract.POOL * extract.LOST
    for _ in range(20):
        work_on(pipeline.runtime, "extract")
    assert set(pipeline.stages().values()) == {"embed"}
    assert sum("HANGS" in text for text in given) <= extract.POOL * (extract.LOST + 1)
    note = pipeline.unit("hangs")["notes"]["fake-extractor"]
    assert "30 s" in note and note.count("it was not given the rest") == 1
    assert not pipeline.unit("large")["notes"] and not pipeline.unit("small")["notes"]
    assert sum("Anna" in text for text in given) >= pipeline.unit("large")["chunks"]


def test_an_extractor_that_fails_on_every_text_of_a_large_document_ends_with_a_note(make_pipeline, monkeypatch) -> None:
    """Such as one with a wrong API key: the document is not given back to begin again, and is not read to its end."""
    monkeypatch.setattr(extract, "POOL", 2)
    pipeline = make_pipeline(work={"time_slice": 0.001}, plugins={"fake-extractor": {"fail_on": "Anna"}})
    text = " ".join(f"Anna {word} " * 30 + "." for word in "abcdefghijklmnop")
    source = SourceRequest(connector="fake-connector", name="fake", config={"documents": {"large": text}})
    pipeline.index(source, config={**FAKE_COLLECTION, "extraction": EXTRACTION}, run=False)
    pipeline.run("sync", "chunk")
    assert pipeline.unit("large")["chunks"] > extract.POOL * (extract.LOST + 1)
    work_on(pipeline.runtime, "extract")
    assert pipeline.stages() == {"large": "embed"}
    note = pipeline.unit("large")["notes"]["fake-extractor"]
    assert "fake fails" in note and "it was not given the rest" in note


WHOLE = {"chunk": [], "document": [{"plugin": "fake-extractor", "options": {}}]}


def test_a_body_that_cannot_be_read_stops_its_own_document_alone(make_pipeline, monkeypatch) -> None:
    pipeline = chunked(make_pipeline, WHOLE, **{f"d{number}": f"text {number}" for number in range(10)})
    bad, read = pipeline.unit("d3")["parse_key"], pipeline.runtime.blobs.get_body

    def reading(kind: str, key: str) -> Any:
        if key == bad:
            raise ServiceUnavailable("The blobs can't be reached: Input/output error")
        return read(kind, key)

    monkeypatch.setattr(pipeline.runtime.blobs, "get_body", reading)
    work_on(pipeline.runtime, "extract")
    assert {name for name, stage in pipeline.stages().items() if stage == "embed"} == {
        f"d{number}" for number in range(10) if number != 3
    }
    assert "Input/output error" in pipeline.unit("d3")["blocked"]


def test_documents_without_a_parse_are_parsed_again(make_pipeline) -> None:
    """As an import leaves them, whose parses are others than those of here."""
    pipeline = chunked(make_pipeline, WHOLE, a="one text", b="another text")
    with pipeline.runtime.ledger.write() as tx:
        tx.execute(update(work).values(parse_key=None))
    pipeline.run(rounds=20)
    assert set(pipeline.stages().values()) == {"indexed"}


def payloads(pipeline) -> dict[str, dict[str, Any]]:
    runtime = pipeline.runtime
    index = runtime.ledger.search_view("default").index
    points, _ = runtime.host.call(runtime.store.scroll, index, limit=100)
    return {point.payload["document"]: point.payload for point in points}


@pytest.mark.parametrize("batch_size", [256, 1])  # documents that fit a batch together, and those that don't
def test_a_result_that_is_gone_is_made_again_and_not_taken_for_an_empty_one(make_pipeline, batch_size) -> None:
    """The deletion of another document that had the text may take it along."""
    documents = {"a": "ANNA wrote to BEN. " * 30, "b": "CARL met DORA."}
    pipeline = chunked(make_pipeline, **documents)
    pipeline.runtime.close()
    pipeline = make_pipeline(upsert={"batch_size": batch_size})
    pipeline.run("extract", "embed")
    assert set(pipeline.stages().values()) == {"upsert"}
    with pipeline.runtime.ledger.write() as tx:
        tx.execute(delete(extractions))
    pipeline.run()
    assert set(pipeline.stages().values()) == {"indexed"}
    found = payloads(pipeline)
    assert all(found[name]["entities"]["NAME"] and found[name]["language"] == "en" for name in documents), found


def test_a_result_that_failed_is_not_waited_for(make_pipeline) -> None:
    pipeline = make_pipeline(plugins={"fake-extractor": {"fail_on": "POISON"}})
    source = SourceRequest(
        connector="fake-connector", name="fake", config={"documents": {"a": "Anna", "b": "POISON Ben"}}
    )
    pipeline.index(source, config={**FAKE_COLLECTION, "extraction": EXTRACTION})
    assert set(pipeline.stages().values()) == {"indexed"}
    assert "fake-extractor" in pipeline.unit("b")["notes"]
