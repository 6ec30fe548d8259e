"""A secret that plugins read from the environment, and that has no shape of one: whatever quotes it, it is not kept."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest
from sqlalchemy import select

from semantik_pipeline.ledger.tables import operations, sources, work
from semantik_pipeline.logs import JsonLines
from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.pipeline import work_on
from semantik_pipeline.plugins.known_secrets import KnownSecrets
from semantik_pipeline.plugins.secrets import REDACTED
from semantik_pipeline.search import SearchQuery
from semantik_pipeline.testing import FakeReranker
from tests.integration.conftest import FAKE_COLLECTION, Pipeline
from workers import remote_search

SECRET = "Tr0ub4dor & the horse"
#: The fakes raise when a text holds this, and quote it.
FAILS: dict[str, Any] = {"fail_on_env": "PLANTED"}
CHUNKER = {"chunking": {"plugin": "fake-chunker", "options": {}}}
EXTRACTOR = {"extraction": {"chunk": [{"plugin": "fake-extractor", "options": {}}], "document": []}}
DOCUMENTS = {"documents": {"one": f"It is {SECRET}."}}


@pytest.fixture(autouse=True)
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTED", SECRET)
    monkeypatch.setenv("PLANTED_PATH", f"/nowhere/{SECRET}")


def begun(pipeline: Pipeline, source: dict[str, Any], **collection: Any) -> Pipeline:
    request = SourceRequest(connector="fake-connector", name="fake", config=source)
    pipeline.index(request, config={**FAKE_COLLECTION, **collection}, run=False)
    return pipeline


def kept(pipeline: Pipeline) -> str:
    """What the ledger has of what failed."""
    with pipeline.runtime.ledger.read() as tx:
        rows = [
            *tx.execute(select(work.c.error, work.c.blocked, work.c.notes, work.c.reason)),
            *tx.execute(select(sources.c.error, sources.c.problems, sources.c.paused)),
            *tx.execute(select(operations.c.result)),
        ]
    return str([tuple(row) for row in rows])


@pytest.mark.parametrize(
    ("plugins", "collection"),
    [
        ({"fake-embedder": FAILS}, {}),
        ({"fake-embedder": {**FAILS, "fail_as": "bug"}}, {}),
        ({"fake-chunker": FAILS}, CHUNKER),
        ({"fake-chunker": {**FAILS, "fail_as": "bug"}}, CHUNKER),
        ({"fake-extractor": FAILS}, EXTRACTOR),
    ],
    ids=["embedder", "embedder's bug", "chunker in a child", "bug in a child", "note of an extractor in a child"],
)
def test_what_a_stage_fails_on_is_kept_without_it(
    make_pipeline: Callable[..., Pipeline],
    caplog: pytest.LogCaptureFixture,
    plugins: dict[str, Any],
    collection: dict[str, Any],
) -> None:
    pipeline = begun(make_pipeline(plugins=plugins), DOCUMENTS, **collection)
    with caplog.at_level(logging.DEBUG):
        pipeline.run()
    assert SECRET not in kept(pipeline)
    assert REDACTED in kept(pipeline)
    lines = [JsonLines().format(record) for record in caplog.records]
    assert lines and not [line for line in lines if SECRET in line]


def test_what_a_unit_waits_for_is_kept_without_it(make_pipeline: Callable[..., Pipeline]) -> None:
    waits = {"fake-embedder": {**FAILS, "fail_as": "unavailable"}}
    pipeline = begun(make_pipeline(plugins=waits), DOCUMENTS)
    pipeline.run("sync", "chunk", "extract")
    work_on(pipeline.runtime, "embed")
    assert REDACTED in pipeline.unit("one")["blocked"]
    assert SECRET not in kept(pipeline)


def test_what_a_source_fails_on_is_kept_without_it(make_pipeline: Callable[..., Pipeline]) -> None:
    pipeline = begun(make_pipeline(), {"documents_file_env": "PLANTED_PATH"})
    pipeline.run("sync")
    assert SECRET not in kept(pipeline)
    assert f"No such file or directory: '{REDACTED}'" in kept(pipeline)


def test_a_search_worker_answers_without_it(
    make_pipeline: Callable[..., Pipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks it is another process, which does not know the value."""

    async def refused(*_: Any, **__: Any) -> None:
        raise RuntimeError(f"the key {SECRET} is refused")

    monkeypatch.setattr(FakeReranker, "rerank", refused)
    pipeline = begun(
        make_pipeline(plugins={"fake-embedder": {"crash_on_env": "PLANTED"}}), {"documents": {"one": "It is."}}
    )
    pipeline.run()
    query = SearchQuery(text="It is", reranker="fake-reranker", interpret=False)
    answer = remote_search.answered(pipeline.runtime, asdict(query))["answer"]
    assert REDACTED in str(answer["warnings"])
    assert not [name for name in ("warnings", "rerankers", "document_explanation") if SECRET in str(answer[name])]


# -- the values --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["", "1", "true", "a b", "pw123"])
def test_what_is_short_is_in_every_text_and_no_secret(value: str) -> None:
    known = KnownSecrets()
    known.add(value)
    text = f"It is true: {value} is 1 of 12 words."
    assert known.replaced(text, "X") == text


@pytest.mark.parametrize(
    ("value", "text", "shown"),
    [
        ("horse7", "as horse7!", "as X!"),
        (" horse7\n", "as horse7!", "as X!"),
        ("horse & battery", "as horse & battery!", "as X!"),
        ("horse & battery", "as horse%20%26%20battery!", "as X!"),
        ("horse & battery", "as horse+%26+battery!", "as X!"),
        ('horse "7"', r"as horse \"7\"!", "as X!"),
        ("the first line\nand another one", r"as the first line\nand another one!", "as X!"),
        ("https://ada:horse7@example.org/x", "as horse7!", "as X!"),
        ("staple-battery-7", "as_staple-battery-7!", "as_X!"),
    ],
)
def test_however_a_text_quotes_it_it_is_known(value: str, text: str, shown: str) -> None:
    known = KnownSecrets()
    known.add(value)
    assert known.replaced(text, "X") == shown
    assert known.replaced("horseshoe horse78 battery", "X") == "horseshoe horse78 battery"


def test_only_so_many_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    known = KnownSecrets()
    monkeypatch.setattr("semantik_pipeline.plugins.known_secrets.MOST", 10)
    for number in range(100):
        known.add(f"secret{number:03}")
    assert known.replaced("secret000 secret099", "X") == "secret000 X"


def test_however_many_forms_a_value_has_it_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    known = KnownSecrets()
    monkeypatch.setattr("semantik_pipeline.plugins.known_secrets.MOST", 10)
    for number in range(10):
        known.add(f'horse & "battery" {number}\nand another line, of the {number}th')
    for number in range(10):
        assert known.replaced(f"horse%20%26%20%22battery%22%20{number}", "X") == "X"
