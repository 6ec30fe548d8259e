"""The gRPC side of the Qdrant double: qdrant-client's own servicers, implemented with its local mode."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from semantik_pipeline.testing.qdrant_double import described, drop, index_payload

if TYPE_CHECKING:
    from semantik_pipeline.testing.qdrant_double import QdrantDouble


class QdrantGrpcDouble:
    """Serves the data of a :class:`QdrantDouble`; ``port`` is its gRPC port. ``fail_next`` lists names of gRPC status
    codes for the next answers. Calls are recorded in the double's ``requests``, for example ``grpc Upsert``."""

    def __init__(self, double: QdrantDouble) -> None:
        import grpc
        from qdrant_client import grpc as protocol

        self.fail_next: list[str] = []
        self._server = grpc.server(ThreadPoolExecutor(4, thread_name_prefix="qdrant-grpc-double"))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        servicers = (
            (protocol.CollectionsServicer, protocol.add_CollectionsServicer_to_server, _COLLECTIONS),
            (protocol.PointsServicer, protocol.add_PointsServicer_to_server, _POINTS),
        )
        for base, add, answers in servicers:
            methods = {name: self._method(double, name, answer) for name, answer in answers.items()}
            add(type(base.__name__, (base,), methods)(), self._server)

    def start(self) -> QdrantGrpcDouble:
        self._server.start()
        return self

    def stop(self) -> None:
        self._server.stop(None).wait()

    def _method(self, double: QdrantDouble, name: str, answer: Callable[[Any, Any], Any]) -> Callable[..., Any]:
        import grpc

        def method(_servicer: Any, request: Any, context: Any) -> Any:
            time.sleep(double.delay)
            with double.turn:
                double.requests.append(f"grpc {name}")
                if double.away:
                    context.abort(grpc.StatusCode.UNAVAILABLE, "away")
                if double.api_key is not None and ("api-key", double.api_key) not in context.invocation_metadata():
                    context.abort(grpc.StatusCode.UNAUTHENTICATED, "Invalid API key")
                if self.fail_next:
                    code = self.fail_next.pop(0)
                    context.abort(grpc.StatusCode[code], f"made to answer {code}")
                try:
                    return answer(double.client, request)
                except (ValueError, KeyError) as error:
                    text = str(error)
                    code = "NOT_FOUND" if "not found" in text else "INVALID_ARGUMENT"
                    context.abort(grpc.StatusCode["ALREADY_EXISTS" if "already exists" in text else code], text)

        return method


def _to_rest() -> Any:
    from qdrant_client.conversions.conversion import GrpcToRest

    return GrpcToRest


def _to_grpc() -> Any:
    from qdrant_client.conversions.conversion import RestToGrpc

    return RestToGrpc


def _protocol() -> Any:
    from qdrant_client import grpc as protocol

    return protocol


def _filter(request: Any, field: str = "filter") -> Any:
    return _to_rest().convert_filter(getattr(request, field)) if request.HasField(field) else None


def _operated(done: bool = True) -> Any:
    return _protocol().CollectionOperationResponse(result=done)


def _updated() -> Any:
    protocol = _protocol()
    result = protocol.UpdateResult(operation_id=0, status=protocol.UpdateStatus.Completed)
    return protocol.PointsOperationResponse(result=result)


# -- collections -----------------------------------------------------------------------------------------------------


def _get(client: Any, request: Any) -> Any:
    found = described(client, request.collection_name)
    return _protocol().GetCollectionInfoResponse(result=_to_grpc().convert_collection_info(found))


def _list(client: Any, request: Any) -> Any:
    protocol = _protocol()
    names = [protocol.CollectionDescription(name=one.name) for one in client.get_collections().collections]
    return protocol.ListCollectionsResponse(collections=names)


def _metadata(request: Any) -> dict[str, Any]:
    return _to_rest().convert_payload(request.metadata)


def _create(client: Any, request: Any) -> Any:
    rest = _to_rest()
    sparse = rest.convert_sparse_vector_config(request.sparse_vectors_config) if request.sparse_vectors_config else None
    vectors = rest.convert_vectors_config(request.vectors_config)
    client.create_collection(request.collection_name, vectors, sparse or None, metadata=_metadata(request))
    return _operated()


def _update(client: Any, request: Any) -> Any:
    return _operated(client.update_collection(request.collection_name, metadata=_metadata(request)))


def _delete_collection(client: Any, request: Any) -> Any:
    return _operated(drop(client, request.collection_name))


def _exists(client: Any, request: Any) -> Any:
    protocol = _protocol()
    there = protocol.CollectionExists(exists=client.collection_exists(request.collection_name))
    return protocol.CollectionExistsResponse(result=there)


def _update_aliases(client: Any, request: Any) -> Any:
    actions = [_to_rest().convert_alias_operations(action) for action in request.actions]
    return _operated(client.update_collection_aliases(actions))


def _list_aliases(client: Any, request: Any) -> Any:
    found = [_to_grpc().convert_alias_description(alias) for alias in client.get_aliases().aliases]
    return _protocol().ListAliasesResponse(aliases=found)


# -- points ----------------------------------------------------------------------------------------------------------


def _upsert(client: Any, request: Any) -> Any:
    points = [_to_rest().convert_point_struct(point) for point in request.points]
    client.upsert(request.collection_name, points, update_filter=_filter(request, "update_filter"))
    return _updated()


def _selected(selector: Any) -> Any:
    return _to_rest().convert_points_selector(selector)


def _delete(client: Any, request: Any) -> Any:
    client.delete(request.collection_name, _selected(request.points))
    return _updated()


def _set_payload(client: Any, request: Any) -> Any:
    payload = _to_rest().convert_payload(request.payload)
    client.set_payload(request.collection_name, payload, points=_selected(request.points_selector))
    return _updated()


def _update_batch(client: Any, request: Any) -> Any:
    operations = [_to_rest().convert_points_update_operation(one) for one in request.operations]
    client.batch_update_points(request.collection_name, operations)
    return _protocol().UpdateBatchResponse(result=[_updated().result for _ in operations])


def _query_batch(client: Any, request: Any) -> Any:
    protocol, convert = _protocol(), _to_grpc()
    searches = [_to_rest().convert_query_points(search) for search in request.query_points]
    results = [
        protocol.BatchResult(result=[convert.convert_scored_point(point) for point in answer.points])
        for answer in client.query_batch_points(request.collection_name, searches)
    ]
    return protocol.QueryBatchResponse(result=results)


def _count(client: Any, request: Any) -> Any:
    protocol = _protocol()
    found = client.count(request.collection_name, count_filter=_filter(request)).count
    return protocol.CountResponse(result=protocol.CountResult(count=found))


def _scroll(client: Any, request: Any) -> Any:
    rest, convert = _to_rest(), _to_grpc()
    offset = rest.convert_point_id(request.offset) if request.HasField("offset") else None
    fields = rest.convert_with_payload_selector(request.with_payload)
    vectors = rest.convert_with_vectors_selector(request.with_vectors) if request.HasField("with_vectors") else False
    records, following = client.scroll(
        request.collection_name, _filter(request), request.limit or 10, None, offset, fields, vectors
    )
    complete = [record.model_copy(update={"payload": record.payload or {}}) for record in records]
    answer = _protocol().ScrollResponse(result=[convert.convert_record(record) for record in complete])
    if following is not None:
        answer.next_page_offset.CopyFrom(convert.convert_extended_point_id(following))
    return answer


def _facet(client: Any, request: Any) -> Any:
    found = client.facet(request.collection_name, request.key, _filter(request), request.limit or 10)
    return _protocol().FacetResponse(hits=[_to_grpc().convert_facet_value_hit(hit) for hit in found.hits])


def _index(client: Any, request: Any) -> Any:
    from qdrant_client.conversions.conversion import grpc_field_type_to_payload_schema

    kind = _to_rest().convert_payload_schema_type(grpc_field_type_to_payload_schema(request.field_type))
    index_payload(client, request.collection_name, request.field_name, kind)
    return _updated()


_COLLECTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "Get": _get,
    "List": _list,
    "Create": _create,
    "Update": _update,
    "Delete": _delete_collection,
    "CollectionExists": _exists,
    "UpdateAliases": _update_aliases,
    "ListAliases": _list_aliases,
}
_POINTS: dict[str, Callable[[Any, Any], Any]] = {
    "Upsert": _upsert,
    "Delete": _delete,
    "SetPayload": _set_payload,
    "UpdateBatch": _update_batch,
    "QueryBatch": _query_batch,
    "Count": _count,
    "Scroll": _scroll,
    "Facet": _facet,
    "CreateFieldIndex": _index,
}
