"""What a slice of a source holds in memory, asks its source for, and believes of it."""

from __future__ import annotations

import json
import os
import weakref
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select, update

from semantik_pipeline import sources
from semantik_pipeline.contracts import ConnectorPlugin
from semantik_pipeline.documents import IngestedDocument, content_hash
from semantik_pipeline.ledger.ingestion.sources import find_source
from semantik_pipeline.ledger.tables import documents, work
from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.pipeline import work_on
from tests.integration.conftest import texts

LEDGERS = ("sqlite", "postgres")


def fake(**config: Any) -> SourceRequest:
    return SourceRequest(connector="fake-connector", name="fake", config=config)


def connector(pipeline) -> Any:
    return pipeline.runtime.host.registry.get("fake-connector").cls


def test_bodies_are_not_kept_until_their_batch_is_written(make_pipeline, monkeypatch) -> None:
    pipeline = make_pipeline()
    held: weakref.WeakSet[IngestedDocument] = weakref.WeakSet()
    most = 0

    async def load_documents(self: Any, source_id: Any = None) -> Any:
        nonlocal most
        for number in range(20):  # fewer than a batch
            text = f"text number {number}"
            document = IngestedDocument(text, str(number), "fake", {}, content_hash(text), media_type="text/plain")
            held.add(document)
            most = max(most, len(held))
            yield document

    monkeypatch.setattr(IngestedDocument, "__hash__", object.__hash__)  # its metadata has none
    monkeypatch.setattr(connector(pipeline), "enumerate", ConnectorPlugin.enumerate)
    monkeypatch.setattr(connector(pipeline), "load_documents", load_documents)
    assert pipeline.index(fake())["documents"]["new"] == 20
    assert most <= 4, "the connector's, those between the threads and the one in hand"


def test_deletions_that_are_allowed_during_a_run_are_believed_at_its_end(make_pipeline, tmp_path, monkeypatch) -> None:
    contents = {f"d{number}": f"text number {number}" for number in range(6)}
    file = tmp_path / "documents.json"
    pipeline = make_pipeline(sync={"deletion_guard_count": 2, "deletion_guard_share": 0.5})
    file.write_text(json.dumps(contents))
    pipeline.index(fake(documents_file=str(file)))
    file.write_text(json.dumps({"d0": contents["d0"]}))
    enumerate = connector(pipeline).enumerate

    async def enumerating(self: Any, cursor: Any = None) -> Any:
        with pipeline.runtime.ledger.read() as tx:
            source = find_source(tx, "fake")
        sources.sync(pipeline.runtime, source, allow_deletions=True)
        async for one in enumerate(self, cursor):
            yield one

    monkeypatch.setattr(connector(pipeline), "enumerate", enumerating)
    result = pipeline.index(fake(documents_file=str(file)))
    assert (result["outcome"], result["documents"]["deleted"]) == ("succeeded", 5)
    assert set(pipeline.stages()) == {"d0"}


def test_a_source_that_is_crowded_is_not_logged_into(make_pipeline, monkeypatch) -> None:
    pipeline = make_pipeline(work={"max_in_flight": 1})
    asked: list[str] = []

    async def authenticate(self: Any) -> bool:
        asked.append("authenticate")
        return True

    monkeypatch.setattr(connector(pipeline), "authenticate", authenticate)
    contents = {f"d{number}": f"text number {number}" for number in range(6)}
    operation = pipeline.index(fake(documents=contents, checkpoint_every=3), run=False)["id"]
    work_on(pipeline.runtime, "sync")
    assert len(pipeline.stages()) == 3 and asked == ["authenticate"]
    for _ in range(3):
        pipeline.hurry()
        work_on(pipeline.runtime, "sync")
    assert asked == ["authenticate"], "three documents are on their way"
    pipeline.run()
    assert pipeline.result(operation)["outcome"] == "succeeded" and set(pipeline.stages()) == set(contents)


def test_unchanged_documents_are_marked_by_one_statement(make_pipeline, tmp_path) -> None:
    docs = texts(tmp_path / "docs", **{f"d{number:02}": f"text number {number}" for number in range(20)})
    pipeline = make_pipeline()
    pipeline.folder(docs)
    executed: list[str] = []

    def note(_connection, _cursor, statement: str, parameters: Any, _context, many: bool) -> None:
        executed.extend([statement] * (len(parameters) if many else 1))

    event.listen(pipeline.runtime.ledger.engine, "before_cursor_execute", note)
    result = pipeline.folder(docs)
    event.remove(pipeline.runtime.ledger.engine, "before_cursor_execute", note)
    assert (result["documents"]["unchanged"], result["documents"]["changed"]) == (20, 0)
    assert len([one for one in executed if one.startswith("UPDATE documents")]) == 1


def test_a_title_is_written_with_the_document_and_again_only_if_its_parser_finds_another(
    make_pipeline, tmp_path
) -> None:
    docs = texts(tmp_path / "docs", plain="text")
    (docs / "marked.md").write_text("# A heading\n\nand a text")
    pipeline = make_pipeline()
    pipeline.folder(docs, run=False)
    pipeline.run("sync")
    assert titles(pipeline) == {"plain.txt": "plain.txt", "marked.md": "marked.md"}
    updated: list[Any] = []

    def note(_connection, _cursor, statement: str, parameters: Any, _context, many: bool) -> None:
        if statement.startswith("UPDATE documents"):
            updated.extend(parameters if many else [parameters])

    event.listen(pipeline.runtime.ledger.engine, "before_cursor_execute", note)
    pipeline.run("chunk")
    event.remove(pipeline.runtime.ledger.engine, "before_cursor_execute", note)
    assert titles(pipeline) == {"plain.txt": "plain.txt", "marked.md": "A heading"}
    assert len(updated) == 1 and "A heading" in str(updated) and "plain.txt" not in str(updated)


def titles(pipeline) -> dict[str, str]:
    query = select(documents.c.unique_id, documents.c.title)
    with pipeline.runtime.ledger.read() as tx:
        return {name.rpartition("/")[2]: title for name, title in tx.execute(query)}


def test_a_new_hint_of_an_unchanged_document_is_kept(make_pipeline, tmp_path) -> None:
    docs = texts(tmp_path / "docs", **{f"d{number}": f"text number {number}" for number in range(6)})
    pipeline = make_pipeline()
    pipeline.folder(docs)
    before = hints(pipeline)
    for number in (1, 4):
        os.utime(docs / f"d{number}.txt", (1e9 + number, 1e9 + number))
    assert pipeline.folder(docs)["documents"]["unchanged"] == 6
    after = hints(pipeline)
    assert {name for name in before if before[name] != after[name]} == {"d1.txt", "d4.txt"}
    assert len(set(after.values())) == 6


def hints(pipeline) -> dict[str, str]:
    query = select(documents.c.unique_id, documents.c.change_hint)
    with pipeline.runtime.ledger.read() as tx:
        return {name.rpartition("/")[2]: hint for name, hint in tx.execute(query)}


@pytest.mark.parametrize(
    ("version", "again"),
    [("fake-embedder 1.0.0", 0), ("fake-embedder 0.9", 1), ("elsewhere-embedder 3.1", 0), ("fake-embedder absent", 1)],
)
def test_only_another_version_of_a_plugin_that_is_loaded_here_may_be_a_fix(
    make_pipeline, tmp_path: Path, version: str, again: int
) -> None:
    """A worker that lacks the plugin knows nothing of it: it would fetch each such document with every sync."""
    log = tmp_path / "fetched"
    request = fake(documents={"good": "alpha", "bad": "POISON"}, log_path=str(log))
    pipeline = make_pipeline(plugins={"fake-embedder": {"fail_on": "POISON", "fail_as": "permanent"}})
    pipeline.index(request)
    assert pipeline.stages()["bad"] == "quarantined"
    with pipeline.runtime.ledger.write() as tx:
        error = {**pipeline.unit("bad")["error"], "plugins": version}
        tx.execute(update(work).where(work.c.stage == "quarantined").values(error=error))
    before = len(log.read_text().splitlines())
    pipeline.index(request)
    assert len(log.read_text().splitlines()) - before == again
