"""One contract, every store."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from semantik_pipeline.builtin.stores.qdrant import QdrantStore
from semantik_pipeline.builtin.stores.qdrant_calls import NoSuchCollection
from semantik_pipeline.builtin.stores.qdrant_edge import QdrantEdgeStore
from semantik_pipeline.contracts.vectordb import VectorDBPlugin
from semantik_pipeline.testing.fakes import MemoryStore
from semantik_pipeline.testing.qdrant_double import QdrantDouble
from semantik_pipeline.testing.qdrant_grpc import QdrantGrpcDouble
from semantik_pipeline.testing.stores import VectorDBContract


class TestMemoryStore(VectorDBContract):
    def make_store(self, tmp_path: Path) -> VectorDBPlugin:
        return MemoryStore()


class TestQdrantEdge(VectorDBContract):
    @pytest.fixture
    def tmp_path(self) -> Iterator[Path]:
        """In memory where that can be had: each test makes an index, and an index syncs a dozen files."""
        with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
            yield Path(folder)

    def make_store(self, tmp_path: Path) -> VectorDBPlugin:
        return QdrantEdgeStore({"path": str(tmp_path / "index")})


class LocalQdrantStore(QdrantStore):
    """On qdrant-client's local mode, which is not made for threads: one call at a time. What a server would answer with
    404 is a ValueError there."""

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        from qdrant_client import QdrantClient

        super().__init__(config)
        self._one_at_a_time = threading.Lock()
        self._local = QdrantClient(":memory:")

    def _connect(self, timeout: int) -> Any:
        return self._local

    def _call(self, call: Any) -> Any:
        with self._one_at_a_time:
            try:
                return call(self._local)
            except ValueError as error:
                if "not found" in str(error):
                    raise NoSuchCollection(str(error)) from None
                raise

    _read = _call


class TestQdrantLocal(VectorDBContract):
    def make_store(self, tmp_path: Path) -> VectorDBPlugin:
        return LocalQdrantStore({"url": "http://in-this-process"})


@pytest.fixture(scope="module")
def double() -> Iterator[QdrantDouble]:
    double = QdrantDouble().start()
    yield double
    double.stop()


class TestQdrantOverHttp(VectorDBContract):
    @pytest.fixture(autouse=True)
    def address(self, double: QdrantDouble) -> None:
        self.url = double.url

    def make_store(self, tmp_path: Path) -> VectorDBPlugin:
        return QdrantStore({"url": self.url})


@pytest.fixture(scope="module")
def grpc_double(double: QdrantDouble) -> Iterator[QdrantGrpcDouble]:
    beside = QdrantGrpcDouble(double).start()
    yield beside
    beside.stop()


class TestQdrantOverGrpc(VectorDBContract):
    @pytest.fixture(autouse=True)
    def address(self, double: QdrantDouble, grpc_double: QdrantGrpcDouble) -> Iterator[None]:
        self.options = {"url": double.url, "prefer_grpc": True, "grpc_port": grpc_double.port}
        double.requests.clear()
        yield
        assert all(request.startswith("grpc ") for request in double.requests)

    def make_store(self, tmp_path: Path) -> VectorDBPlugin:
        return QdrantStore(self.options)


SERVER = os.environ.get("SEMANTIK_TEST_QDRANT_URL")

if SERVER:

    class TestQdrantServer(VectorDBContract):
        def make_store(self, tmp_path: Path) -> VectorDBPlugin:
            return QdrantStore({"url": SERVER})

else:

    def test_a_real_server() -> None:
        pytest.skip("SEMANTIK_TEST_QDRANT_URL names no Qdrant server")
