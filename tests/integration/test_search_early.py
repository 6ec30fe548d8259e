"""A search of a collection that is empty, half built or was just switched: it finds and reports what is there."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from semantik_pipeline import generations, push
from semantik_pipeline.generations import building
from semantik_pipeline.push import Given
from semantik_pipeline.search import SearchQuery, search
from semantik_pipeline.search.query import search_view
from tests.integration.conftest import FAKE_COLLECTION, Pipeline

MAKE = Callable[..., Pipeline]
ASKED: dict[str, Any] = {"facets": ("metadata.team", "source"), "explain": True}


@pytest.fixture
def pipeline(make_pipeline: MAKE) -> Pipeline:
    made = make_pipeline()
    made.runtime.collection("default", FAKE_COLLECTION)
    return made


def give(pipeline: Pipeline, *names: str, run: bool = True) -> None:
    given = [Given(unique_id=name, content=f"a lease of {name}", metadata={"team": name[0]}) for name in names]
    push.push(pipeline.runtime, given, collection="default")
    if run:
        pipeline.run()


def asked(pipeline: Pipeline, **more: Any) -> Any:
    return search(pipeline.runtime, SearchQuery(text="lease", **ASKED, **more))


def documents(answer: Any) -> list[str]:
    return sorted({hit.document for hit in answer.hits})


def test_nothing_is_found_where_nothing_is(pipeline: Pipeline) -> None:
    ways = list(itertools.product(("hybrid", "dense", "sparse"), (None, (), ("anna",))))
    for mode, principals in ways:
        answer = asked(pipeline, mode=mode, principals=principals, explain_document="a")
        assert (answer.hits, answer.warnings) == ([], [])
        assert answer.facets == {"metadata.team": [], "source": []}
        assert answer.document_explanation["cause"] == "not-found"
    give(pipeline, "a", run=False)
    pipeline.run("chunk")
    for mode, principals in ways:
        answer = asked(pipeline, mode=mode, principals=principals, explain_document="a")
        assert (answer.hits, answer.document_explanation["cause"], answer.document_explanation["stage"]) == (
            [],
            "in-progress",
            "embed",
        )


def test_what_is_through_is_found_while_the_rest_is_on_its_way(pipeline: Pipeline) -> None:
    give(pipeline, "a1", "a2")
    give(pipeline, "b1", "b2", run=False)
    pipeline.run("chunk", "embed")
    answer = asked(pipeline, explain_document="b1")
    assert documents(answer) == ["a1", "a2"]
    assert answer.facets["metadata.team"] == [{"value": "a", "count": 2}]
    assert (answer.document_explanation["cause"], answer.document_explanation["stage"]) == ("in-progress", "upsert")
    pipeline.run()
    assert documents(asked(pipeline)) == ["a1", "a2", "b1", "b2"]


def test_a_switch_is_a_moment_and_what_searched_the_old_index_ends_there(pipeline: Pipeline) -> None:
    give(pipeline, "a1", "a2")
    runtime = pipeline.runtime
    before = runtime.ledger.search_view("default")
    generations.reindex(runtime, "default", {"embedding.dimension": 32})
    building.advance(runtime, seconds=5)  # filled, and nothing of it is in an index
    built = sorted(one for one in runtime.live_generations() if one != before.generation_id)[0]
    assert runtime.existing_index(runtime.generation(built)) is None
    assert documents(asked(pipeline)) == ["a1", "a2"], "the old one answers"
    query = SearchQuery(text="lease", explain_document="a1", **ASKED)
    for _ in range(200):
        pipeline.run()
        building.advance(runtime, seconds=5)
        if runtime.ledger.search_view("default").generation_id == built:
            break
    after = runtime.ledger.search_view("default")
    assert (before.dimension, after.dimension) == (64, 32)
    give(pipeline, "a3")
    for view in (after, before):  # a search that began before the switch has the old view in hand
        answer = search_view(runtime, view, query)
        assert documents(answer) == ["a1", "a2", "a3"]
        assert answer.facets["metadata.team"] == [{"value": "a", "count": 3}]
        assert answer.document_explanation["cause"] == "shown"
        assert all(hit.explanation["legs"]["dense"]["rank"] for hit in answer.hits)


def test_an_index_that_was_lost_says_so(pipeline: Pipeline) -> None:
    give(pipeline, "a1")
    runtime = pipeline.runtime
    runtime.drop_index(runtime.ledger.search_view("default").index)
    answer = asked(pipeline, explain_document="a1")
    assert answer.hits == []
    assert answer.facets == {"metadata.team": [], "source": []}
    assert answer.document_explanation["cause"] == "lost"
    assert any("verify --repair" in warning for warning in answer.warnings)
