"""Whatever is in a filter, it is either answered, by every store, or refused as a mistake of who asked."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from semantik_pipeline.builtin.stores.client_filters import client_filter
from semantik_pipeline.builtin.stores.qdrant_edge import QdrantEdgeStore
from semantik_pipeline.contracts.filter_bounds import MOST_AROUND, MOST_LEVELS, instant
from semantik_pipeline.contracts.filter_meaning import matches
from semantik_pipeline.contracts.filters import is_key, parse_filter
from semantik_pipeline.documents import IndexSpec, Point, SearchRequest
from semantik_pipeline.errors import UsageError
from semantik_pipeline.search.permitted import check_question, permitted
from semantik_pipeline.testing.store_points import point_id

INDEX = "hostile"
TIMES = ["0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00", "0001-01-01", "9999-12-31T23:59:59.999999Z"]
PAYLOAD = {"a": [1, "x", TIMES[0], 2.5, None, {"b": 1}], "modified": "2026-01-01T00:00:00Z", "size": 7}

odd = st.one_of(
    st.sampled_from([*TIMES, "2026-W05", "20260101T000000", "\ud800", "x\udfff", "a\x00b", "", " "]),
    st.sampled_from([10**400, -(10**400), 2**63, -(2**63), 2**64, 1e308, float("nan"), -float("inf")]),
    st.text(st.characters(exclude_categories=()), max_size=8),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.none(),
    st.datetimes().map(str),
)
values = st.recursive(odd, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner))
keys = st.sampled_from(["a", "a[]", "a[].b", "modified", "size", "metadata.x", 'a."\ud800"', "a[99999999999999999999]"])
bounds = st.dictionaries(st.sampled_from(["gt", "gte", "lt", "lte"]), values, max_size=3)
matchers = st.sampled_from(["value", "any", "except", "text", "text_any", "phrase"])
kinds_of_bounds = st.sampled_from(["range", "values_count"])
simple = st.one_of(
    st.builds(lambda key, how, value: {"key": key, "match": {how: value}}, keys, matchers, values),
    st.builds(lambda key, how, some: {"key": key, "match": {how: some}}, keys, matchers, st.lists(odd, max_size=3)),
    st.builds(lambda key, kind, these: {"key": key, kind: these}, keys, kinds_of_bounds, bounds),
    st.builds(lambda value: {"has_id": value}, values),
    st.builds(lambda key, value: {"key": key, "is_empty": value}, keys, values),
    st.builds(lambda some, least: {"min_should": {"conditions": some, "min_count": least}}, st.lists(values), odd),
    values,
)  # fmt: skip
clauses = st.builds(lambda how, some: {how: some}, st.sampled_from(["must", "should", "must_not"]), st.lists(simple))
hostile = st.one_of(
    clauses, st.builds(lambda key, it: {"must": [{"nested": {"key": key, "filter": it}}]}, keys, clauses)
)


@pytest.fixture(scope="module")
def edge() -> Iterator[QdrantEdgeStore]:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        store = QdrantEdgeStore({"path": folder})
        asyncio.run(store.initialize())
        store.create_index(INDEX, IndexSpec(dimension=2, bm25=None, payload_indexes={"modified": "datetime"}))
        store.insert(INDEX, [Point(id=point_id(1), vector=np.ones(2), sparse_text="", payload=PAYLOAD)])
        yield store
        asyncio.run(store.cleanup())


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(hostile)
def test_it_is_answered_or_refused_by_every_store_alike(edge: QdrantEdgeStore, filter: dict[str, Any]) -> None:
    try:
        wanted = parse_filter(filter)
    except UsageError as refusal:
        assert str(refusal).encode()  # it can be said over the wire
        return
    met = int(matches(wanted, point_id(1), PAYLOAD))
    request = SearchRequest(vector=np.ones(2, dtype=np.float32), filter=filter, limit=1)
    assert len(edge.search(INDEX, [request])[0]) == len(edge.scroll(INDEX, filter=filter)[0]) == met
    assert edge.count(INDEX, filter) == met
    sent = client_filter(filter)
    assert sent is not None
    json.dumps(sent.model_dump(mode="json", exclude_none=True, by_alias=True), allow_nan=False).encode()


DEEPER: dict[str, Callable[[Any], Any]] = {
    "must": lambda inner: {"must": [inner]},
    "should": lambda inner: {"should": inner},
    "min_should": lambda inner: {"min_should": {"conditions": [inner], "min_count": 1}},
    "nested": lambda inner: {"must": [{"nested": {"key": "a", "filter": inner}}]},
    "list": lambda inner: [inner],
}


@pytest.mark.parametrize("how", DEEPER)
@pytest.mark.parametrize("times", [100, 400, 50_000])
def test_what_is_too_deep_is_refused(how: str, times: int) -> None:
    filter: Any = {"must": [{"key": "a", "match": {"value": 1}}]}
    for _ in range(times):
        filter = DEEPER[how](filter)
    whole = {"must": filter}
    for look in (parse_filter, lambda it: check_question(it, ["anna"]), lambda it: permitted(it, ["anna"])):
        with pytest.raises(UsageError, match="levels"):
            look(whole)


def test_what_is_as_deep_as_it_may_be_is_answered_for_whoever_asks(edge: QdrantEdgeStore) -> None:
    filter: dict[str, Any] = {"must": [{"key": "size", "match": {"value": 7}}]}
    for _ in range((MOST_LEVELS - 4) // 2):
        filter = {"must": [filter]}
    check_question(filter, ["anna"])
    with pytest.raises(UsageError, match="levels"):
        parse_filter({"must": [filter]}, levels=MOST_LEVELS)
    limited = {"must": [{"must": [permitted(filter, ["anna"])]}]}
    assert edge.count(INDEX, limited) == 1
    assert client_filter(limited) is not None
    assert MOST_AROUND < 128


@pytest.mark.parametrize(
    "condition", [{"match": {"value": 10**5000}}, {"range": {"gt": 10**5000}}, {"is_null": 10**5000}]
)
def test_an_integer_of_more_digits_than_python_writes_is_refused(condition: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"a int|a dict"):
        parse_filter({"must": [{"key": "a", **condition}]})


@pytest.mark.parametrize("key", ['"\ud800"', 'metadata."x\udfff"'])
def test_half_a_character_is_in_no_key(key: str) -> None:
    assert not is_key(key)


def test_times_are_within_the_years_that_there_are() -> None:
    assert instant("9999-12-31").year == 9999
    for outside in TIMES[:2]:
        with pytest.raises(ValueError):
            instant(outside)
