"""One question, in the forms that the command line, the API and its client give it."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semantik_pipeline.api.models.search import SearchRequest
from semantik_pipeline.cli.questions import Fusion, Mode, question
from semantik_pipeline.client import Client, search_options
from semantik_pipeline.errors import UsageError
from semantik_pipeline.questions import NOT_IN_API, SearchQuery

FILTER = {"must": [{"key": "page", "match": {"value": 3}}]}

#: Values of each field that are no defaults, as any form can have them.
VALUES: dict[str, list[Any]] = {
    "text": ["when does a lease expire"],
    "collection": ["notes"],
    "limit": [1, 25],
    "offset": [5],
    "mode": ["dense", "sparse"],
    "rerank": [False],
    "reranker": ["a", ("a", "b")],
    "filter": [FILTER],
    "dense_weight": [0.0, 0.25],
    "fusion": ["rrf", "dbsf"],
    "rerank_weight": [0.0, 1.0],
    "candidates": [40],
    "score_threshold": [0.0, 0.5],
    "facets": [("language", "entities.ORG")],
    "facet_limit": [3],
    "explain": [True],
    "explain_document": ["a.md"],
    "postprocessors": [[], ["highlight", {"plugin": "group", "options": {"k": 2}}]],
    "interpret": [False],
}


@st.composite
def queries(draw: st.DrawFn) -> SearchQuery:
    chosen = draw(st.sets(st.sampled_from(sorted(VALUES))))
    return SearchQuery(**{"text": "?"} | {name: draw(st.sampled_from(VALUES[name])) for name in sorted(chosen)})


def test_every_field_that_callers_set_is_tried() -> None:
    assert {one.name for one in fields(SearchQuery)} - {*NOT_IN_API} == set(VALUES)


@given(queries())
def test_a_body_asks_the_same(query: SearchQuery) -> None:
    assert SearchQuery.from_body(json.loads(json.dumps(query.to_body()))) == query


@given(queries())
def test_the_api_reads_from_a_body_what_was_asked(query: SearchQuery) -> None:
    body = SearchRequest.model_validate(query.to_body())
    read = body.question()
    assert body.among == [query.collection]
    assert replace(read, collection=query.collection) == replace(query, reranked_for=query.limit)


def test_a_body_has_nothing_that_nobody_said() -> None:
    assert SearchQuery(text="x", principals=["anna"], rerank_deadline=3.0).to_body() == {"query": "x"}


def test_clients_can_say_what_the_api_takes() -> None:
    assert set(get_type_hints(search_options.SearchRequest)) == set(SearchRequest.model_fields)
    assert set(get_type_hints(search_options.SearchOptions)) == set(SearchRequest.model_fields) - {"query"}


def test_a_client_sends_its_keywords_as_they_are() -> None:
    call = type(Client("http://127.0.0.1:1")).search.call("x", top_k=3, reranker_id=("a", "b"))
    assert call.json == {"query": "x", "top_k": 3, "reranker_id": ["a", "b"]}


def test_options_of_the_command_line_are_a_question() -> None:
    asked = question(
        query="x",
        mode=Mode.SPARSE,
        fusion=Fusion.RRF,
        reranker=["a,b", "c"],
        filter_json=json.dumps(FILTER),
        facet=["language"],
        postprocessor=["highlight", "group:k=2"],
        why="a.md",
    )
    assert asked == SearchQuery(
        text="x",
        mode="sparse",
        fusion="rrf",
        reranker=("a", "b", "c"),
        filter=FILTER,
        facets=("language",),
        postprocessors=["highlight", {"plugin": "group", "options": {"k": 2}}],
        explain_document="a.md",
    )


def test_no_options_are_the_defaults() -> None:
    assert question(query="x") == SearchQuery(text="x")


def test_a_filter_that_is_no_json_is_told_with_its_place() -> None:
    with pytest.raises(UsageError, match="line 1, column 2"):
        question(query="x", filter_json="{must")
