"""The API by its resources, for both clients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from semantik_pipeline.client.answers import Answers, AuditTrail, Found, Status, Trash
from semantik_pipeline.client.calls import Call, Resource, S, request
from semantik_pipeline.client.resources.collections import Collections
from semantik_pipeline.client.resources.documents import Documents
from semantik_pipeline.client.resources.operations import Operations
from semantik_pipeline.client.resources.plugins import Plugins
from semantik_pipeline.client.resources.server import Health, Keys, Workers
from semantik_pipeline.client.resources.sources import Sources


class Api(Resource[S]):
    """What a client has."""

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

    @request("search", "POST /search", repeatable=True)
    def search(
        self,
        query: str,
        *,
        collection: str | None = None,
        collections: Sequence[str] | None = None,
        top_k: int = 10,
        offset: int = 0,
        search_mode: str = "hybrid",
        filter: Mapping[str, Any] | None = None,
        use_reranker: bool = True,
        reranker_id: str | Sequence[str] | None = None,
        rerank_top_k: int | None = None,
        fusion: str | None = None,
        dense_weight: float | None = None,
        rerank_weight: float | None = None,
        score_threshold: float | None = None,
        facets: Sequence[str] = (),
        facet_limit: int = 10,
        explain: bool = False,
        explain_document: str | None = None,
        postprocessors: Sequence[str | Mapping[str, Any]] | None = None,
        understand: bool = True,
    ) -> Call[Found]:
        """Find the passages that answer a question, in one collection (``default``) or several."""
        asked = {
            "query": query,
            "collection": collection,
            "collections": None if collections is None else [*collections],
            "top_k": top_k,
            "offset": offset,
            "search_mode": search_mode,
            "filter": filter,
            "use_reranker": use_reranker,
            "reranker_id": reranker_id if reranker_id is None or isinstance(reranker_id, str) else [*reranker_id],
            "rerank_top_k": rerank_top_k,
            "fusion": fusion,
            "dense_weight": dense_weight,
            "rerank_weight": rerank_weight,
            "score_threshold": score_threshold,
            "facets": [*facets],
            "facet_limit": facet_limit,
            "explain": explain,
            "explain_document": explain_document,
            "postprocessors": None if postprocessors is None else [*postprocessors],
            "understand": understand,
        }
        return Call(json=asked)

    @request("search_batch", "POST /search/batch", repeatable=True)
    def search_batch(self, searches: Sequence[Mapping[str, Any]]) -> Call[Answers]:
        """Ask several questions at once: each has a ``query`` and may have what :meth:`search` takes."""
        return Call(json={"searches": [dict(one) for one in searches]})

    @request("trash_list", "GET /trash")
    def trash(
        self, *, collection: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> Call[Trash]:
        """A page of what was deleted and can be restored, oldest first."""
        return Call(query={"collection": collection, "limit": limit, "cursor": cursor})

    @request("status", "GET /status")
    def status(self) -> Call[Status]:
        """What there is, runs and waits."""
        return Call()

    @request("audit_list", "GET /audit")
    def audit(self, *, limit: int | None = None, since: float | None = None) -> Call[AuditTrail]:
        """What people changed, newest first; with ``since`` in the last so many seconds."""
        return Call(query={"limit": limit, "since": since})

    @request("metrics", "GET /metrics")
    def metrics(self) -> Call[str]:
        """Counters and gauges, as Prometheus reads them."""
        return Call(read="text")
