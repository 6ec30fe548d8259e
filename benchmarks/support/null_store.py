"""A vector store that keeps nothing, so that a benchmark measures the pipeline itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from semantik_pipeline.contracts.vectordb import Filter, VectorDBPlugin
from semantik_pipeline.documents import IndexSpec, Point, ScoredPoint, SearchRequest, StoredPoint


class NullStore(VectorDBPlugin):
    """Acknowledges every point and forgets it. It only counts the points, because ``semantik index`` rewrites points
    that a store has lost."""

    PLUGIN_ID = "null-store"
    acknowledged = 0

    def create_index(self, name: str, spec: IndexSpec) -> None: ...

    def drop_index(self, name: str) -> None: ...

    def list_indexes(self) -> list[str]:
        return []

    def insert(self, name: str, points: Sequence[Point], condition: Filter | None = None) -> None:
        self.acknowledged += len(points)

    def search(self, name: str, requests: Sequence[SearchRequest]) -> list[list[ScoredPoint]]:
        return [[] for _ in requests]

    def delete(self, name: str, ids: Sequence[str] | None = None, filter: Filter | None = None) -> None: ...

    def count(self, name: str, filter: Filter | None = None) -> int:
        return self.acknowledged

    def scroll(
        self,
        name: str,
        filter: Filter | None = None,
        fields: Sequence[str] | None = None,
        after: str | None = None,
        limit: int = 1000,
        with_vectors: bool = False,
    ) -> tuple[list[StoredPoint], str | None]:
        return [], None

    def set_payload(
        self, name: str, ids: Sequence[str], payload: dict[str, Any], condition: Filter | None = None
    ) -> None: ...
