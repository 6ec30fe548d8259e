"""A small real HTTP server that answers ``POST /v1/embeddings`` with hashed words. For tests of remote embedders.

It misbehaves on request: see :class:`Script`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from semantik_pipeline.testing.fake_models import hashed_words

DIMENSION = 64

# (status, headers, body) to send instead of embeddings, or None for embeddings.
Answer = tuple[int, dict[str, str], Any] | None


class EmbeddingsHandler(BaseHTTPRequestHandler):
    """Returns rows out of order on purpose, because clients must use ``index``."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        answer = self._script().answer(self._about(None))
        self._reply(*(answer or (200, {}, {"data": [{"id": "hashed"}]})))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = self._script().answer(self._about(body))
        self._reply(*(answer or (200, {}, self.usual(body))))

    def usual(self, body: dict[str, Any]) -> Any:
        """The body of the answer to this request unless the script decides otherwise."""
        return embeddings(body["input"])

    def _about(self, body: Any) -> dict[str, Any]:
        return {"path": self.path, "body": body, "authorization": self.headers.get("Authorization")}

    def _script(self) -> Script:
        return getattr(self.server, "script", None) or Script()

    def _reply(self, status: int, headers: dict[str, str], body: Any) -> None:
        payload = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(payload)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_: Any) -> None:
        """Write nothing to standard error."""


def embeddings(texts: list[str], dimension: int = DIMENSION) -> dict[str, Any]:
    """The body of an answer, with its rows in reverse order."""
    rows = [
        {"index": index, "object": "embedding", "embedding": [float(x) for x in hashed_words(text, dimension)]}
        for index, text in enumerate(texts)
    ]
    return {"object": "list", "data": rows[::-1]}


class Script:
    """Records what was asked in ``requests`` and decides the answers: ``decide`` maps a request to an answer."""

    def __init__(self, decide: Callable[[dict[str, Any]], Answer] = lambda request: None) -> None:
        self.requests: list[dict[str, Any]] = []
        self._decide = decide
        self._one_by_one = threading.Lock()

    def answer(self, request: dict[str, Any]) -> Answer:
        with self._one_by_one:
            self.requests.append(request)
            return self._decide(request)


class ScriptedServer(ThreadingHTTPServer):
    """Listens on a free port of the loopback interface."""

    def __init__(self, script: Script, handler: type[EmbeddingsHandler] = EmbeddingsHandler) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.script = script

    def handle_error(self, *_: Any) -> None:
        """Ignore clients that stopped waiting, which some tests cause on purpose."""


@contextmanager
def embeddings_server(
    decide: Callable[[dict[str, Any]], Answer] = lambda request: None,
    handler: type[EmbeddingsHandler] = EmbeddingsHandler,
) -> Iterator[tuple[str, Script]]:
    """A running server: yields its base URL, and its script for inspection."""
    script = Script(decide)
    with ScriptedServer(script, handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1", script
        finally:
            server.shutdown()
