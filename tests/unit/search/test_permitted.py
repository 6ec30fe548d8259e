"""Whose documents a query finds, over random documents, principals and filters: nothing leaks, nothing is lost."""

from __future__ import annotations

import asyncio
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from semantik_pipeline.builtin.stores.qdrant_edge import QdrantEdgeStore
from semantik_pipeline.contracts import Principal
from semantik_pipeline.contracts.filters import parse_filter
from semantik_pipeline.documents import IndexSpec, Point
from semantik_pipeline.errors import UsageError
from semantik_pipeline.search import SearchQuery
from semantik_pipeline.search.permitted import permitted
from semantik_pipeline.stages.points import NOBODY
from semantik_pipeline.testing import MemoryStore

INDEX = "permitted"
IDS = [str(uuid.UUID(int=number)) for number in range(1, 7)]

names = st.sampled_from(["anna", "ben", "sales", "Sales"])
listed = st.one_of(st.none(), st.lists(names, max_size=3, unique=True))
documents = st.tuples(listed, st.sampled_from(["en", "de", None]))
fields = st.sampled_from(["principals", "language"])
values = st.one_of(names, st.sampled_from(["en", "de", NOBODY]))
conditions = st.one_of(
    st.builds(lambda key, value: {"key": key, "match": {"value": value}}, fields, values),
    st.builds(lambda key, some: {"key": key, "match": {"any": some}}, fields, st.lists(values, max_size=2)),
    st.builds(lambda key, some: {"key": key, "match": {"except": some}}, fields, st.lists(values, max_size=2)),
    st.builds(lambda key: {"is_empty": {"key": key}}, fields),
    st.builds(lambda ids: {"has_id": ids}, st.lists(st.sampled_from(IDS), max_size=4)),
)
clauses = st.fixed_dictionaries(
    {}, optional={name: st.lists(conditions, max_size=2) for name in ("must", "should", "must_not")}
)
filters = st.one_of(st.none(), clauses, st.builds(lambda inner: {"should": [inner]}, clauses.filter(bool)))


@pytest.fixture(scope="module")
def edge() -> Iterator[QdrantEdgeStore]:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        store = QdrantEdgeStore({"path": folder})
        asyncio.run(store.initialize())
        yield store
        asyncio.run(store.cleanup())


def payload(principals: list[str] | None, language: str | None) -> dict[str, Any]:
    """As ``stages/points.py`` writes it."""
    found = {"principals": [NOBODY] if principals == [] else principals, "language": language}
    return {name: value for name, value in found.items() if value is not None}


def ids(store: Any, filter: dict[str, Any] | None) -> set[str]:
    return {point.id for point in store.scroll(INDEX, filter=filter, fields=[])[0]}


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(documents, min_size=6, max_size=6), filters, st.frozensets(names, max_size=3))
def test_exactly_what_is_open_and_meets_the_filter(
    edge: QdrantEdgeStore, some: list, filter: dict | None, principals: frozenset[str]
) -> None:
    caller = Principal("caller", principals=principals)
    reference = MemoryStore()
    for store in (reference, edge):
        store.create_index(INDEX, IndexSpec(dimension=2, bm25=None, payload_indexes={"principals": "keyword"}))
        points = [
            Point(id=id, vector=np.ones(2), sparse_text="", payload=payload(*one))
            for id, one in zip(IDS, some, strict=True)
        ]
        store.delete(INDEX, ids=IDS)
        store.insert(INDEX, points)
    wanted = {id for id in ids(reference, filter) if caller.sees(some[IDS.index(id)][0])}
    for store in (reference, edge):
        assert ids(store, permitted(filter, principals)) == wanted


def test_without_a_limit_the_filter_stays_as_it_is():
    assert permitted(None, None) is None
    assert permitted({"must": []}, None) == {"must": []}
    assert parse_filter(permitted({}, ["anna"])) == parse_filter(permitted(None, ["anna"]))


def test_a_condition_in_the_place_of_a_filter_is_refused_as_it_is_without_a_limit():
    for filter in ({"key": "language", "match": {"value": "en"}}, {"is_empty": {"key": "principals"}}):
        with pytest.raises(UsageError, match="Unknown filter key"):
            permitted(filter, ["anna"])


def test_a_query_keeps_its_limit_on_its_way_to_a_search_worker():
    query = SearchQuery(text="wine", principals={"sales", "anna"})
    assert query.principals == ("anna", "sales")
    assert SearchQuery(text="wine", principals=list(query.principals)) == query
    assert SearchQuery(text="wine", principals=[]).principals == ()
