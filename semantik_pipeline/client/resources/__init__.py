"""The API's resources, for both clients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from semantik_pipeline.client.answers import (
    AuditEntry,
    AuditLog,
    BatchSearchResponse,
    SearchResponse,
    SystemStatus,
    TrashList,
)
from semantik_pipeline.client.calls import Call, Pages, Resource, S, request
from semantik_pipeline.client.resources.collections import Collections
from semantik_pipeline.client.resources.documents import Documents
from semantik_pipeline.client.resources.operations import Operations
from semantik_pipeline.client.resources.plugins import Plugins
from semantik_pipeline.client.resources.server import Health, Host, Keys, Workers
from semantik_pipeline.client.resources.sources import Sources
from semantik_pipeline.client.search_options import SearchOptions, SearchRequest


class Api(Resource[S]):
    """All resources and requests of a client."""

    def __init__(self, client: S) -> None:
        super().__init__(client)
        self.collections: Collections[S] = Collections(client)
        self.sources: Sources[S] = Sources(client)
        self.documents: Documents[S] = Documents(client)
        self.operations: Operations[S] = Operations(client)
        self.plugins: Plugins[S] = Plugins(client)
        self.fleet: Workers[S] = Workers(client)
        self.keys: Keys[S] = Keys(client)
        self.health: Health[S] = Health(client)
        self.host: Host[S] = Host(client)

    @request("search", "POST /search", repeatable=True)
    def search(self, query: str, **options: Unpack[SearchOptions]) -> Call[SearchResponse]:
        """Find the chunks that match a query, in one collection (``collection``) or several (``collections``).

        Returns the best ``top_k`` by ``search_mode`` that match ``filter``. ``client.search_options.SearchOptions``
        lists all options.
        """
        return Call(json={"query": query, **options})

    @request("search_batch", "POST /search/batch", repeatable=True)
    def search_batch(self, searches: Sequence[SearchRequest]) -> Call[BatchSearchResponse]:
        """Run several searches in one request. Each has a ``query`` and may have the options of :meth:`search`."""
        return Call(json={"searches": [*searches]})

    @request("trash_list", "GET /trash")
    def trash(
        self, *, collection: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> Call[TrashList]:
        """A page of the trash, oldest first."""
        return Call(query={"collection": collection, "limit": limit, "cursor": cursor})

    @request("status", "GET /status")
    def status(self) -> Call[SystemStatus]:
        """Collections, backlog and disk use."""
        return Call()

    @request("audit_list", "GET /audit")
    def audit(
        self, *, limit: int | None = None, max_age_seconds: float | None = None, cursor: str | None = None
    ) -> Call[AuditLog]:
        """A page of the audit log, newest first."""
        return Call(query={"limit": limit, "max_age_seconds": max_age_seconds, "cursor": cursor})

    audited: Pages[..., AuditEntry] = Pages(audit, "entries")

    @request("metrics", "GET /metrics")
    def metrics(self) -> Call[str]:
        """Metrics in Prometheus's text format."""
        return Call(read="text")
