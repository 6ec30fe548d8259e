"""A double of a Qdrant server: its REST interface over HTTP on loopback, implemented with qdrant-client's local mode.

It is for tests of code that talks to a server, where no server is available. The authors of local mode test it for
consistency with the server. It is slow (a filter takes 130 ms at 20,000 points) and stores nothing on disk. To run it
in a process of its own, use ``python -m semantik_pipeline.testing.qdrant_double [PORT]``; it prints its address.
"""

from __future__ import annotations

import json
import re
import ssl
import sys
import threading
import time
import warnings
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from pydantic_core import to_jsonable_python


class QdrantDouble:
    """``url`` is valid once started. ``fail_next`` lists statuses for the next answers (0: the connection breaks)."""

    def __init__(self, port: int = 0, api_key: str | None = None, tls: ssl.SSLContext | None = None) -> None:
        from qdrant_client import QdrantClient

        warnings.filterwarnings("ignore", message="Payload indexes have no effect in the local Qdrant")
        self.client = QdrantClient(":memory:")
        self.api_key = api_key
        self.away = False  # answers 503 to everything
        self.delay = 0.0  # seconds before each answer
        self.retry_after: float | None = None  # seconds in the Retry-After header of error answers
        self.fail_next: list[int] = []
        self.words: str | None = None  # the message of error answers
        self.fail_after: list[int] = []  # as fail_next, but the operation is done first: only its answer is lost
        self.requests: list[str] = []
        self.bodies: dict[str, Any] = {}  # the last body of each kind of request
        self.turn = threading.Lock()
        double = self

        class Handler(_Handler):
            served = double

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self._server.server_address[1]}"

    def start(self) -> QdrantDouble:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), name="qdrant-double", daemon=True).start()
        return self

    def dense(self, name: str) -> dict[str, list[float]]:
        """The dense vector of every point of a collection, by point id."""
        points, _ = self.client.scroll(name, limit=1_000_000, with_payload=False, with_vectors=["dense"])
        vectors: list[Any] = [point.vector for point in points]
        return {str(point.id): vector["dense"] for point, vector in zip(points, vectors, strict=True)}

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    served: QdrantDouble

    def do_request(self) -> None:
        double = self.served
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = urlsplit(self.path).path
        time.sleep(double.delay)
        with double.turn:
            double.requests.append(f"{self.command} {path}")
            if double.api_key is not None and self.headers.get("api-key") != double.api_key:
                self._answer(401, {"status": {"error": "Invalid API key"}})
            elif double.away:
                self._fail(503)
            elif double.fail_next:
                self._fail(double.fail_next.pop(0))
            else:
                told = double.bodies[double.requests[-1]] = json.loads(body) if body else {}
                status, answer = _serve(double.client, self.command, path, told)
                if double.fail_after and status == 200:
                    self._fail(double.fail_after.pop(0))
                else:
                    self._answer(status, answer)

    do_GET = do_PUT = do_POST = do_DELETE = do_PATCH = do_request  # noqa: N815 - the names that http.server calls

    def log_message(self, format: str, *args: Any) -> None:
        """Do not log; tests read ``requests``."""

    def _fail(self, status: int) -> None:
        if status == 0:
            self.close_connection = True
            self.connection.close()
        else:
            self._answer(status, {"status": {"error": self.served.words or f"made to answer {status}"}})

    def _answer(self, status: int, answer: dict[str, Any]) -> None:
        body = json.dumps(to_jsonable_python(answer, exclude_none=True, by_alias=True)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if status >= 400 and self.served.retry_after is not None:
            self.send_header("Retry-After", str(self.served.retry_after))
        self.end_headers()
        self.wfile.write(body)


def _serve(client: Any, verb: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    for method, pattern, answer in _ROUTES:
        found = re.fullmatch(pattern, path)
        if method == verb and found:
            try:
                return 200, {"result": answer(client, body, *found.groups()), "status": "ok", "time": 0.0}
            except (ValueError, KeyError) as error:
                text = str(error)
                status = 404 if "not found" in text else 409 if "already exists" in text else 400
                return status, {"status": {"error": text}, "time": 0.0}
    return 404, {"status": {"error": f"the double does not know {verb} {path}"}, "time": 0.0}


def _create(client: Any, body: dict[str, Any], name: str) -> bool:
    from qdrant_client import models

    told = models.CreateCollection(**body)
    return client.create_collection(name, told.vectors, told.sparse_vectors, metadata=told.metadata)


def _update(client: Any, body: dict[str, Any], name: str) -> bool:
    return client.update_collection(name, metadata=body.get("metadata"))


def _upsert(client: Any, body: dict[str, Any], name: str) -> Any:
    from qdrant_client import models

    told = models.PointsList(**body)
    return client.upsert(name, told.points, update_filter=told.update_filter)


def _delete(client: Any, body: dict[str, Any], name: str) -> Any:
    from qdrant_client import models

    selector = models.FilterSelector(**body) if "filter" in body else models.PointIdsList(**body)
    return client.delete(name, selector)


def _set_payload(client: Any, body: dict[str, Any], name: str) -> Any:
    from qdrant_client import models

    told = models.SetPayload(**body)
    return client.set_payload(name, told.payload, points=told.filter or told.points)


def _batch(client: Any, body: dict[str, Any], name: str) -> Any:
    from qdrant_client import models

    return client.batch_update_points(name, models.UpdateOperations(**body).operations)


def _query(client: Any, body: dict[str, Any], name: str) -> Any:
    from qdrant_client import models

    return client.query_batch_points(name, models.QueryRequestBatch(**body).searches)


def _count(client: Any, body: dict[str, Any], name: str) -> Any:
    from qdrant_client import models

    return client.count(name, count_filter=models.CountRequest(**body).filter)


def _scroll(client: Any, body: dict[str, Any], name: str) -> dict[str, Any]:
    from qdrant_client import models

    told = models.ScrollRequest(**body)
    points, following = client.scroll(
        name, told.filter, told.limit or 10, None, told.offset, told.with_payload, told.with_vector or False
    )
    return {"points": points, "next_page_offset": following}


def _facet(client: Any, body: dict[str, Any], name: str) -> Any:
    from qdrant_client import models

    told = models.FacetRequest(**body)
    return client.facet(name, told.key, told.filter, told.limit or 10)


def _aliases(client: Any, body: dict[str, Any]) -> bool:
    from qdrant_client import models

    return client.update_collection_aliases(models.ChangeAliasesOperation(**body).actions)


#: The requested payload indexes, by client, collection and field: local mode neither creates nor reports them.
_INDEXES: WeakKeyDictionary[Any, dict[str, dict[str, Any]]] = WeakKeyDictionary()


def described(client: Any, name: str) -> Any:
    """The collection as a server describes it, with its payload indexes."""
    from qdrant_client import models

    kinds = _INDEXES.get(client, {}).get(name, {})
    schema = {key: models.PayloadIndexInfo(data_type=kind, points=0) for key, kind in kinds.items()}
    return client.get_collection(name).model_copy(update={"payload_schema": schema})


def index_payload(client: Any, name: str, key: str, kind: Any) -> None:
    """Record that this index exists; a missing collection is an error."""
    client.get_collection(name)
    _INDEXES.setdefault(client, {}).setdefault(name, {})[key] = kind


def drop(client: Any, name: str) -> bool:
    _INDEXES.get(client, {}).pop(name, None)
    return client.delete_collection(name)


def _index(client: Any, body: dict[str, Any], name: str) -> dict[str, Any]:
    index_payload(client, name, body["field_name"], body["field_schema"])
    return {"operation_id": 0, "status": "completed"}


_Answer = Callable[..., Any]
_ROUTES: tuple[tuple[str, str, _Answer], ...] = (
    ("GET", "/collections", lambda c, b: c.get_collections()),
    ("GET", "/aliases", lambda c, b: c.get_aliases()),
    ("POST", "/collections/aliases", _aliases),
    ("GET", "/collections/([^/]+)/exists", lambda c, b, name: {"exists": c.collection_exists(name)}),
    ("GET", "/collections/([^/]+)", lambda c, b, name: described(c, name)),
    ("PUT", "/collections/([^/]+)", _create),
    ("PATCH", "/collections/([^/]+)", _update),
    ("DELETE", "/collections/([^/]+)", lambda c, b, name: drop(c, name)),
    ("PUT", "/collections/([^/]+)/index", _index),
    ("PUT", "/collections/([^/]+)/points", _upsert),
    ("POST", "/collections/([^/]+)/points/delete", _delete),
    ("POST", "/collections/([^/]+)/points/payload", _set_payload),
    ("POST", "/collections/([^/]+)/points/batch", _batch),
    ("POST", "/collections/([^/]+)/points/query/batch", _query),
    ("POST", "/collections/([^/]+)/points/count", _count),
    ("POST", "/collections/([^/]+)/points/scroll", _scroll),
    ("POST", "/collections/([^/]+)/facet", _facet),
)


if __name__ == "__main__":
    started = QdrantDouble(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
    print(started.url, flush=True)
    started.start()
    threading.Event().wait()
