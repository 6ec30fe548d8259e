"""A web site on a real HTTP server on loopback. Its pages can change, vanish, redirect, be slow or say "not now"."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType


@dataclass(frozen=True, kw_only=True)
class Reply:
    """The answer for a path. With ``etag``, a request with the current ETag gets a 304. ``delay`` is in seconds."""

    body: bytes = b""
    status: int = 200
    media_type: str = "text/html; charset=utf-8"
    headers: dict[str, str] = field(default_factory=dict)
    etag: bool = True
    delay: float = 0.0
    password: str | None = None  # for HTTP Basic, in base64 as it is sent


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request, and how it was answered."""

    path: str
    status: int
    headers: dict[str, str]
    at: float  # time.monotonic()


class WebSite:
    """``site.replies["/a"] = Reply(...)``; other paths get a 404. ``requests`` are in the order of their answers."""

    def __init__(self) -> None:
        self.replies: dict[str, Reply] = {}
        self.requests: list[Request] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def port(self) -> int:
        return self._server.server_address[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def page(self, path: str, text: str, *links: str, head: str = "", **options: object) -> None:
        """Put an HTML page with this text and these links at a path."""
        anchors = "".join(f'<p><a href="{link}">{link}</a></p>' for link in links)
        body = f"<html><head><title>{text[:30]}</title>{head}</head><body><p>{text}</p>{anchors}</body></html>"
        self.replies[path] = Reply(body=body.encode(), **options)  # type: ignore[arg-type]

    def asked(self, status: int | None = None) -> list[str]:
        """The paths that were requested (and answered with ``status``), without robots.txt; then clear the list."""
        found = [one.path for one in self.requests if status in (None, one.status) and one.path != "/robots.txt"]
        self.requests.clear()
        return found

    def __enter__(self) -> WebSite:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


def _handler(site: WebSite) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            reply = site.replies.get(self.path, Reply(status=404, body=b"nothing here", etag=False))
            time.sleep(reply.delay)
            etag = f'"{sha256(reply.body).hexdigest()[:12]}"' if reply.etag else None
            status = self._status(reply, etag)
            body = reply.body if status == reply.status else b""
            site.requests.append(
                Request(path=self.path, status=status, headers=dict(self.headers), at=time.monotonic())
            )
            self.send_response(status)
            for name, value in {"Content-Type": reply.media_type, **reply.headers}.items():
                self.send_header(name, value)
            if etag and status in (200, 304):
                self.send_header("ETag", etag)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _status(self, reply: Reply, etag: str | None) -> int:
            if reply.password is not None and self.headers.get("Authorization") != f"Basic {reply.password}":
                return 401
            known = etag is not None and self.headers.get("If-None-Match") == etag
            return 304 if known and reply.status == 200 else reply.status

        def log_message(self, format: str, *args: object) -> None:
            """Do not log: the requests are recorded."""

    return Handler
