"""Search and readiness over a Qdrant server: an index that somebody dropped, and how much the server is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from semantik_pipeline import push
from semantik_pipeline.push import Given
from semantik_pipeline.testing.qdrant_double import QdrantDouble
from semantik_pipeline.verification import lacks_points
from tests.integration.api.conftest import Api, problem
from tests.integration.conftest import FAKE_COLLECTION


@pytest.fixture
def double() -> Iterator[QdrantDouble]:
    double = QdrantDouble().start()
    yield double
    double.stop()


@pytest.fixture
def api(make_api: Callable[..., Api], double: QdrantDouble) -> Api:
    """Two collections on a Qdrant server."""
    made = make_api(qdrant={"url": double.url})
    for name in ("default", "secret-plans"):
        made.runtime.collection(name, FAKE_COLLECTION)
        push.push(made.runtime, [Given(unique_id="a", content="zebras graze")], collection=name)
    made.pipeline.run()
    return made


@pytest.mark.parametrize("asked", [{}, {"collections": ["default", "secret-plans"]}, {"facets": ["language"]}])
def test_an_index_that_is_gone_is_no_fault_of_the_question(
    api: Api, double: QdrantDouble, asked: dict[str, list[str]]
) -> None:
    body = {"query": "zebras", **asked}
    api.good(api.post("/search", json=body))
    index = api.runtime.ledger.search_view("default").index
    double.client.delete_collection(index)
    refused = problem(api.post("/search", json=body), 503)
    assert "The index of the collection 'default' is missing." in refused["detail"]
    assert "verify --repair" in refused["hint"]
    told = f"{refused}"
    assert index not in told and api.runtime.ledger.search_view("secret-plans").index not in told
    again = api.good(api.post("/search", json=body))
    assert any("holds 0 of 1 points" in warning for warning in again["warnings"])
    wrong = problem(api.post("/search", json={"query": "x", "filter": {"must": [{"key": "a b"}]}}), 422)
    assert "missing" not in wrong["detail"]


def test_readiness_and_searches_ask_the_server_little(api: Api, double: QdrantDouble) -> None:
    double.requests.clear()
    api.good(api.get("/health/ready", by=None))
    assert len(double.requests) == 1
    api.runtime.collection("empty", FAKE_COLLECTION)
    api.post("/search", json={"query": "zebras", "collection": "empty", "interpret": False})
    double.requests.clear()
    api.post("/search", json={"query": "zebras", "collection": "empty", "interpret": False})
    assert {request.rpartition("/")[2] for request in double.requests} <= {"exists"}
    double.requests.clear()
    assert not lacks_points(api.runtime, "default", wrote=False)
    assert len(double.requests) == 1
