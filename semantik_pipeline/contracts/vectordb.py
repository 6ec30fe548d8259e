"""Vector stores. An *index* holds the points of one generation of a collection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from semantik_pipeline.contracts.plugin import SemanticPlugin
from semantik_pipeline.documents import IndexSpec, Point, ScoredPoint, SearchRequest, StoredPoint

Filter = dict[str, Any]


class VectorDBPlugin(SemanticPlugin):
    """A store of points. Methods may be called from several threads; each may be plain or ``async``.

    ``filter`` and ``condition`` are Qdrant's filter JSON: ``{"must": [{"key": "language", "match": {"value": "en"}}]}``.
    Raise ServiceUnavailable when the store is away, StorageFull when its disk is full, and UsageError for a filter
    that it cannot read. A missing index raises UsageError naming it.
    """

    PLUGIN_TYPE: ClassVar[str] = "vectordb"

    @property
    def capabilities(self) -> set[str]:
        """Of ``sparse sparse_vectors languages facet alias optimize condition payloads``: what the store really does
        (``sparse_vectors``: an index takes those of a model instead of BM25; ``languages``: BM25 stems the words of each
        point by that point's language; ``payloads``: it has :meth:`set_payloads`)."""
        return set()

    def create_index(self, name: str, spec: IndexSpec) -> None:
        """Make the index with its payload indexes. An index of that name and spec is left as it is;
        one of another dimension raises DimensionMismatch."""
        raise NotImplementedError

    def drop_index(self, name: str) -> None:
        """Remove the index and its points; a missing one is fine."""
        raise NotImplementedError

    def list_indexes(self) -> list[str]:
        raise NotImplementedError

    def insert(self, name: str, points: Sequence[Point], condition: Filter | None = None) -> None:
        """Write points, idempotent by id; returns when the store has acknowledged them.

        A point that exists and does not meet ``condition`` keeps what it has; a new id is always written.
        """
        raise NotImplementedError

    def search(self, name: str, requests: Sequence[SearchRequest]) -> Sequence[Sequence[ScoredPoint]]:
        """One list for each leg, best first, in one round trip; filters are applied inside the engine. For a leg without
        payloads it may be a :class:`Leg`, which is made faster."""
        raise NotImplementedError

    def delete(self, name: str, ids: Sequence[str] | None = None, filter: Filter | None = None) -> None:
        """Remove points by ids, by filter, or (both given) those of the ids that meet the filter."""
        raise NotImplementedError

    def count(self, name: str, filter: Filter | None = None) -> int:
        raise NotImplementedError

    def scroll(
        self,
        name: str,
        filter: Filter | None = None,
        fields: Sequence[str] | None = None,
        after: str | None = None,
        limit: int = 1000,
        with_vectors: bool = False,
    ) -> tuple[list[StoredPoint], str | None]:
        """A page of points in order of id with those payload fields (None: all), and where the next page starts.

        ``with_vectors``: with their dense vectors too, (d,) float32; a store may have normalised them.
        """
        raise NotImplementedError

    def set_payload(
        self, name: str, ids: Sequence[str], payload: dict[str, Any], condition: Filter | None = None
    ) -> None:
        """Merge these fields into the payload of the points that exist (and meet ``condition``)."""
        raise NotImplementedError

    def set_payloads(
        self, name: str, changes: Sequence[tuple[Sequence[str], dict[str, Any]]], condition: Filter | None = None
    ) -> None:
        """What :meth:`set_payload` does, for several ids and fields, in one round trip. Only a store whose capabilities
        say ``payloads`` is asked."""
        raise NotImplementedError

    def point_alias(self, alias: str, name: str) -> None:
        """Let outsiders find the index under a second name; a store without aliases ignores it."""

    def facet(self, name: str, key: str, filter: Filter | None = None, limit: int = 10) -> list[tuple[Any, int]]:
        """Values of a payload key among the matching points, most frequent first."""
        raise NotImplementedError

    def stop_words(self, name: str, words: Sequence[str], languages: Sequence[str] = ()) -> set[str]:
        """Those of the words that BM25 leaves out of points whose language nobody knows, or that are of one of these
        languages (ISO 639-1 codes). Asks no server, and tells nothing of the points."""
        return set()

    def optimize(self, name: str) -> None:
        """Build what makes searches faster; may take long; a store that does it by itself ignores it."""

    def stop_optimizing(self) -> None:
        """The process is to end: give up at once whatever only makes searches faster or saves memory, and begin none of it
        again; each index is as it was. Everything else goes on. It may come at any time, from any thread."""
