"""One contract, every store."""

from __future__ import annotations

from pathlib import Path

from semantik_pipeline.builtin.stores.qdrant_edge import QdrantEdgeStore
from semantik_pipeline.contracts.vectordb import VectorDBPlugin
from semantik_pipeline.testing.fakes import MemoryStore
from semantik_pipeline.testing.stores import VectorDBContract


class TestMemoryStore(VectorDBContract):
    def make_store(self, tmp_path: Path) -> VectorDBPlugin:
        return MemoryStore()


class TestQdrantEdge(VectorDBContract):
    def make_store(self, tmp_path: Path) -> VectorDBPlugin:
        return QdrantEdgeStore({"path": str(tmp_path / "index")})


class TestQdrantEdgeRebuilt(VectorDBContract):
    """The same on an index that has been moved to disk and has a graph."""

    def make_store(self, tmp_path: Path) -> VectorDBPlugin:
        return QdrantEdgeStore({"path": str(tmp_path / "index"), "optimize_above": 1, "graph_above": 5})
