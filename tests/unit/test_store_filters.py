"""Filters: what is refused, and that every store means the same by the rest."""

from __future__ import annotations

import asyncio
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from semantik_pipeline.builtin.stores.client_filters import client_filter
from semantik_pipeline.builtin.stores.qdrant_edge import QdrantEdgeStore
from semantik_pipeline.contracts.filter_meaning import matches, values_at
from semantik_pipeline.contracts.filters import parse_filter
from semantik_pipeline.documents import IndexSpec, Point
from semantik_pipeline.errors import UsageError
from semantik_pipeline.testing.store_points import point_id

INDEX = "filters"
IDS = [point_id(number) for number in range(6)]

# -- random payloads and filters over the same few keys and values, so that they often meet ----------------------------

words = st.sampled_from(["red", "green", "Red wine", "green tea house", "7", "", "über"])
integers = st.integers(-3, 8)
dates = st.sampled_from(["2025-12-31T23:00:00Z", "2026-01-01", "2026-01-01T01:00:00+02:00", "2026-06-01T12:00:00.5Z"])
scalars = st.one_of(words, integers, st.floats(-4, 9, width=32), st.booleans(), st.none(), dates)
values = st.recursive(
    st.one_of(scalars, st.lists(scalars, max_size=3)),
    lambda inner: st.one_of(
        st.dictionaries(st.sampled_from("bc"), inner, max_size=2),
        st.lists(st.dictionaries(st.sampled_from("bc"), inner, max_size=2), max_size=3),
    ),
    max_leaves=4,
)
payloads = st.dictionaries(st.sampled_from("abc"), values, max_size=3)
keys = st.sampled_from(["a", "b", "c", "a.b", "a.c", "b.c", "a[]", "a[].b", "b[].c", "a[0]", "a[1].b", "a.b.c", "zz"])


def bounds(of: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(["gt", "gte", "lt", "lte"]), of, min_size=1, max_size=2)


matchers = st.one_of(
    st.builds(lambda v: {"value": v}, st.one_of(words, integers, st.booleans())),
    st.builds(
        lambda how, v: {how: v},
        st.sampled_from(["any", "except"]),
        st.one_of(st.lists(words, max_size=3), st.lists(integers, max_size=3)),
    ),
    st.builds(
        lambda how, v: {how: v},
        st.sampled_from(["text", "text_any", "phrase"]),
        st.sampled_from(["red", "tea green", "green tea", "HOUSE", "", "blue red"]),
    ),
)
plain_conditions = st.one_of(
    st.builds(lambda k, m: {"key": k, "match": m}, keys, matchers),
    st.builds(
        lambda k, b: {"key": k, "range": b},
        keys,
        st.one_of(bounds(st.one_of(integers, st.floats(-4, 9))), bounds(dates)),
    ),
    st.builds(lambda k, b: {"key": k, "values_count": b}, keys, bounds(st.integers(0, 3))),
    st.builds(lambda k, f: {"key": k, "is_empty": f}, keys, st.booleans()),
    st.builds(lambda k, f: {"key": k, "is_null": f}, keys, st.booleans()),
    st.builds(lambda k: {"is_empty": {"key": k}}, keys),
    st.builds(lambda k: {"is_null": {"key": k}}, keys),
)


def clauses(of: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    some = st.one_of(of, st.lists(of, max_size=3))
    least = st.fixed_dictionaries({"conditions": st.lists(of, max_size=3), "min_count": st.integers(1, 3)})
    return st.fixed_dictionaries({}, optional={"must": some, "should": some, "must_not": some, "min_should": least})


inner_filters = clauses(plain_conditions)
conditions = st.recursive(
    st.one_of(
        plain_conditions,
        st.builds(lambda ids: {"has_id": ids}, st.lists(st.sampled_from(IDS), max_size=4)),
        st.builds(lambda k, f: {"nested": {"key": k, "filter": f}}, st.sampled_from(["a", "b", "a[]"]), inner_filters),
    ),
    lambda inner: clauses(inner).filter(bool),
    max_leaves=4,
)
filters = clauses(conditions)


@pytest.fixture(scope="module")
def edge() -> Iterator[QdrantEdgeStore]:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        store = QdrantEdgeStore({"path": folder})
        asyncio.run(store.initialize())
        store.create_index(INDEX, IndexSpec(dimension=2, bm25=None))
        yield store
        asyncio.run(store.cleanup())


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(payloads, min_size=6, max_size=6), filters)
@example([{}] * 6, {"min_should": {"conditions": [], "min_count": 1}, "must": {"has_id": IDS[:1]}})
def test_qdrant_edge_means_what_the_reference_means(edge: QdrantEdgeStore, some: list[dict], filter: dict) -> None:
    points = [Point(id=i, vector=np.ones(2), sparse_text="", payload=p) for i, p in zip(IDS, some, strict=True)]
    edge.insert(INDEX, points)
    wanted = parse_filter(filter)
    expected = {point.id for point in points if matches(wanted, point.id, point.payload)}
    assert {point.id for point in edge.scroll(INDEX, filter=filter)[0]} == expected


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(payloads, min_size=6, max_size=6), filters)
def test_the_client_means_what_the_reference_means(some: list[dict], filter: dict) -> None:
    """Through a round trip over JSON, as on the way to a server, and qdrant-client's own evaluation."""
    from qdrant_client import models
    from qdrant_client.local.payload_filters import check_filter

    wanted, sent = parse_filter(filter), client_filter(filter)
    arrived = models.Filter.model_validate_json(sent.model_dump_json(exclude_none=True, by_alias=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for point, payload in zip(IDS, some, strict=True):
            assert check_filter(arrived, payload, point, {}) == matches(wanted, point, payload)


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filter", "named"),
    [
        ([], "top"),
        ("language = en", "top"),
        ({"mustt": []}, "mustt"),
        ({"must": "x"}, "must"),
        ({"must": [{}]}, r"must\[0\]"),
        ({"must": [{"key": "a"}]}, r"must\[0\]"),
        ({"must": [{"key": "a", "match": {"value": 1.5}}]}, r"must\[0\]\.match\.value"),
        ({"must": [{"key": "a", "match": {"value": 2**70}}]}, r"match\.value"),
        ({"must": [{"key": "a", "match": {"value": 1, "any": [1]}}]}, "exactly one"),
        ({"should": {"key": "a", "match": {"any": [1, "x"]}}}, r"should\.match\.any"),
        ({"must": [{"key": "a", "match": {"text": 3}}]}, r"match\.text"),
        ({"must": [{"key": "a", "range": {"gt": 1, "lt": "2026-01-01"}}]}, r"must\[0\]\.range"),
        ({"must": [{"key": "a", "range": {"gt": "soon"}}]}, r"range\.gt"),
        ({"must": [{"key": "a", "range": {"gt": float("nan")}}]}, r"range\.gt"),
        ({"must": [{"key": "a", "range": {}}]}, r"must\[0\]\.range"),
        ({"must": [{"key": "a", "match": {"value": 1}, "range": {"gt": 1}}]}, "exactly one"),
        ({"must": [{"key": "a..b", "is_empty": True}]}, r"must\[0\]\.key"),
        ({"must": [{"key": 3, "is_empty": True}]}, r"must\[0\]\.key"),
        ({"must": [{"has_id": ["x"]}]}, r"must\[0\]\.has_id"),
        ({"must": [{"key": "a", "values_count": {"gt": -1}}]}, "values_count"),
        ({"min_should": {"conditions": [], "min_count": 0}}, r"min_should\.min_count"),
        ({"must": [{"nested": {"key": "a", "filter": {"must": [{"has_id": IDS[:1]}]}}}]}, "has_id"),
        ({"must": [{"key": "a", "geo_radius": {}}]}, "geo_radius"),
    ],
)
def test_a_wrong_filter_is_refused_naming_its_part(filter: Any, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        parse_filter(filter)


def test_a_long_wrong_value_is_not_printed_whole() -> None:
    with pytest.raises(UsageError) as caught:
        parse_filter({"must": "x" * 10_000})
    assert len(str(caught.value)) < 400


def test_the_first_examples_of_the_contract() -> None:
    clauses = parse_filter({"must": [{"key": "epoch", "range": {"lte": 5}}]})
    assert [matches(clauses, None, {"epoch": epoch}) for epoch in (4, 5, 6)] == [True, True, False]
    assert parse_filter(None) is None


def test_values_at_paths() -> None:
    payload = {"a": [{"b": 1}, {"b": [2, 3]}], "x y": {"z": None}}
    assert values_at(payload, "a[].b") == [1, [2, 3]]
    assert values_at(payload, "a[1].b[]") == [2, 3]
    assert values_at(payload, '"x y".z') == [None]
    assert values_at(payload, "a.b") == []
