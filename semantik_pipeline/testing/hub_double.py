"""A model hub on loopback that supports what ``huggingface_hub`` needs to download a model: listings, heads, bodies."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass
class HubDouble:
    """A hub with one repository: a folder for each commit; ``main`` is the commit of the main branch.

    ``forged`` files are sent with a different ending. Of ``held`` files only half is sent until ``release`` is set.
    ``fetched`` lists the files whose bodies were requested.
    """

    name: str
    commits: dict[str, Path]
    main: str
    url: str = ""
    forged: set[str] = field(default_factory=set)
    held: set[str] = field(default_factory=set)
    release: threading.Event = field(default_factory=threading.Event)
    fetched: list[str] = field(default_factory=list)

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Serve on loopback; yields the URL, for ``HF_ENDPOINT``."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield self.url
        finally:
            self.release.set()
            server.shutdown()
            server.server_close()

    def listing(self, commit: str) -> list[tuple[str, Path]]:
        folder = self.commits[commit]
        return [(path.relative_to(folder).as_posix(), path) for path in sorted(folder.rglob("*")) if path.is_file()]

    def info(self, commit: str) -> dict[str, Any]:
        siblings = [
            {"rfilename": name, "size": path.stat().st_size, "blobId": _git_blob(path), **_lfs(path, "sha256")}
            for name, path in self.listing(commit)
        ]
        return {"id": self.name, "sha": commit, "siblings": siblings}

    def tree(self, commit: str) -> list[dict[str, Any]]:
        return [
            {"type": "file", "path": name, "size": path.stat().st_size, "oid": _git_blob(path), **_lfs(path, "oid")}
            for name, path in self.listing(commit)
        ]


def _lfs(path: Path, key: str) -> dict[str, Any]:
    big = path.suffix == ".safetensors"
    return {"lfs": {key: _sha256(path), "size": path.stat().st_size, "pointerSize": 130}} if big else {}


def _handler(hub: HubDouble) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if not path.startswith((f"/api/models/{hub.name}", f"/{hub.name}/resolve/")):
                return self._refuse("RepoNotFound")
            if path.startswith("/api/"):
                parts = path.removeprefix(f"/api/models/{hub.name}").strip("/").split("/")
                commit = {"": hub.main, "main": hub.main}.get(parts[-1], parts[-1])
                if commit not in hub.commits:
                    return self._refuse("RevisionNotFound")
                answer = hub.tree(commit) if parts[0] == "tree" else hub.info(commit)
                return self._give(json.dumps(answer).encode(), {"Content-Type": "application/json"})
            commit, _, name = path.removeprefix(f"/{hub.name}/resolve/").partition("/")
            file = hub.commits[commit] / name
            body = file.read_bytes()
            tag = _sha256(file) if file.suffix == ".safetensors" else _git_blob(file)
            if self.command == "GET":
                hub.fetched.append(name)
                body = body[:-4] + b"evil" if name in hub.forged else body
            return self._give(body, {"ETag": f'"{tag}"', "X-Repo-Commit": commit}, hold=name in hub.held)

        def _give(self, body: bytes, headers: dict[str, str], *, hold: bool = False) -> None:
            self.send_response(200)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                half = len(body) // 2 if hold else 0
                try:
                    self.wfile.write(body[:half])
                    self.wfile.flush()
                    if hold:
                        hub.release.wait(30)
                    self.wfile.write(body[half:])
                except OSError:
                    pass  # the client has disconnected

        def _refuse(self, code: str) -> None:
            self.send_response(404)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Do not log requests."""

    return Handler


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _git_blob(path: Path) -> str:
    body = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(body) + body, usedforsecurity=False).hexdigest()
