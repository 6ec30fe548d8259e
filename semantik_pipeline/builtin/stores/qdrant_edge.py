"""The embedded store: Qdrant's own engine inside this process, with a folder for each index."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from semantik_pipeline.builtin.stores.bm25 import bm25_of
from semantik_pipeline.builtin.stores.checks import check_same_spec, missing_index
from semantik_pipeline.builtin.stores.edge_config import create_shard, payload_index
from semantik_pipeline.builtin.stores.edge_errors import check_room, translated
from semantik_pipeline.builtin.stores.edge_folder import EdgeFolder
from semantik_pipeline.builtin.stores.edge_index import EdgeIndex
from semantik_pipeline.builtin.stores.edge_rebuild import RebuildPolicy, rebuild
from semantik_pipeline.builtin.stores.edge_shard import OpenShard
from semantik_pipeline.contracts.plugin import HealthState, HealthStatus
from semantik_pipeline.contracts.vectordb import Filter, VectorDBPlugin
from semantik_pipeline.documents import IndexSpec, Point, ScoredPoint, SearchRequest, StoredPoint
from semantik_pipeline.errors import PipelineError, PluginConfigError


class QdrantEdgeStore(VectorDBPlugin):
    """Qdrant Edge (``qdrant-edge-py``). One process owns the folder; its threads may call concurrently."""

    PLUGIN_ID = "qdrant-edge"
    PLUGIN_VERSION = "1.0.0"
    METADATA: ClassVar[dict[str, Any]] = {
        "name": "Qdrant Edge",
        "description": "The Qdrant engine inside this process: one folder, no server.",
        "license": "Apache-2.0",
    }

    @classmethod
    def get_config_schema(cls) -> dict[str, Any]:
        return {"type": "object", "additionalProperties": False, "required": ["path"], "properties": dict(_OPTIONS)}

    @classmethod
    async def health_check(cls, config: dict[str, Any] | None = None) -> HealthStatus:
        if importlib.util.find_spec("qdrant_edge") is None:
            return HealthStatus(HealthState.UNHEALTHY, "the package qdrant-edge-py is not installed")
        path = (config or {}).get("path")
        if not path:
            return HealthStatus(HealthState.UNKNOWN, "no path is configured")
        return HealthStatus(HealthState.HEALTHY, f"{len(EdgeFolder(path).names())} indexes in {path}")

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        super().__init__(config)
        self._options: dict[str, Any] = {name: option.get("default") for name, option in _OPTIONS.items()} | self.config
        self._indexes: dict[str, EdgeIndex] = {}
        self._guard = threading.RLock()
        self._folder: EdgeFolder | None = None

    async def initialize(self) -> None:
        """Become the folder's owner, or raise DataFolderInUse."""
        if not self._options["path"]:
            raise PluginConfigError("qdrant-edge needs a path.", "Set path to the folder for its indexes.")
        folder = EdgeFolder(self._options["path"])
        folder.own()
        self._folder = folder

    async def cleanup(self) -> None:
        """Flush and close every index, then release the folder. Waits for running calls, but stops an optimizer, whose
        index then stays as it was."""
        if self._folder is not None:
            self._folder.optimizers.end()
        with self._guard:
            while self._indexes:
                _, index = self._indexes.popitem()
                with index.shard.closed(for_good=True):
                    pass
            if self._folder is not None:
                self._folder.release()
                self._folder = None

    @property
    def capabilities(self) -> set[str]:
        return {"sparse", "sparse_vectors", "languages", "facet", "optimize", "condition"}

    # -- indexes -----------------------------------------------------------------------------------------------------

    def create_index(self, name: str, spec: IndexSpec) -> None:
        with self._guard:
            folder = self._owned()
            if folder.spec(name) is not None:
                self._extend(self._index(name), spec)
                return
            schemas = {key: payload_index(kind) for key, kind in spec.payload_indexes.items()}
            bm25_of(spec)  # raises for invalid options before anything is created
            check_room(folder.path, self._reserve, name)
            folder.remove(name)  # a remnant: a folder without a spec is not an index
            (folder.path / name).mkdir()
            with translated(name):
                opened = _create_shard(folder.shard(name), spec, schemas)
            folder.write_spec(folder.path / name, spec)
            self._indexes[name] = self._opened(name, spec, opened)

    def _extend(self, index: EdgeIndex, spec: IndexSpec) -> None:
        """Add the payload indexes that an existing index lacks; refuse a spec that would change its points."""
        import qdrant_edge as edge

        check_same_spec(index.name, index.spec, spec)
        missing = {key: kind for key, kind in spec.payload_indexes.items() if key not in index.spec.payload_indexes}
        if not missing:
            return
        with index.shard.still():  # so that an optimizer's copy gets all of the change or nothing
            for key, kind in missing.items():
                with index.shard.updating() as shard:
                    shard.update(edge.UpdateOperation.create_field_index(key, payload_index(kind)))
            wider = replace(index.spec, payload_indexes={**index.spec.payload_indexes, **missing})
            self._owned().write_spec(index.folder, wider)
            index.spec = wider

    def drop_index(self, name: str) -> None:
        with self._guard:
            if self._owned().spec(name) is None:
                return
            self._owned().optimizers.end(name)  # otherwise closing would wait for it
            with self._index(name).shard.closed(for_good=True):
                self._owned().remove(name)
                del self._indexes[name]

    def list_indexes(self) -> list[str]:
        return self._owned().names()

    def has_index(self, name: str) -> bool:
        return self._owned().spec(name) is not None

    def optimize(self, name: str) -> None:
        """Move a large index from memory to disk, and build a graph for a very large one (``optimize_above``,
        ``graph_above``). Searches continue; updates wait. Does nothing if there is nothing to gain."""
        options = self._options
        policy = RebuildPolicy(
            above=options["optimize_above"], graph_above=options["graph_above"], deadline=options["optimize_deadline"]
        )
        rebuild(self._owned(), self._index(name), policy)

    def stop_optimizing(self) -> None:
        if (folder := self._folder) is not None:
            folder.optimizers.end()

    # -- points ------------------------------------------------------------------------------------------------------

    def insert(self, name: str, points: Sequence[Point], condition: Filter | None = None) -> None:
        self._index(name).insert(points, condition)

    def search(self, name: str, requests: Sequence[SearchRequest]) -> Sequence[Sequence[ScoredPoint]]:
        return self._index(name).search(requests)

    def delete(self, name: str, ids: Sequence[str] | None = None, filter: Filter | None = None) -> None:
        self._index(name).delete(ids, filter)

    def count(self, name: str, filter: Filter | None = None) -> int:
        return self._index(name).count(filter)

    def scroll(
        self,
        name: str,
        filter: Filter | None = None,
        fields: Sequence[str] | None = None,
        after: str | None = None,
        limit: int = 1000,
        with_vectors: bool = False,
    ) -> tuple[list[StoredPoint], str | None]:
        return self._index(name).scroll(filter, fields, after, limit, with_vectors)

    def set_payload(
        self, name: str, ids: Sequence[str], payload: dict[str, Any], condition: Filter | None = None
    ) -> None:
        self._index(name).set_payload(ids, payload, condition)

    def facet(self, name: str, key: str, filter: Filter | None = None, limit: int = 10) -> list[tuple[Any, int]]:
        return self._index(name).facet(key, filter, limit)

    def stop_words(self, name: str, words: Sequence[str], languages: Sequence[str] = ()) -> set[str]:
        return self._index(name).stop_words(words, languages)

    # -- the folder --------------------------------------------------------------------------------------------------

    @property
    def _reserve(self) -> int:
        return self._options["reserve_mb"] * 1_000_000

    def _owned(self) -> EdgeFolder:
        if self._folder is None:
            raise PipelineError("The embedded store is not open.", "Await initialize() first.")
        return self._folder

    def _index(self, name: str) -> EdgeIndex:
        with self._guard:
            index = self._indexes.get(name)
            if index is None:
                spec = self._owned().spec(name)
                if spec is None:
                    raise missing_index(name)
                index = self._indexes[name] = self._opened(name, spec)
            return index

    def _opened(self, name: str, spec: IndexSpec, shard: Any = None) -> EdgeIndex:
        return EdgeIndex(
            name,
            self._owned(),
            spec,
            shard=OpenShard(self._owned().shard(name), shard),
            slice_points=self._options["slice_points"],
            fold_points=self._options["fold_points"],
            reserve=self._reserve,
        )


def _create_shard(path: Path, spec: IndexSpec, schemas: dict[str, Any]) -> Any:
    import qdrant_edge as edge

    shard = create_shard(path, spec)
    for key, schema in schemas.items():
        shard.update(edge.UpdateOperation.create_field_index(key, schema))
    return shard


def _operational(kind: str, description: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "description": description, "x-operational": True, **more}


_OPTIONS: dict[str, dict[str, Any]] = {
    "path": _operational("string", "Folder for the indexes; it is created if missing."),
    "slice_points": _operational(
        "integer",
        "Number of points written in one step. A step holds the interpreter's lock: up to 30 ms for 128 points, 80 ms"
        " and more for 4,000.",
        default=128,
        minimum=1,
    ),
    "fold_points": _operational(
        "integer",
        "Number of new points kept in memory (4 KB each) before they are folded into files. Updates wait for that for"
        " some seconds.",
        default=2048,
        minimum=1,
    ),
    "reserve_mb": _operational(
        "integer",
        "Free megabytes below which writing stops: the engine memory-maps its files, so a full disk would crash the"
        " process.",
        default=128,
        minimum=0,
    ),
    "optimize_above": _operational(
        "integer", "Number of points from which optimize() merges an index into one segment.", default=20_000, minimum=1
    ),
    "graph_above": _operational(
        "integer",
        "Number of points from which optimize() builds an HNSW graph; below that, comparing every vector takes about"
        " 5 ms.",
        default=100_000,
        minimum=1,
    ),
    "optimize_deadline": _operational("number", "Maximum duration of optimize(), in seconds.", default=900, minimum=1),
}
