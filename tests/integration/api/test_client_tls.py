"""The client against a server with TLS on this machine, as behind a reverse proxy."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import trustme

from semantik_pipeline.client import Client
from semantik_pipeline.errors import ServiceUnavailable


class Live(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b'{"status": "live"}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Do not log."""


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def url(authority: trustme.CA) -> Iterator[str]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    server = HTTPServer(("127.0.0.1", 0), Live)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"https://localhost:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_an_authority_of_your_own_is_named_in_the_environment(
    authority: trustme.CA, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Client(url) as client, pytest.raises(ServiceUnavailable, match="SSL_CERT_FILE"):
        client.health.live()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with Client(url) as client:
        assert client.health.live()["status"] == "live"
