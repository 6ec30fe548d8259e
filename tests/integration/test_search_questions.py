"""What a search asks the ledger, on both databases."""

from __future__ import annotations

import pytest
from sqlalchemy import event

from semantik_pipeline import vocabulary
from semantik_pipeline.errors import NotFound
from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.search import SearchQuery, search

LEDGERS = ("sqlite", "postgres")
TEXTS = {"lease": "The lease expires in spring.", "engine": "The engine burns kerosene."}


def test_a_search_is_three_statements(make_pipeline) -> None:
    pipeline = make_pipeline()
    pipeline.index(SourceRequest(connector="fake-connector", name="fake", config={"documents": TEXTS}))
    vocabulary.advance(pipeline.runtime, seconds=10, last=True)
    runtime, asked = pipeline.runtime, list[str]()
    query = SearchQuery(text="lease expires", rerank=False)
    assert search(runtime, query).hits
    event.listen(runtime.ledger.engine, "before_cursor_execute", lambda *given: asked.append(given[2].split()[0]))
    assert search(runtime, query).hits
    assert asked == ["SELECT"] * 3


def test_a_collection_that_is_not_there_is_told_by_name(make_pipeline) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        make_pipeline().runtime.ledger.search_view("nowhere")
