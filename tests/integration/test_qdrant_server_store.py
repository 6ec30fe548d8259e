"""The server store over HTTP: an unsteady server, a wrong key, a shared server."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from semantik_pipeline.builtin.stores.qdrant import QdrantStore
from semantik_pipeline.contracts.plugin import HealthState
from semantik_pipeline.documents import SearchRequest
from semantik_pipeline.errors import (
    DimensionMismatch,
    PermanentError,
    PluginConfigError,
    ServiceUnavailable,
    StorageFull,
    UsageError,
)
from semantik_pipeline.testing.qdrant_double import QdrantDouble
from semantik_pipeline.testing.qdrant_grpc import QdrantGrpcDouble
from semantik_pipeline.testing.store_points import SPEC, make_point


@pytest.fixture
def double() -> Iterator[QdrantDouble]:
    double = QdrantDouble().start()
    yield double
    double.stop()


@contextmanager
def opened(url: str, **options: object) -> Iterator[QdrantStore]:
    store = QdrantStore({"url": url, **options})
    asyncio.run(store.initialize())
    try:
        yield store
    finally:
        asyncio.run(store.cleanup())


@pytest.mark.parametrize("failure", [0, 408, 429, 500, 503])
def test_a_short_absence_is_bridged(double: QdrantDouble, failure: int) -> None:
    with opened(double.url) as store:
        store.create_index("one", SPEC)
        double.fail_next = [failure, failure]
        store.insert("one", [make_point(1)])
        assert store.count("one") == 1


def test_a_lost_answer_does_no_harm(double: QdrantDouble) -> None:
    """The operation was done, its acknowledgement lost: it is done again, which changes nothing."""
    with opened(double.url) as store:
        store.create_index("one", SPEC)
        double.fail_after = [0]
        store.insert("one", [make_point(1, epoch=4)], {"must": [{"key": "epoch", "range": {"lte": 4}}]})
        double.fail_after = [503]
        store.set_payload("one", [make_point(1).id], {"mark": "x"})
        assert store.scroll("one", fields=["mark"])[0][0].payload == {"mark": "x"}


def test_a_long_absence_is_no_documents_fault(double: QdrantDouble) -> None:
    with opened(double.url, tries=2) as store:
        store.create_index("one", SPEC)
        double.fail_next = [503] * 4
        with pytest.raises(ServiceUnavailable, match="127"):
            store.insert("one", [make_point(1)])


def test_no_server_at_all() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with opened(url, tries=2) as store, pytest.raises(ServiceUnavailable, match=r"127\.0\.0\.1"):
            store.count("one")
        status = asyncio.run(QdrantStore.health_check({"url": url}))
    assert status.status == HealthState.UNHEALTHY
    assert url in status.reason


def test_a_refusal_is_permanent_and_not_repeated(double: QdrantDouble) -> None:
    with opened(double.url) as store:
        store.create_index("one", SPEC)
        store.count("one")
        double.fail_next = [422, 503]
        with pytest.raises(PermanentError, match="made to answer 422"):
            store.count("one")
        assert double.fail_next == [503]


def test_a_wrong_key_is_named_but_never_shown() -> None:
    double = QdrantDouble(api_key="right").start()
    try:
        with opened(double.url, api_key="wrong-secret") as store:
            with pytest.raises(PluginConfigError, match="api_key_env") as caught:
                store.list_indexes()
            assert "wrong-secret" not in str(caught.value)
        with opened(double.url, api_key="right") as store:
            assert store.list_indexes() == []
        status = asyncio.run(QdrantStore.health_check({"url": double.url, "api_key": "wrong-secret"}))
        assert status.status == HealthState.UNHEALTHY
        assert "wrong-secret" not in status.reason
        assert (
            asyncio.run(QdrantStore.health_check({"url": double.url, "api_key": "right"})).status == HealthState.HEALTHY
        )
    finally:
        double.stop()


@pytest.mark.parametrize(
    ("status", "words", "meaning", "said"),
    [
        (403, "Locked: writing is forbidden during the backup", ServiceUnavailable, "during the backup"),
        (403, "Global access is required", PluginConfigError, "Global access is required"),
        (500, "No space left on device: WAL buffer size exceeds available disk space", StorageFull, "full"),
    ],
)
def test_what_the_server_refuses_is_told_in_its_words_and_not_repeated(
    double: QdrantDouble, status: int, words: str, meaning: type[Exception], said: str
) -> None:
    with opened(double.url) as store:
        store.create_index("one", SPEC)
        double.fail_next, double.words = [status, 503], words
        with pytest.raises(meaning, match=said):
            store.insert("one", [make_point(1)])
        assert double.fail_next == [503]


def test_strangers_collections_are_left_alone(double: QdrantDouble) -> None:
    from qdrant_client import models

    double.client.create_collection("theirs", models.VectorParams(size=3, distance=models.Distance.DOT))
    with opened(double.url) as store:
        store.create_index("one", SPEC)
        assert store.list_indexes() == ["one"]
        for call in (store.count, lambda name: store.create_index(name, SPEC)):
            with pytest.raises(UsageError, match="theirs"):
                call("theirs")


def test_whether_an_index_is_there_is_one_request(double: QdrantDouble) -> None:
    with opened(double.url) as store:
        store.create_index("one", SPEC)
        double.requests.clear()
        assert store.has_index("one") and not store.has_index("two")
        assert double.requests == ["GET /collections/one/exists", "GET /collections/two/exists"]


def test_a_collection_that_is_dropped_meanwhile_is_not_listed(double: QdrantDouble) -> None:
    with opened(double.url) as store:
        for name in ("one", "two"):
            store.create_index(name, SPEC)
        double.requests.clear()
        assert store.list_indexes() == ["one", "two"]
        assert len(double.requests) == 3
        answer = double.client.get_collections()
        double.client.delete_collection("one")
        double.client.get_collections = lambda: answer
        assert store.list_indexes() == ["two"]


def test_an_index_that_was_dropped_is_forgotten_and_no_other_is_named(double: QdrantDouble) -> None:
    with opened(double.url) as store, opened(double.url) as other:
        for name in ("one", "theirs"):
            store.create_index(name, SPEC)
        store.insert("one", [make_point(1)])
        other.drop_index("one")
        for _ in range(2):
            with pytest.raises(UsageError, match="'one'") as caught:
                store.search("one", [SearchRequest(vector=make_point(1).vector)])
            assert "theirs" not in str(caught.value) and double.url not in str(caught.value)
        other.create_index("one", replace(SPEC, dimension=SPEC.dimension + 1))
        with pytest.raises(DimensionMismatch):
            store.search("one", [SearchRequest(vector=make_point(1).vector)])


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_what_reads_does_not_wait_long_for_a_server_that_hangs(double: QdrantDouble, protocol: str) -> None:
    beside = QdrantGrpcDouble(double).start()
    more = {"prefer_grpc": True, "grpc_port": beside.port} if protocol == "grpc" else {}
    try:
        with opened(double.url, read_timeout=1, **more) as store:
            store.create_index("one", SPEC)
            store.insert("one", [make_point(1)])
            double.delay = 1.5
            reads = {
                "search": lambda: store.search("one", [SearchRequest(vector=make_point(1).vector)]),
                "scroll": lambda: store.scroll("one"),
                "has_index": lambda: store.has_index("one"),
            }
            for name, read in reads.items():
                began = time.monotonic()
                with pytest.raises(ServiceUnavailable, match="unavailable"):
                    read()
                assert time.monotonic() - began < 3, name
            store.insert("one", [make_point(2)])
            double.delay = 0.0
            assert store.count("one") == 2
    finally:
        double.delay = 0.0
        beside.stop()


def test_another_process_finds_spec_and_bm25_options(double: QdrantDouble) -> None:
    spec = replace(SPEC, bm25={"language": "german", "k1": 0.9})
    with opened(double.url) as store:
        store.create_index("one", spec)
        store.insert("one", [make_point(1, text="die Häuser")])
    with opened(double.url) as other:
        ((hit,),) = other.search("one", [SearchRequest(text="Haus")])  # the German stemmer
        assert hit.id == make_point(1).id
        with pytest.raises(UsageError, match="bm25"):
            other.create_index("one", SPEC)
        other.create_index("one", replace(spec, payload_indexes={**spec.payload_indexes, "text": "keyword"}))
    with opened(double.url) as third:
        assert third.facet("one", "text") == [("die Häuser", 1)]


def test_payload_indexes_are_made_before_the_first_upload(double: QdrantDouble) -> None:
    with opened(double.url) as store:
        store.create_index("one", SPEC)
        store.insert("one", [make_point(1)])
    indexes = [n for n, request in enumerate(double.requests) if request.endswith("/index")]
    upload = double.requests.index("PUT /collections/one/points")
    assert len(indexes) == len(SPEC.payload_indexes)
    assert max(indexes) < upload


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_payload_indexes_that_were_never_made_are_made_by_the_next(
    double: QdrantDouble, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever made the collection was cut off after its second index; its spec names all of them."""
    beside = QdrantGrpcDouble(double).start()
    more = {"prefer_grpc": True, "grpc_port": beside.port} if protocol == "grpc" else {}

    def made() -> list[str]:
        return [request for request in double.requests if request.endswith(("/index", "CreateFieldIndex"))]

    with opened(double.url, **more) as store:
        create = store._call

        def cut(call: object) -> object:
            if len(made()) == 2:
                raise KeyboardInterrupt
            return create(call)

        monkeypatch.setattr(store, "_call", cut)
        with pytest.raises(KeyboardInterrupt):
            store.create_index("one", SPEC)
    with opened(double.url, **more) as other:
        other.create_index("one", SPEC)
        assert len(made()) == len(SPEC.payload_indexes)
        other.create_index("one", SPEC)
        assert len(made()) == len(SPEC.payload_indexes)
        wider = replace(SPEC, payload_indexes={**SPEC.payload_indexes, "colour": "keyword"})
        other.create_index("one", wider)
        other.drop_index("one")
        other.create_index("one", wider)
    assert len(made()) == 2 * len(wider.payload_indexes)
    beside.stop()


def test_an_alias_is_switched_in_one_request(double: QdrantDouble) -> None:
    with opened(double.url) as store:
        for name, points in (("one", 1), ("two", 2)):
            store.create_index(name, SPEC)
            store.insert(name, [make_point(n) for n in range(points)])
        store.point_alias("live", "one")
        double.requests.clear()
        store.point_alias("live", "two")
        assert double.requests.count("POST /collections/aliases") == 1
        assert double.client.count("live").count == 2
        assert store.list_indexes() == ["one", "two"]


def test_a_large_insert_goes_in_batches(double: QdrantDouble) -> None:
    with opened(double.url, batch_points=64) as store:
        store.create_index("one", SPEC)
        store.insert("one", [make_point(n) for n in range(200)])
        assert store.count("one") == 200
    assert double.requests.count("PUT /collections/one/points") == 4


def test_the_server_says_how_long_to_wait(double: QdrantDouble) -> None:
    with opened(double.url, tries=2) as store:
        store.create_index("one", SPEC)
        double.retry_after = 0.4
        double.fail_next = [503]
        start = time.monotonic()
        store.insert("one", [make_point(1)])
        assert time.monotonic() - start >= 0.4
        double.away, double.retry_after = True, 0.0
        double.requests.clear()
        with pytest.raises(ServiceUnavailable) as caught:
            store.count("one")
        assert caught.value.retry_after == 0.0
        assert len(double.requests) == 2


def test_a_certificate_that_nobody_signed_is_named_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import trustme

    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    double = QdrantDouble(tls=context).start()
    try:
        with opened(double.url) as store, pytest.raises(PluginConfigError, match="SSL_CERT_FILE"):
            store.list_indexes()
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        with opened(double.url) as store:
            assert store.list_indexes() == []
    finally:
        double.stop()


def test_searches_can_pass_over_what_is_not_indexed_yet(double: QdrantDouble) -> None:
    with opened(double.url, indexed_only=True) as store:
        store.create_index("one", SPEC)
        store.insert("one", [make_point(1)])
        dense, sparse = SearchRequest(vector=make_point(1).vector), SearchRequest(text="first")
        assert store.search("one", [dense])
        store.search("one", [dense, sparse])
    told = double.bodies["POST /collections/one/points/query/batch"]["searches"]
    assert [search.get("params") for search in told] == [{"indexed_only": True}, None]


# -- over gRPC ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def grpc_double(double: QdrantDouble) -> Iterator[QdrantGrpcDouble]:
    beside = QdrantGrpcDouble(double).start()
    yield beside
    beside.stop()


@pytest.mark.parametrize("failure", ["UNAVAILABLE", "RESOURCE_EXHAUSTED"])
def test_grpc_bridges_a_short_absence(double: QdrantDouble, grpc_double: QdrantGrpcDouble, failure: str) -> None:
    with opened(double.url, prefer_grpc=True, grpc_port=grpc_double.port) as store:
        store.create_index("one", SPEC)
        grpc_double.fail_next = [failure, failure]
        store.insert("one", [make_point(1)])
        assert store.count("one") == 1
        grpc_double.fail_next = ["INVALID_ARGUMENT", "UNAVAILABLE"]
        with pytest.raises(PermanentError, match="INVALID_ARGUMENT"):
            store.count("one")
        assert grpc_double.fail_next == ["UNAVAILABLE"]  # a refusal is not repeated


def test_grpc_tells_a_long_absence_and_a_wrong_key(double: QdrantDouble, grpc_double: QdrantGrpcDouble) -> None:
    with opened(double.url, prefer_grpc=True, grpc_port=grpc_double.port, tries=2) as store:
        double.away = True
        with pytest.raises(ServiceUnavailable, match="unavailable"):
            store.list_indexes()
        double.away, double.api_key = False, "right"
        with pytest.raises(PluginConfigError, match="api_key_env"):
            store.list_indexes()
