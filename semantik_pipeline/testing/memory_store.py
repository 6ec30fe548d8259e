"""A vector store in a dictionary: the simplest implementation of the contract, and the reference in tests of stores."""

from __future__ import annotations

import copy
import math
import re
import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from semantik_pipeline.contracts.filter_meaning import matches, values_at
from semantik_pipeline.contracts.filters import parse_filter
from semantik_pipeline.contracts.vectordb import Filter, VectorDBPlugin
from semantik_pipeline.documents import IndexSpec, Point, ScoredPoint, SearchRequest, SparseVector, StoredPoint
from semantik_pipeline.errors import DimensionMismatch, PermanentError, UsageError

_WORD = re.compile(r"\w+")
_SHARED: dict[str, dict[str, _Index]] = {}


class _Index:
    def __init__(self, spec: IndexSpec) -> None:
        self.spec = spec
        self.points: dict[str, Point] = {}


class MemoryStore(VectorDBPlugin):
    """Compares with every point. Stores of one process with the same value of ``shared`` have the same indexes."""

    PLUGIN_ID = "fake-store"
    PLUGIN_VERSION = "1.0.0"
    METADATA: ClassVar[dict[str, Any]] = {"name": "Memory store", "description": "Points in a dictionary."}

    @classmethod
    def get_config_schema(cls) -> dict[str, Any]:
        shared = {"shared": {"type": "string", "x-operational": True}}
        return {"type": "object", "additionalProperties": False, "properties": shared}

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        super().__init__(config)
        shared = self.config.get("shared")
        self._indexes: dict[str, _Index] = {} if shared is None else _SHARED.setdefault(shared, {})
        self._aliases: dict[str, str] = {}
        self._guard = threading.RLock()

    @property
    def capabilities(self) -> set[str]:
        return {"sparse", "sparse_vectors", "facet", "alias", "condition", "payloads"}

    def create_index(self, name: str, spec: IndexSpec) -> None:
        with self._guard:
            known = self._indexes.setdefault(name, _Index(spec))
            if known.spec.dimension != spec.dimension:
                raise DimensionMismatch(f"{name} has {known.spec.dimension} dimensions, not {spec.dimension}.")
            if any(getattr(known.spec, name) != getattr(spec, name) for name in ("bm25", "distance", "sparse_vectors")):
                raise UsageError(f"{name} was created with other options.")

    def drop_index(self, name: str) -> None:
        self._indexes.pop(name, None)

    def list_indexes(self) -> list[str]:
        return sorted(self._indexes)

    def insert(self, name: str, points: Sequence[Point], condition: Filter | None = None) -> None:
        index, wanted = self._index(name), parse_filter(condition)
        with self._guard:
            for point in points:
                if len(point.vector) != index.spec.dimension:
                    raise DimensionMismatch(
                        f"{name} has {index.spec.dimension} dimensions; point {point.id} has {len(point.vector)}."
                    )
                if not np.isfinite(point.vector).all():
                    raise PermanentError(f"The vector of point {point.id} contains NaN or infinity.")
                known = index.points.get(point.id)
                if known is None or matches(wanted, known.id, known.payload):
                    index.points[point.id] = copy.deepcopy(point)

    def search(self, name: str, requests: Sequence[SearchRequest]) -> list[list[ScoredPoint]]:
        index = self._index(name)
        return [self._leg(name, index, request) for request in requests]

    def delete(self, name: str, ids: Sequence[str] | None = None, filter: Filter | None = None) -> None:
        if ids is None and filter is None:
            raise UsageError("Give ids, a filter, or both.")
        index = self._index(name)
        with self._guard:
            for point in self._matching(index, filter):
                if ids is None or point.id in ids:
                    del index.points[point.id]

    def count(self, name: str, filter: Filter | None = None) -> int:
        return len(self._matching(self._index(name), filter))

    def scroll(
        self,
        name: str,
        filter: Filter | None = None,
        fields: Sequence[str] | None = None,
        after: str | None = None,
        limit: int = 1000,
        with_vectors: bool = False,
    ) -> tuple[list[StoredPoint], str | None]:
        found = sorted((p for p in self._matching(self._index(name), filter)), key=lambda point: point.id)
        rest = [point for point in found if after is None or point.id >= after]
        page = [
            StoredPoint(
                id=point.id,
                payload=_selected(point.payload, fields),
                vector=np.array(point.vector, dtype=np.float32) if with_vectors else None,
            )
            for point in rest[:limit]
        ]
        return page, rest[limit].id if len(rest) > limit else None

    def set_payload(
        self, name: str, ids: Sequence[str], payload: dict[str, Any], condition: Filter | None = None
    ) -> None:
        index, wanted = self._index(name), parse_filter(condition)
        with self._guard:
            for point_id in ids:
                point = index.points.get(point_id)
                if point is not None and matches(wanted, point.id, point.payload):
                    point.payload.update(copy.deepcopy(payload))

    def set_payloads(
        self, name: str, changes: Sequence[tuple[Sequence[str], dict[str, Any]]], condition: Filter | None = None
    ) -> None:
        for ids, payload in changes:
            self.set_payload(name, ids, payload, condition)

    def point_alias(self, alias: str, name: str) -> None:
        self._index(name)
        self._aliases[alias] = name

    def facet(self, name: str, key: str, filter: Filter | None = None, limit: int = 10) -> list[tuple[Any, int]]:
        index = self._index(name)
        if index.spec.payload_indexes.get(key) not in ("keyword", "integer", "bool"):
            raise UsageError(f"{name} has no facets of {key!r}.")
        counts: Counter = Counter()
        for point in self._matching(index, filter):
            values = values_at(point.payload, key)
            counts.update({item for value in values for item in (value if isinstance(value, list) else [value])})
        return sorted(counts.items(), key=lambda pair: (-pair[1], str(pair[0])))[:limit]

    def _index(self, name: str) -> _Index:
        name = self._aliases.get(name, name)
        if name not in self._indexes:
            raise UsageError(f"There is no index {name!r} in this store.")
        return self._indexes[name]

    def _matching(self, index: _Index, filter: Filter | None) -> list[Point]:
        wanted = parse_filter(filter)
        with self._guard:
            return [point for point in index.points.values() if matches(wanted, point.id, point.payload)]

    def _leg(self, name: str, index: _Index, request: SearchRequest) -> list[ScoredPoint]:
        if sum(part is not None for part in (request.vector, request.text, request.sparse)) != 1:
            raise UsageError("A search leg takes either a vector, a text, or a sparse vector.")
        found = self._matching(index, request.filter)
        if request.vector is not None:
            if len(request.vector) != index.spec.dimension:
                raise DimensionMismatch(f"{name} has {index.spec.dimension} dimensions, not {len(request.vector)}.")
            scores = [_cosine(request.vector, point.vector) for point in found]
        elif request.sparse is not None:
            if not index.spec.sparse_vectors:
                raise UsageError(f"The index {name} has no sparse vectors.")
            found, scores = _positive(found, [_product(request.sparse, point.sparse) for point in found])
        else:
            if index.spec.bm25 is None or index.spec.sparse_vectors:
                raise UsageError(f"The index {name} has no BM25 leg.")
            assert request.text is not None  # as checked above
            scores = _bm25(request.text, found, list(index.points.values()))
            found, scores = _positive(found, scores)
        best = sorted(zip(found, scores, strict=True), key=lambda pair: (-pair[1], pair[0].id))[: request.limit]
        return [
            ScoredPoint(id=p.id, score=s, payload=copy.deepcopy(p.payload) if request.with_payload else {})
            for p, s in best
        ]


def _selected(payload: dict[str, Any], fields: Sequence[str] | None) -> dict[str, Any]:
    chosen = payload if fields is None else {name: payload[name] for name in fields if name in payload}
    return copy.deepcopy(chosen)


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(np.dot(one, other)) / lengths if lengths else 0.0


def _product(one: SparseVector, other: SparseVector | None) -> float:
    weights = dict(zip(other.indices, other.values, strict=True)) if other else {}
    return sum(value * weights.get(index, 0.0) for index, value in zip(one.indices, one.values, strict=True))


def _bm25(query: str, points: list[Point], corpus: list[Point]) -> list[float]:
    """BM25 (k1 1.2, b 0.75) over lower-case words, with document frequencies from the whole corpus."""
    texts = {point.id: _WORD.findall(point.sparse_text.lower()) for point in corpus}
    average = sum(map(len, texts.values())) / max(1, len(texts)) or 1.0
    asked = set(_WORD.findall(query.lower()))
    seen = {word: sum(word in text for text in texts.values()) for word in asked}
    idf = {word: math.log(1 + (len(texts) - n + 0.5) / (n + 0.5)) for word, n in seen.items()}
    scores = []
    for point in points:
        counts, length = Counter(texts[point.id]), len(texts[point.id])
        norm = 1.2 * (0.25 + 0.75 * length / average)
        scores.append(sum(idf[word] * counts[word] * 2.2 / (counts[word] + norm) for word in asked))
    return scores


def _positive(points: list[Point], scores: list[float]) -> tuple[list[Point], list[float]]:
    kept = [(point, score) for point, score in zip(points, scores, strict=True) if score > 0]
    return [point for point, _ in kept], [score for _, score in kept]
