"""Vector stores. An *index* holds the points of one generation of a collection."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Sequence
from typing import Any, ClassVar

from semantik_pipeline.contracts.plugin import SemanticPlugin
from semantik_pipeline.documents import IndexSpec, Point, ScoredPoint, SearchRequest, StoredPoint

Filter = dict[str, Any]


class VectorDBPlugin(SemanticPlugin):
    """A store of points. Methods may be called from several threads; each may be plain or ``async``.

    ``filter`` and ``condition`` are Qdrant's filter JSON:
    ``{"must": [{"key": "language", "match": {"value": "en"}}]}``. Raise ServiceUnavailable when the store is
    unavailable, StorageFull when its disk is full, UsageError for a filter that the store cannot read, and UsageError
    naming the index if it does not exist.
    """

    PLUGIN_TYPE: ClassVar[str] = "vectordb"

    @property
    def capabilities(self) -> set[str]:
        """What the store really does.

        Any of ``sparse sparse_vectors languages facet alias optimize condition payloads``. ``sparse_vectors``: an index
        can take the sparse vectors of a model instead of BM25. ``languages``: BM25 stems the words of each point by
        that point's language. ``payloads``: the store has :meth:`set_payloads`.
        """
        return set()

    def create_index(self, name: str, spec: IndexSpec) -> None:
        """Create the index with its payload indexes.

        An index of that name and spec is left as it is. One of another dimension raises DimensionMismatch.
        """
        raise NotImplementedError

    def drop_index(self, name: str) -> None:
        """Remove the index and its points. A missing index is not an error."""
        raise NotImplementedError

    def list_indexes(self) -> list[str]:
        raise NotImplementedError

    def has_index(self, name: str) -> bool | Awaitable[bool]:
        """Whether there is an index of that name.

        Searches and readiness probes ask it, so it should take one request; by default the indexes are listed.
        """
        names: Any = self.list_indexes()
        return _among(name, names) if inspect.isawaitable(names) else name in names

    def insert(self, name: str, points: Sequence[Point], condition: Filter | None = None) -> None:
        """Write points, idempotent by id. Return when the store has acknowledged them.

        A point that exists and does not meet ``condition`` keeps what it has; a new id is always written.
        """
        raise NotImplementedError

    def search(self, name: str, requests: Sequence[SearchRequest]) -> Sequence[Sequence[ScoredPoint]]:
        """Return one list for each leg, best first, in one round trip. Filters are applied inside the engine.

        For a leg without payloads you may return a :class:`Leg`, which is faster to make.
        """
        raise NotImplementedError

    def delete(self, name: str, ids: Sequence[str] | None = None, filter: Filter | None = None) -> None:
        """Remove points by ids, by filter, or, with both, those of the ids that match the filter."""
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
        """Return a page of points in order of id with those payload fields (None: all), and where the next page starts.

        ``with_vectors`` includes their dense vectors, (d,) float32. A store may have normalised them.
        """
        raise NotImplementedError

    def set_payload(
        self, name: str, ids: Sequence[str], payload: dict[str, Any], condition: Filter | None = None
    ) -> None:
        """Merge these fields into the payload of the points that exist and meet ``condition``."""
        raise NotImplementedError

    def set_payloads(
        self, name: str, changes: Sequence[tuple[Sequence[str], dict[str, Any]]], condition: Filter | None = None
    ) -> None:
        """Do what :meth:`set_payload` does, for several ids and fields in one round trip.

        Called only for a store with the capability ``payloads``.
        """
        raise NotImplementedError

    def point_alias(self, alias: str, name: str) -> None:
        """Make the index available to outsiders under a second name. A store without aliases ignores it."""

    def facet(self, name: str, key: str, filter: Filter | None = None, limit: int = 10) -> list[tuple[Any, int]]:
        """Return the values of a payload key among the matching points, most frequent first."""
        raise NotImplementedError

    def stop_words(self, name: str, words: Sequence[str], languages: Sequence[str] = ()) -> set[str]:
        """Return those of the words that BM25 leaves out of points of these languages, or of an unknown language.

        Languages are ISO 639-1 codes. Must not ask a server, and must not depend on the points.
        """
        return set()

    def optimize(self, name: str) -> None:
        """Build what makes searches faster. May take long. A store that does this by itself ignores it."""

    def stop_optimizing(self) -> None:
        """Stop at once whatever only makes searches faster or saves memory, and start none of it again.

        The process is about to end. Each index stays as it was, and everything else continues. The call may come at any
        time, from any thread.
        """


async def _among(name: str, names: Awaitable[Sequence[str]]) -> bool:
    return name in await names
