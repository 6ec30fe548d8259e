"""Raw and parsed bodies by key, over fsspec: a folder by default, ``s3://…`` where the settings say so.

A key never changes its content, so writing twice is harmless and a reader never sees half a body.
"""

from __future__ import annotations

import json
import time
import uuid
import zlib
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from semantik_pipeline.documents import Element, ParsedDocument
from semantik_pipeline.errors import ServiceUnavailable, StorageFull

#: A body younger than this many seconds is not removed: a sync may be about to refer to it.
GRACE = 60.0


class Blobs:
    """Bodies under a URL, in ``raw/`` (by content hash) and ``parsed/`` (by content hash + parser fingerprint)."""

    def __init__(self, url: str) -> None:
        import fsspec

        self.url = url
        self._fs, self._root = fsspec.url_to_fs(url)
        self._local = "file" in _protocols(self._fs)

    def put_raw(self, content_hash: str, body: bytes) -> None:
        self._put(f"raw/{content_hash}", body)

    def get_raw(self, content_hash: str) -> bytes | None:
        """The body, or None: a missing body is a miss, and the source is asked again."""
        return self._get(f"raw/{content_hash}")

    def put_parsed(self, key: str, parsed: ParsedDocument) -> None:
        self._put(f"parsed/{key}", zlib.compress(json.dumps(asdict(parsed)).encode(), 1))

    def get_parsed(self, key: str) -> ParsedDocument | None:
        body = self._get(f"parsed/{key}")
        return None if body is None else _parsed(json.loads(zlib.decompress(body)))

    def keys(self, kind: str, *, older_than: float) -> Iterator[list[str]]:
        """Keys of the ``raw`` or ``parsed`` bodies that are older than this many seconds, a folder at a time."""
        for number in range(256):
            folder = f"{self._root}/{kind}/{number:02x}"
            names = [path.rsplit("/", 1)[-1] for path in self._fs.find(folder)] if self._fs.exists(folder) else []
            old = [name for name in names if self._age(f"{kind}/{name}") > max(older_than, GRACE)]
            if old:
                yield old

    def remove(self, kind: str, key: str) -> bool:
        """Remove a body that nothing refers to, unless it is younger than the grace time."""
        name = f"{kind}/{key}"
        try:
            if self._age(name) <= GRACE:
                return False
            self._fs.rm_file(self._path(name))
        except FileNotFoundError:
            return False
        return True

    def _path(self, name: str) -> str:
        kind, key = name.split("/")
        return f"{self._root}/{kind}/{key[:2]}/{key}"

    def _put(self, name: str, body: bytes) -> None:
        path = self._path(name)
        try:
            if self._fs.exists(path):
                self._make_young(name, body)
                return
            self._fs.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
            if not self._local:
                self._fs.pipe_file(path, body)
                return
            half = f"{path}.{uuid.uuid4().hex}"
            self._fs.pipe_file(half, body)
            self._fs.mv(half, path)
        except OSError as error:
            raise _translate(error, self.url) from error

    def _make_young(self, name: str, body: bytes) -> None:
        """A body that is put again is about to be referred to again: see GRACE. Most stores can only write it anew."""
        if self._local:
            self._fs.touch(self._path(name), truncate=False)
        elif self._age(name) > GRACE / 2:
            self._fs.pipe_file(self._path(name), body)

    def _get(self, name: str) -> bytes | None:
        try:
            return self._fs.cat_file(self._path(name))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _translate(error, self.url) from error

    def _age(self, name: str) -> float:
        modified = self._fs.modified(self._path(name))
        return time.time() - modified.timestamp()


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


def _parsed(value: dict[str, Any]) -> ParsedDocument:
    elements = [Element(**{**element, "section": tuple(element["section"])}) for element in value["elements"]]
    return ParsedDocument(**{**value, "elements": elements})


def _translate(error: OSError, url: str) -> Exception:
    import errno

    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull(f"The disk of the blobs at {url} is full.", "Free space and run it again; nothing was lost.")
    return ServiceUnavailable(f"The blobs at {url} can't be reached: {error}")
