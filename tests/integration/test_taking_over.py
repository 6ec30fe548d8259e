"""Chunks that another generation has made already: taken over many at a time, and left off as soon as others wait."""

from __future__ import annotations

import time
from typing import Any

import pytest
from sqlalchemy import func, select

from semantik_pipeline import generations
from semantik_pipeline.generations import building
from semantik_pipeline.ledger.documents import content
from semantik_pipeline.ledger.tables import chunks, work
from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.pipeline import work_on
from semantik_pipeline.stages import chunk, chunk_jobs
from semantik_pipeline.stages.claims import Held

LEDGERS = ("sqlite", "postgres")

DOCUMENTS = 12


@pytest.fixture
def pipe(make_pipeline):
    """A generation is to be built of documents of two chunks each, with the same chunks and an extractor more."""
    pipe = make_pipeline()
    texts = {f"d{number:02}": "\n\n".join(f"{word} {number} " * 20 for word in "ab") for number in range(DOCUMENTS)}
    assert pipe.index(SourceRequest(connector="fake-connector", name="fake", config={"documents": texts}))
    generations.reindex(pipe.runtime, "default", {"extraction": True, "extraction.chunk": ["fake-extractor"]})
    while not building.advance(pipe.runtime, seconds=5) and waiting(pipe) < DOCUMENTS:
        time.sleep(0.01)
    return pipe


def waiting(pipe) -> int:
    with pipe.runtime.ledger.read() as tx:
        return tx.execute(select(func.count()).select_from(work).where(work.c.stage == "chunk")).scalar_one()


def rows(pipe) -> dict[int, list[str]]:
    """generation -> the texts of its chunks."""
    found: dict[int, list[str]] = {}
    with pipe.runtime.ledger.read() as tx:
        for generation_id, text in tx.execute(select(chunks.c.generation_id, chunks.c.text)):
            found.setdefault(generation_id, []).append(text)
    return {generation_id: sorted(texts) for generation_id, texts in found.items()}


@pytest.fixture
def written(monkeypatch) -> list[int]:
    """How many documents' chunks each transaction writes."""
    written: list[int] = []
    write = content.write_chunks

    def counted(tx: Any, given: Any) -> None:
        given = list(given)
        written.append(len(given))
        write(tx, given)

    monkeypatch.setattr(content, "write_chunks", counted)
    return written


def test_many_documents_are_taken_over_in_one_transaction(pipe, written) -> None:
    work_on(pipe.runtime, "chunk")
    assert written == [DOCUMENTS], "not one commit for each"
    before, after = rows(pipe).values()
    assert before == after and len(before) == 2 * DOCUMENTS
    pipe.run()


def test_no_transaction_has_more_rows_than_others_can_wait_for(pipe, written, monkeypatch) -> None:
    monkeypatch.setattr(chunk, "ROWS", 6)
    work_on(pipe.runtime, "chunk")
    assert written == [3] * (DOCUMENTS // 3)


def test_what_is_not_taken_over_yet_is_given_back_when_others_wait(pipe, written, monkeypatch) -> None:
    monkeypatch.setattr(chunk, "ROWS", 6)
    monkeypatch.setattr(Held, "wanted", property(lambda held: len(written) == 2))
    work_on(pipe.runtime, "chunk")
    assert written[:2] == [3, 3] and sum(written) == DOCUMENTS, "the next claim had the others"


def test_a_process_that_is_to_end_takes_nothing_over_any_more(pipe, written, monkeypatch) -> None:
    monkeypatch.setattr(chunk, "ROWS", 6)
    finish = chunk._finish

    def finishing(*given: Any) -> None:
        finish(*given)
        pipe.runtime.stopping.set()

    monkeypatch.setattr(chunk, "_finish", finishing)
    work_on(pipe.runtime, "chunk")
    assert written == [3] and waiting(pipe) == DOCUMENTS - 3
    with pipe.runtime.ledger.read() as tx:
        assert not tx.execute(select(work.c.document_id).where(work.c.lease_token.is_not(None))).all()


def test_a_document_that_can_not_be_taken_over_fails_alone(pipe, monkeypatch) -> None:
    parse_key, failed = chunk.parse_key_of, []

    def failing(runtime: Any, unit: Any) -> tuple[str, str]:
        if unit.unique_id == "d03":
            failed.append(unit.unique_id)
            raise RuntimeError("a parser's list of media types is no list")
        return parse_key(runtime, unit)

    for module in (chunk, chunk_jobs):
        monkeypatch.setattr(module, "parse_key_of", failing)
    work_on(pipe.runtime, "chunk")
    assert failed and waiting(pipe) == 0
    with pipe.runtime.ledger.read() as tx:
        assert len(tx.execute(select(work.c.document_id).where(work.c.stage == "quarantined")).all()) == 1


def test_a_twin_that_a_newer_revision_took_away_meanwhile_is_made_again(pipe, written, monkeypatch) -> None:
    chunk_rows_of = content.chunk_rows_of

    def without_one(tx: Any, units: Any) -> Any:
        found = chunk_rows_of(tx, units)
        found[units[0].key] = []
        return found

    monkeypatch.setattr(content, "chunk_rows_of", without_one)
    work_on(pipe.runtime, "chunk")
    assert written == [DOCUMENTS - 1, 1] and waiting(pipe) == 0
    before, after = rows(pipe).values()
    assert before == after
