"""An S3 server on loopback that answers each request after a delay, as a bucket in another data center does.

It knows what the pipeline asks for: objects are put, read and deleted, and a bucket is listed in one page.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

WRITTEN = "Mon, 30 Nov 2026 12:00:00 GMT"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *parts: object) -> None:
        pass

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.objects[self._key] = body
        self._answer(200, etag=body)

    def do_GET(self) -> None:
        asked = parse_qs(urlsplit(self.path).query)
        if "list-type" in asked:
            self._answer(200, self._listing(asked.get("prefix", [""])[0], asked.get("start-after", [""])[0]))
        elif self._key in self.server.objects:
            body = self.server.objects[self._key]
            self._answer(200, body, etag=body)
        else:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")

    def do_HEAD(self) -> None:
        body = self.server.objects.get(self._key)
        self._answer(404 if body is None else 200, body or b"", etag=body or b"")

    def do_DELETE(self) -> None:
        self.server.objects.pop(self._key, None)
        self._answer(204)

    @property
    def _key(self) -> str:
        """``BUCKET/KEY``."""
        return unquote(urlsplit(self.path).path).strip("/")

    def _listing(self, prefix: str, after: str) -> bytes:
        start = f"{self._key}/"
        rows = "".join(
            f"<Contents><Key>{escape(name.removeprefix(start))}</Key><Size>{len(body)}</Size>"
            f'<ETag>"{_etag(body)}"</ETag><LastModified>2026-11-30T12:00:00.000Z</LastModified></Contents>'
            for name, body in sorted(self.server.objects.items())
            if name.startswith(start + prefix) and name > start + after
        )
        namespace = "http://s3.amazonaws.com/doc/2006-03-01/"
        text = f'<ListBucketResult xmlns="{namespace}"><IsTruncated>false</IsTruncated>{rows}</ListBucketResult>'
        return text.encode()

    def _answer(self, status: int, body: bytes = b"", etag: bytes = b"") -> None:
        time.sleep(self.server.seconds)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{_etag(etag)}"')
        self.send_header("Last-Modified", WRITTEN)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _etag(body: bytes) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, seconds: float) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.seconds = seconds
        self.objects: dict[str, bytes] = {}


@contextmanager
def distant_bucket(seconds: float) -> Iterator[tuple[str, dict[str, bytes]]]:
    """The server's URL, and its objects by ``BUCKET/KEY``."""
    server = _Server(seconds)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", server.objects
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
