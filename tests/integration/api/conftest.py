"""An API to test with: over a pipeline of fakes, without a server, and a key for each role."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import uvicorn
from httpx import Response
from starlette.testclient import TestClient

from semantik_pipeline import access
from semantik_pipeline.api.app import create_app
from tests.integration.conftest import Pipeline

PREFIX = "/api/v2"


class Api:
    """Requests by the role whose key they show: ``api.get("/plugins", by="reader")``; ``by=None`` shows none."""

    def __init__(self, pipeline: Pipeline, client: TestClient) -> None:
        self.pipeline = pipeline
        self.runtime = pipeline.runtime
        self.client = client
        self.keys: dict[str | None, str] = {
            role: access.create_key(self.runtime, role, role=role).key for role in ("reader", "writer", "admin")
        }

    def key(self, name: str, **options: Any) -> str:
        """Make another key, known by its name from here on; returns the name."""
        self.keys[name] = access.create_key(self.runtime, name, **options).key
        return name

    def ask(self, method: str, path: str, *, by: str | None = "admin", **options: Any) -> Response:
        headers = dict(options.pop("headers", {}))
        if by is not None:
            headers["Authorization"] = f"Bearer {self.keys[by]}"
        return self.client.request(method, f"{PREFIX}{path}", headers=headers, **options)

    def get(self, path: str, **options: Any) -> Response:
        return self.ask("GET", path, **options)

    def post(self, path: str, **options: Any) -> Response:
        return self.ask("POST", path, **options)

    def put(self, path: str, **options: Any) -> Response:
        return self.ask("PUT", path, **options)

    def patch(self, path: str, **options: Any) -> Response:
        return self.ask("PATCH", path, **options)

    def delete(self, path: str, **options: Any) -> Response:
        return self.ask("DELETE", path, **options)

    def good(self, response: Response, status: int = 200) -> Any:
        """The body of an answer that has to be this status."""
        assert response.status_code == status, response.text
        return response.json() if response.content else None


@pytest.fixture
def make_api(make_pipeline: Callable[..., Pipeline]) -> Iterator[Callable[..., Api]]:
    """``make_api(**settings)``, as ``make_pipeline`` has them."""
    with ExitStack() as stack:

        def make(**settings: Any) -> Api:
            pipeline = make_pipeline(**settings)
            client = TestClient(create_app(pipeline.runtime), raise_server_exceptions=False)
            return Api(pipeline, stack.enter_context(client))

        yield make


@pytest.fixture
def api(make_api: Callable[..., Api]) -> Api:
    return make_api()


@pytest.fixture
def url(api: Api) -> Iterator[str]:
    """The API's address on a real server, for behavior that only a real connection shows."""
    config = uvicorn.Config(api.client.app, host="127.0.0.1", port=0, log_level="error", timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="uvicorn")
    thread.start()
    until = time.monotonic() + 20
    while not server.started and time.monotonic() < until:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/api/v2"
    server.should_exit = True
    thread.join(20)
    assert not thread.is_alive()


def problem(response: Response, status: int) -> dict[str, Any]:
    """The problem document of an answer that has to be this status."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["status"] == status
    assert body["request_id"] == response.headers["x-request-id"]
    return body
