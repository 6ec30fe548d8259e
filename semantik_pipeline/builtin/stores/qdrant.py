"""The store for several hosts: a Qdrant server or cluster, through qdrant-client. Needs Qdrant 1.16 or later."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from semantik_pipeline.builtin.stores.bm25 import Bm25Vectors, bm25_of
from semantik_pipeline.builtin.stores.checks import (
    check_facet,
    check_name,
    check_same_spec,
    dense_of,
    missing_index,
    slices,
)
from semantik_pipeline.builtin.stores.client_filters import client_filter
from semantik_pipeline.builtin.stores.qdrant_calls import Calls, NoSuchCollection
from semantik_pipeline.builtin.stores.qdrant_options import OPTIONS, check_url
from semantik_pipeline.builtin.stores.qdrant_points import query_of, scored_points, selections, structs_of
from semantik_pipeline.builtin.stores.qdrant_spec import KEY, collection_arguments, payload_schema, spec_of
from semantik_pipeline.contracts.plugin import HealthState, HealthStatus
from semantik_pipeline.contracts.vectordb import Filter, VectorDBPlugin
from semantik_pipeline.documents import IndexSpec, Point, ScoredPoint, SearchRequest, StoredPoint
from semantik_pipeline.errors import PermanentError, PipelineError, PluginLoadError, UsageError

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

#: Makes a call, with the timeout and retries of writes or of reads.
Ask = Callable[[Callable[["QdrantClient"], Any]], Any]

_READ_TRIES = 2  # fewer than for writes, because somebody is waiting
_OPERATIONS = 256  # operations in one request
_NOT_INSTALLED = "the package qdrant-client is not installed"


class QdrantStore(VectorDBPlugin):
    """Each index is a collection. Writes wait until the server has applied them."""

    PLUGIN_ID = "qdrant"
    PLUGIN_VERSION = "1.0.0"
    METADATA: ClassVar[dict[str, Any]] = {
        "name": "Qdrant",
        "description": "A Qdrant server or cluster.",
        "license": "Apache-2.0",
    }

    @classmethod
    def get_config_schema(cls) -> dict[str, Any]:
        return {"type": "object", "additionalProperties": False, "required": ["url"], "properties": dict(OPTIONS)}

    @classmethod
    async def health_check(cls, config: dict[str, Any] | None = None) -> HealthStatus:
        if importlib.util.find_spec("qdrant_client") is None:
            return HealthStatus(HealthState.UNHEALTHY, _NOT_INSTALLED)
        if not (config or {}).get("url"):
            return HealthStatus(HealthState.UNKNOWN, "no url is configured")
        import httpx

        key = config.get("api_key")
        url = f"{config['url'].rstrip('/')}/collections"
        try:
            async with httpx.AsyncClient(timeout=5, headers={"api-key": key} if key else {}) as client:
                answer = await client.get(url)
        except httpx.HTTPError as error:
            return HealthStatus(
                HealthState.UNHEALTHY, f"{config['url']} does not answer: {error or type(error).__name__}"
            )
        if answer.is_success:
            return HealthStatus(HealthState.HEALTHY, f"{config['url']} answers")
        return HealthStatus(HealthState.UNHEALTHY, f"{config['url']} answers {answer.status_code}")

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        super().__init__(config)
        self._options: dict[str, Any] = {name: option.get("default") for name, option in OPTIONS.items()} | self.config
        url, tries = str(self._options["url"]), self._options["tries"]
        self._calls, self._reads = Calls(url=url, tries=tries), Calls(url=url, tries=min(tries, _READ_TRIES))
        self._client: QdrantClient | None = None
        self._reader: QdrantClient | None = None  # has a timeout of its own
        self._streams: ThreadPoolExecutor | None = None
        self._known: dict[str, tuple[IndexSpec, Bm25Vectors | None]] = {}
        self._guard = threading.Lock()

    async def initialize(self) -> None:
        if importlib.util.find_spec("qdrant_client") is None:
            raise PluginLoadError(f"qdrant: {_NOT_INSTALLED}.", "pip install 'semantik-pipeline[qdrant]'")
        check_url(self._options["url"])
        self._client = self._connect(self._options["timeout"])
        self._reader = self._connect(self._options["read_timeout"])
        self._streams = ThreadPoolExecutor(self._options["parallel"], thread_name_prefix="qdrant")

    async def cleanup(self) -> None:
        if self._streams is not None:
            self._streams.shutdown()
        for client in (self._client, self._reader):
            if client is not None:
                client.close()
        self._client = self._reader = self._streams = None

    @property
    def capabilities(self) -> set[str]:
        return {"sparse", "sparse_vectors", "languages", "facet", "alias", "condition", "payloads"}

    # -- indexes -----------------------------------------------------------------------------------------------------

    def create_index(self, name: str, spec: IndexSpec) -> None:
        check_name(name)
        schemas = {key: payload_schema(kind) for key, kind in spec.payload_indexes.items()}
        known = self._read_spec(name, self._call)
        if known is None:
            bm25_of(spec)  # raises for invalid options before anything is created
            self._create_collection(name, spec)
            known = spec
        check_same_spec(name, known, spec)
        # Ask the server, not the spec: a worker that was killed may have created the collection without its indexes.
        there = self._call(lambda c: c.get_collection(name)).payload_schema
        missing = {key: schema for key, schema in schemas.items() if key not in there}
        for key, schema in missing.items():  # before the first upload: building an index on a full collection is slow
            self._call(lambda c, key=key, schema=schema: c.create_payload_index(name, key, schema, wait=True))
        both = {**known.payload_indexes, **spec.payload_indexes}
        if both != known.payload_indexes:
            metadata = collection_arguments(replace(known, payload_indexes=both))["metadata"]
            self._call(lambda c: c.update_collection(name, metadata=metadata))
        self._known.pop(name, None)

    def _create_collection(self, name: str, spec: IndexSpec) -> None:
        arguments = collection_arguments(spec)
        try:
            self._call(lambda c: c.create_collection(name, **arguments))
        except PermanentError:
            # Another worker may have created it first. If not, the refusal means something else.
            if self._read_spec(name, self._call) is None:
                raise

    def drop_index(self, name: str) -> None:
        check_name(name)
        self._known.pop(name, None)
        if self._call(lambda c: c.collection_exists(name)):
            self._call(lambda c: c.delete_collection(name))

    def list_indexes(self) -> list[str]:
        """The collections that this project created; others on the same server are ignored."""
        names = [collection.name for collection in self._read(lambda c: c.get_collections()).collections]
        return sorted(name for name in names if self._read_spec(name, self._read, ours=False) is not None)

    def has_index(self, name: str) -> bool:
        """Whether a collection of that name exists: one request."""
        check_name(name)
        return self._read(lambda c: c.collection_exists(name))

    def point_alias(self, alias: str, name: str) -> None:
        from qdrant_client import models

        check_name(alias)
        self._spec(name, self._call)
        target = models.CreateAlias(collection_name=name, alias_name=alias)
        actions: list[Any] = [models.CreateAliasOperation(create_alias=target)]
        taken = {known.alias_name for known in self._call(lambda c: c.get_aliases()).aliases}
        if alias in taken:  # both actions in one request, so that the alias exists at every moment
            actions.insert(0, models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias)))
        self._call(lambda c: c.update_collection_aliases(actions))

    # -- points ------------------------------------------------------------------------------------------------------

    def insert(self, name: str, points: Sequence[Point], condition: Filter | None = None) -> None:
        only = client_filter(condition)
        with self._index(name, self._call) as (spec, bm25):

            def upload(some: Sequence[Point]) -> None:
                made = structs_of(name, some, spec, bm25)
                self._call(lambda c: c.upsert(name, made, wait=True, update_filter=only))

            uploads = [self._pool().submit(upload, some) for some in slices(points, self._options["batch_points"])]
            wait(uploads, return_when=FIRST_EXCEPTION)
            for one in uploads:
                one.cancel()  # has no effect on uploads that are running or done
            wait(uploads)  # nothing is written any more when the caller learns of a failure
            for one in uploads:  # started in this order, so the failed one comes before those that were cancelled
                one.result()

    def search(self, name: str, requests: Sequence[SearchRequest]) -> list[list[ScoredPoint]]:
        only_indexed = bool(self._options["indexed_only"])
        with self._index(name, self._read) as (spec, bm25):
            queries = [query_of(name, request, spec, bm25, only_indexed) for request in requests]
            asked = [query for query in queries if query is not None]
            answers = iter(self._read(lambda c: c.query_batch_points(name, asked)) if asked else ())
        return [[] if query is None else scored_points(next(answers).points) for query in queries]

    def delete(self, name: str, ids: Sequence[str] | None = None, filter: Filter | None = None) -> None:
        from qdrant_client import models

        with self._index(name, self._call):
            for only in selections(name, ids, filter):
                self._call(lambda c, only=only: c.delete(name, models.FilterSelector(filter=only), wait=True))

    def count(self, name: str, filter: Filter | None = None) -> int:
        only = client_filter(filter)
        with self._index(name, self._read):
            return self._read(lambda c: c.count(name, count_filter=only, exact=True)).count

    def scroll(
        self,
        name: str,
        filter: Filter | None = None,
        fields: Sequence[str] | None = None,
        after: str | None = None,
        limit: int = 1000,
        with_vectors: bool = False,
    ) -> tuple[list[StoredPoint], str | None]:
        only = client_filter(filter)
        wanted: bool | list[str] = True if fields is None else list(fields) or False
        vectors: bool | list[str] = ["dense"] if with_vectors else False
        with self._index(name, self._read):
            records, following = self._read(
                lambda c: c.scroll(
                    name, scroll_filter=only, limit=limit, offset=after, with_payload=wanted, with_vectors=vectors
                )
            )
        page = [StoredPoint(id=str(one.id), payload=one.payload or {}, vector=dense_of(one.vector)) for one in records]
        return page, None if following is None else str(following)

    def set_payload(
        self, name: str, ids: Sequence[str], payload: dict[str, Any], condition: Filter | None = None
    ) -> None:
        with self._index(name, self._call):
            for only in selections(name, ids, condition):
                self._call(lambda c, only=only: c.set_payload(name, payload, points=only, wait=True))

    def set_payloads(
        self, name: str, changes: Sequence[tuple[Sequence[str], dict[str, Any]]], condition: Filter | None = None
    ) -> None:
        from qdrant_client import models

        told = [(only, fields) for ids, fields in changes for only in selections(name, ids, condition)]
        operations = [
            models.SetPayloadOperation(set_payload=models.SetPayload(payload=fields, filter=only))
            for only, fields in told
        ]
        with self._index(name, self._call):
            for some in slices(operations, _OPERATIONS):
                self._call(lambda c, some=some: c.batch_update_points(name, some, wait=True))

    def facet(self, name: str, key: str, filter: Filter | None = None, limit: int = 10) -> list[tuple[Any, int]]:
        only = client_filter(filter)
        with self._index(name, self._read) as (spec, _):
            check_facet(name, spec, key)
            hits = self._read(lambda c: c.facet(name, key, facet_filter=only, limit=limit, exact=True)).hits
        return sorted(((hit.value, hit.count) for hit in hits), key=lambda pair: (-pair[1], str(pair[0])))

    def stop_words(self, name: str, words: Sequence[str], languages: Sequence[str] = ()) -> set[str]:
        bm25 = self._spec(name, self._read)[1]
        return set() if bm25 is None else bm25.stop_words(words, languages)

    # -- the server --------------------------------------------------------------------------------------------------

    def _connect(self, timeout: int) -> QdrantClient:
        from qdrant_client import QdrantClient

        options = self._options
        return QdrantClient(
            url=options["url"],
            api_key=options["api_key"],
            prefer_grpc=options["prefer_grpc"],
            grpc_port=options["grpc_port"],
            timeout=timeout,
            check_compatibility=False,  # would query the server at start, when it may be unavailable
        )

    def _call(self, call: Callable[[QdrantClient], Any]) -> Any:
        return self._made(self._calls, self._client, call)

    def _read(self, call: Callable[[QdrantClient], Any]) -> Any:
        """Make a call that changes nothing. A search waits for it, so it gives up sooner."""
        return self._made(self._reads, self._reader, call)

    @staticmethod
    def _made(calls: Calls, client: QdrantClient | None, call: Callable[[QdrantClient], Any]) -> Any:
        if client is None:
            raise PipelineError("The store is not open.", "Await initialize() first.")
        return calls.make(lambda: call(client))

    def _pool(self) -> ThreadPoolExecutor:
        if self._streams is None:
            raise PipelineError("The store is not open.", "Await initialize() first.")
        return self._streams

    def _read_spec(self, name: str, ask: Ask, *, ours: bool = True) -> IndexSpec | None:
        """The spec that the server stores; None if there is no such collection. With ``ours=False``, also None for a
        collection that this project did not create; by default that is a UsageError."""
        try:
            spec = spec_of(ask(lambda c: c.get_collection(name)))
        except NoSuchCollection:
            return None
        if spec is None and ours:
            raise UsageError(f"The Qdrant collection {name!r} was not made by Semantik (it has no {KEY}).")
        return spec

    @contextmanager
    def _index(self, name: str, ask: Ask) -> Iterator[tuple[IndexSpec, Bm25Vectors | None]]:
        """The index's spec, for calls about its points through ``ask``. If the server no longer has the index, its
        cached spec is discarded, because it may be created again with a different one."""
        try:
            yield self._spec(name, ask)
        except NoSuchCollection:
            self._known.pop(name, None)
            raise missing_index(name) from None

    def _spec(self, name: str, ask: Ask) -> tuple[IndexSpec, Bm25Vectors | None]:
        known = self._known.get(name)
        if known is None:
            check_name(name)
            spec = self._read_spec(name, ask)
            if spec is None:
                raise missing_index(name)
            known = self._known[name] = (spec, bm25_of(spec))
        return known
