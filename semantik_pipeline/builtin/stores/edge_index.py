"""One index of the embedded store: its spec, its shard, and every operation on its points."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from semantik_pipeline.builtin.stores.bm25 import bm25_of, sparse_query
from semantik_pipeline.builtin.stores.checks import (
    check_facet,
    dense_of,
    query_vector,
    slices,
    sparse_rows,
    vector_rows,
)
from semantik_pipeline.builtin.stores.edge_errors import check_room, translated
from semantik_pipeline.builtin.stores.edge_filters import edge_filter, filter_of, only_ids
from semantik_pipeline.builtin.stores.edge_fold import fold
from semantik_pipeline.builtin.stores.edge_journal import Journal
from semantik_pipeline.builtin.stores.edge_shard import OpenShard
from semantik_pipeline.contracts.filters import parse_filter
from semantik_pipeline.documents import IndexSpec, Leg, Point, ScoredPoint, SearchRequest, StoredPoint
from semantik_pipeline.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    import qdrant_edge

    from semantik_pipeline.builtin.stores.edge_folder import EdgeFolder
    from semantik_pipeline.contracts.vectordb import Filter

_IDS = 1000  # ids in one operation


class EdgeIndex:
    """Writes ``slice_points`` points in one step and keeps up to ``fold_points`` new ones in memory. With fewer than
    ``reserve`` bytes free, nothing is written."""

    def __init__(
        self,
        name: str,
        home: EdgeFolder,
        spec: IndexSpec,
        *,
        shard: OpenShard,
        slice_points: int,
        fold_points: int,
        reserve: int,
    ) -> None:
        self.name = name
        self.folder = home.path / name
        self._home = home
        self.spec = spec
        self.shard = shard
        self.rebuilding = threading.Lock()  # its holder may start a journal and swap a copy in
        self._slice_points = slice_points
        self._fold_points = fold_points
        self._reserve = reserve
        self._bm25 = bm25_of(spec)

    def twin(self, folder: Path) -> EdgeIndex:
        """The copy of this index in ``folder``, next to it, as an index."""
        return EdgeIndex(
            folder.name,
            self._home,
            self.spec,
            shard=OpenShard(folder / "shard"),
            slice_points=self._slice_points,
            fold_points=4 * self._fold_points,  # with fewer folds, a copy catches up several times as fast
            reserve=self._reserve,
        )

    def journal(self, path: Path) -> Journal:
        """A journal for this index, which leaves its updates the disk space that they need."""
        return Journal(path, least_free=2 * self._reserve)

    def insert(self, points: Sequence[Point], condition: Filter | None) -> None:
        import qdrant_edge as edge

        only = self._filter(condition)
        for some in slices(points, self._slice_points):
            self._check_room()
            made = self._points(some)
            with self.shard.updating(len(some), said=("insert", list(some), condition)) as shard:
                shard.update(edge.UpdateOperation.upsert_points(made, condition=only))
            self._fold_if_due()

    def search(self, requests: Sequence[SearchRequest]) -> list[Sequence[ScoredPoint]]:
        import qdrant_edge as edge

        with translated(self.name):
            given = {id(request.filter): request.filter for request in requests}  # legs usually share one filter
            filters = {known: edge_filter(filter) for known, filter in given.items()}
            queries = [self._query(request, filters[id(request.filter)]) for request in requests]
        with self.shard.searching() as shard:
            legs = shard.query_batch(edge.QueryBatchRequest(queries))
        return [_answer(request, hits) for request, hits in zip(requests, legs, strict=True)]

    def delete(self, ids: Sequence[str] | None, filter: Filter | None) -> None:
        import qdrant_edge as edge

        for some, only in self._selections(ids, filter):
            with self.shard.updating(said=("delete", some, filter)) as shard:
                shard.update(edge.UpdateOperation.delete_points_by_filter(only))

    def set_payload(self, ids: Sequence[str], payload: dict[str, Any], condition: Filter | None) -> None:
        import qdrant_edge as edge

        self._check_room()
        for some, only in self._selections(ids, condition):
            # The engine rewrites the points that it changes. How many points a filter alone selects is unknown.
            with self.shard.updating(len(some or "1"), said=("set_payload", some, payload, condition)) as shard:
                shard.update(edge.UpdateOperation.set_payload_by_filter(only, payload))
            self._fold_if_due()

    def count(self, filter: Filter | None) -> int:
        import qdrant_edge as edge

        request = edge.CountRequest(exact=True, filter=self._filter(filter))
        with self.shard.reading() as shard:
            return shard.count(request)

    def scroll(
        self,
        filter: Filter | None,
        fields: Sequence[str] | None,
        after: str | None,
        limit: int,
        with_vectors: bool = False,
    ) -> tuple[list[StoredPoint], str | None]:
        import qdrant_edge as edge

        wanted: bool | list[str] = True if fields is None else list(fields) or False
        vectors: bool | list[str] = ["dense"] if with_vectors else False
        following: Any = None
        with translated(self.name):
            clauses = parse_filter(filter)
            named: Any = only_ids(clauses)
            by_id = named is not None and after is None and len(named) <= limit
            only = None if by_id else filter_of(clauses)
        with self.shard.reading() as shard:
            if by_id:  # takes half the time
                records = shard.retrieve(named, with_payload=wanted, with_vector=vectors)
            else:
                request = edge.ScrollRequest(
                    offset=after, limit=limit, filter=only, with_payload=wanted, with_vector=vectors
                )
                records, following = shard.scroll(request)
        page = [
            StoredPoint(id=str(record.id), payload=record.payload or {}, vector=dense_of(record.vector))
            for record in records
        ]
        return page, None if following is None else str(following)

    def stop_words(self, words: Sequence[str], languages: Sequence[str]) -> set[str]:
        return set() if self._bm25 is None else self._bm25.stop_words(words, languages)

    def facet(self, key: str, filter: Filter | None, limit: int) -> list[tuple[Any, int]]:
        import qdrant_edge as edge

        check_facet(self.name, self.spec, key)
        request = edge.FacetRequest(key=key, limit=limit, exact=True, filter=self._filter(filter))
        with self.shard.reading() as shard:
            hits = shard.facet(request).hits
        return sorted(((hit.value, hit.count) for hit in hits), key=lambda pair: (-pair[1], str(pair[0])))

    def _points(self, points: Sequence[Point]) -> list[qdrant_edge.Point]:
        import qdrant_edge as edge

        made = []
        rows, terms = vector_rows(self.name, points, self.spec.dimension), sparse_rows(self.name, points, self.spec)
        for point, dense, given in zip(points, rows, terms, strict=True):
            vectors: dict[str, Any] = {"dense": dense}
            if given is not None:
                vectors["sparse"] = edge.SparseVector(indices=given.indices, values=given.values)
            elif self._bm25 is not None:
                vectors["sparse"] = self._bm25.document(point.sparse_text, point.language)
            with translated(f"{self.name} (point {point.id})"):
                made.append(edge.Point(point.id, vectors, point.payload))
        return made

    def _query(self, request: SearchRequest, only: qdrant_edge.Filter | None) -> qdrant_edge.QueryRequest:
        import qdrant_edge as edge

        dense = query_vector(self.name, request, self.spec)
        if dense is not None:
            query = edge.Query.Nearest(dense, using="dense")
        else:
            terms = sparse_query(self._bm25, request)
            vector = edge.SparseVector(indices=terms.indices, values=terms.values)
            query = edge.Query.Nearest(vector, using="sparse")
        return edge.QueryRequest(limit=request.limit, query=query, with_payload=request.with_payload, filter=only)

    def _selections(
        self, ids: Sequence[str] | None, filter: Filter | None
    ) -> list[tuple[list[str] | None, qdrant_edge.Filter]]:
        """Pairs of some of the ids and a filter that selects the points among them that match ``filter``."""
        if ids is not None:
            return [(list(some), self._filter(filter, list(some))) for some in slices(ids, _IDS)]
        if filter is None:
            raise UsageError(f"No points of {self.name} are selected.", "Give ids, a filter, or both.")
        return [(None, self._filter(filter))]

    def _filter(self, filter: Filter | None, ids: list[str] | None = None) -> qdrant_edge.Filter | None:
        with translated(self.name):
            return edge_filter(filter, ids)

    def _fold_if_due(self) -> None:
        if self.shard.unfolded >= self._fold_points:
            fold(self._home, self)

    def _check_room(self) -> None:
        check_room(self.folder, self._reserve, self.name)


def _answer(request: SearchRequest, hits: list[Any]) -> Sequence[ScoredPoint]:
    if not request.with_payload:
        return Leg(_ids(hits), [hit.score for hit in hits])
    return [ScoredPoint(id=str(hit.id), score=hit.score, payload=hit.payload or {}) for hit in hits]


def _ids(hits: Sequence[Any]) -> list[str]:
    """The ids as text. A hit's ``repr`` has the id at the same position in every hit, and takes a third of the time
    that the engine needs to build a UUID and Python to format it; two legs have hundreds of hits."""
    if not hits:
        return []
    first = str(hits[0].id)
    at = repr(hits[0]).find(first)
    ids = list(map(itemgetter(slice(at, at + len(first))), map(repr, hits)))
    return ids if at >= 0 and ids[-1] == str(hits[-1].id) else [str(hit.id) for hit in hits]
