"""Raw and parsed bodies by key, stored with fsspec: in a folder by default, or in another store such as ``s3://...``.

The content of a key never changes, so writing a body twice is harmless. A reader never sees a part of a body.
"""

from __future__ import annotations

import json
import os
import time
import uuid
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from semantik_pipeline.concurrency import map_in_order
from semantik_pipeline.documents import Element, ParsedDocument, content_hash
from semantik_pipeline.errors import PipelineError, SettingsError, StorageFull, StorageUnavailable

#: A body younger than this many seconds is not removed: a batch of a slow source may be about to refer to it, and the
#: clock of another host may be ahead. Maintenance removes a body later that was too young when its document went.
GRACE = 3600.0

#: Number of concurrent calls to a bucket by one loop of a stage, and of connections that all loops of a process share.
BUCKET_CALLS, CONNECTIONS = 16, 64

#: Bytes of a body in one request to the store, if the body is read piece by piece.
PIECE = 2**20

#: Object stores: they write a body completely or not at all, and their folders are only parts of names.
_FLAT = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "oci", "memory"}

#: The keys for the modification time in listings of S3, a local folder and Azure.
_WRITTEN = ("LastModified", "mtime", "last_modified")

_INSTALL = "Install semantik-pipeline[s3]."


class Blobs:
    """The bodies under a URL: ``raw/`` by content hash, ``parsed/`` by content hash and parser fingerprint."""

    def __init__(self, url: str) -> None:
        import fsspec

        self.url = url
        try:
            # No caches: other processes write and remove bodies too, so a cached listing would be outdated. A cached
            # file system would have the credentials of its first user in this process.
            self._fs, self._root = fsspec.url_to_fs(
                url, use_listings_cache=False, skip_instance_cache=True, **_connections(url)
            )
        except (ImportError, ValueError) as error:
            raise SettingsError(f"blob.url is {url}: {error}", _INSTALL if "s3" in url[:4] else None) from error
        self._local = "file" in _protocols(self._fs)
        self._flat = not _FLAT.isdisjoint(_protocols(self._fs))
        #: Number of calls that are worth making at the same time. A folder answers at once, and stores such as FTP have
        #: one connection for all calls.
        self.concurrency = BUCKET_CALLS if self._flat else 1

    @property
    def folder(self) -> Path | None:
        """The folder with the bodies; None if they are not in a folder of this host."""
        return Path(self._root) if self._local else None

    def put_raw(self, key: str, body: bytes) -> None:
        self._put(f"raw/{key}", body)

    def get_raw(self, key: str) -> bytes | None:
        """Return the body; None if it is missing or does not match its hash: the source is then read again."""
        body = self._get(f"raw/{key}")
        if body is None and not self._local:
            self._check_store()
        if body is not None and content_hash(body) != key:
            self._discard(f"raw/{key}")
            return None
        return body

    def raw_size(self, content_hash: str) -> int | None:
        """Return the body's size in bytes; None if it is missing."""
        with self._reaching():
            try:
                return int(self._fs.info(self._path(f"raw/{content_hash}"))["size"])
            except FileNotFoundError:
                pass
        if not self._local:
            self._check_store()
        return None

    def open_raw(self, content_hash: str) -> IO[bytes] | None:
        """Open the body for reading piece by piece; the caller closes it. None if it is missing."""
        with self._reaching():
            try:
                return self._fs.open(self._path(f"raw/{content_hash}"), "rb", block_size=PIECE)
            except FileNotFoundError:
                return None

    def put_parsed(self, key: str, parsed: ParsedDocument) -> None:
        self._put(f"parsed/{key}", packed(parsed))

    def get_parsed(self, key: str) -> ParsedDocument | None:
        """Return the parsed document; None if it is missing or damaged, and must be parsed again."""
        body = self.get_body("parsed", key)
        return None if body is None else self.unpack(key, body)

    def unpack(self, key: str, body: bytes) -> ParsedDocument | None:
        """Decode a parsed body, which :meth:`get_body` has returned; None if it is damaged, and then it is removed."""
        try:
            return parsed_of(json.loads(zlib.decompress(body)))
        except (zlib.error, ValueError):
            self._discard(f"parsed/{key}")
            return None

    def put_many(self, kind: str, bodies: Iterable[tuple[str, bytes]]) -> None:
        """Store ``raw`` or packed ``parsed`` bodies by their keys, several at a time if the store is remote."""
        self._with_each(lambda body: self._put(f"{kind}/{body[0]}", body[1]), dict(bodies).items())

    def get_body(self, kind: str, key: str) -> bytes | None:
        """Return a ``raw`` or ``parsed`` body as it is stored, or None."""
        return self._get(f"{kind}/{key}")

    def keys(self, kind: str, *, older_than: float) -> Iterator[list[str]]:
        """Yield the keys of ``raw`` or ``parsed`` bodies older than ``older_than`` s (at least GRACE), per folder."""
        for number in range(256):
            with self._reaching():
                found = self._listing(f"{self._root}/{kind}/{number:02x}")
                ages = {path.rsplit("/", 1)[-1]: self._age_of(path, about) for path, about in found.items()}
            old = [name for name, age in ages.items() if age is not None and age > max(older_than, GRACE)]
            if old:
                yield old

    def probe(self) -> None:
        """Write a body, read it and remove it. Raises StorageUnavailable or StorageFull."""
        path, body = f"{self._root}/probe/{uuid.uuid4().hex}", b"semantik"
        with self._reaching():
            self._write(path, body)
            try:
                if self._fs.cat_file(path) != body:
                    raise OSError("the probe was read back with different content")
            finally:
                self._fs.rm_file(path)

    def remove(self, kind: str, key: str) -> bool:
        """Remove a body that nothing refers to, unless it is younger than GRACE. Returns whether it was removed."""
        path = self._path(f"{kind}/{key}")
        with self._reaching():
            if not self._is_old(path):
                return False
            try:
                if self._local:
                    return self._remove_file(Path(path))
                self._fs.rm_file(path)
            except FileNotFoundError:  # another process has removed it
                return False
        return True

    def remove_many(self, kind: str, keys: Iterable[str]) -> None:
        """:meth:`remove` each of these bodies, several at a time if the store is remote."""
        self._with_each(lambda key: self.remove(kind, key), keys)

    def _with_each(self, function: Callable[[Any], Any], items: Iterable[Any]) -> None:
        deque(map_in_order(function, items, threads=self.concurrency), maxlen=0)

    def _remove_file(self, path: Path) -> bool:
        """Rename the file first, so that no concurrent put is lost.

        A put after the renaming writes the body again. A put just before it has renewed the modification time, so the
        file is renamed back.
        """
        aside = path.rename(f"{path}.{uuid.uuid4().hex}")
        if not self._is_old(str(aside)):
            aside.rename(path)
            return False
        aside.unlink()
        return True

    def _discard(self, name: str) -> None:
        """Remove a damaged body, because a put compares only sizes and would keep a damaged body of the same size."""
        with self._reaching(), suppress(FileNotFoundError):
            self._fs.rm_file(self._path(name))

    def _path(self, name: str) -> str:
        kind, key = name.split("/")
        return f"{self._root}/{kind}/{key[:2]}/{key}"

    def _put(self, name: str, body: bytes) -> None:
        path = self._path(name)
        with self._reaching():
            if self._flat:  # one request for a new body instead of three, and an old one is young again
                self._write(path, body)
                return
            about = self._about(path)
            age = None if about is None else self._age_of(path, about)
            if about is None or age is None or about["size"] != len(body):  # a power failure may truncate it
                self._write(path, body)
            elif self._local:  # renew its age, because new references to it are about to be written: see GRACE
                try:
                    os.utime(path)
                except FileNotFoundError:  # it has just been removed
                    self._write(path, body)
            elif age > GRACE / 2:  # most stores can only renew its age by writing it again
                self._write(path, body)

    def _write(self, path: str, body: bytes) -> None:
        """Write a body completely or not at all. Object stores guarantee that themselves, and need no folders."""
        if self._flat:
            self._fs.pipe_file(path, body)
            return
        half = f"{path}.{uuid.uuid4().hex}"
        # fsspec's own calls for a local file take more than twice as long, and every document is written twice
        write, rename = (_write_file, os.replace) if self._local else (self._fs.pipe_file, self._fs.mv)
        try:
            write(half, body)
        except OSError:  # usually the folder does not exist yet; any other error is raised by the second attempt
            self._fs.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
            write(half, body)
        rename(half, path)

    def _get(self, name: str) -> bytes | None:
        with self._reaching():
            try:
                path = self._path(name)
                return Path(path).read_bytes() if self._local else self._fs.cat_file(path)
            except FileNotFoundError:
                return None

    def _check_store(self) -> None:
        """Raise StorageUnavailable if the whole bucket is missing."""
        bucket = self._root.split("/")[0]
        with self._reaching():
            if bucket and not self._fs.exists(bucket):
                raise FileNotFoundError(f"the bucket {bucket} does not exist or is not visible to this process")

    def _listing(self, folder: str) -> dict[str, dict[str, Any]]:
        try:
            return self._fs.find(folder, detail=True)
        except FileNotFoundError:
            return {}

    def _is_old(self, path: str) -> bool:
        """Whether the file exists and is older than GRACE."""
        about = self._about(path)
        age = None if about is None else self._age_of(path, about)
        return age is not None and age > GRACE

    def _about(self, path: str) -> dict[str, Any] | None:
        try:
            return self._fs.info(path)
        except FileNotFoundError:
            return None

    def _age_of(self, path: str, about: dict[str, Any]) -> float | None:
        """Return the seconds since the file was written, from its listing; None if it does not exist.

        File systems use different keys for the modification time.
        """
        given = next((about[name] for name in _WRITTEN if about.get(name) is not None), None)
        try:
            modified = given if isinstance(given, datetime | float | int) else self._fs.modified(path)
        except FileNotFoundError:
            return None
        return time.time() - (modified.timestamp() if isinstance(modified, datetime) else modified)

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """Translate every exception of the store into a PipelineError that blames no document.

        Each kind of store raises its own exception types.
        """
        try:
            yield
        except Exception as error:
            raise _translate(error, self.url) from error


def _connections(url: str) -> dict[str, Any]:
    """Return the options for S3: enough connections, and one request for each read.

    By default all calls of a process share ten connections, and each read asks for the size first, to read large
    bodies in parts.
    """
    if not url.startswith(("s3://", "s3a://")):
        return {}
    from fsspec.config import conf

    own = conf.get("s3", {}).get("config_kwargs", {})
    return {"max_concurrency": 1, "config_kwargs": {"max_pool_connections": CONNECTIONS, **own}}


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


def _write_file(path: str, body: bytes) -> None:
    Path(path).write_bytes(body)


def packed(parsed: ParsedDocument) -> bytes:
    """Encode a parsed document as it is stored."""
    # not asdict, which copies every field of every element and took a tenth of the time of the stage `chunk`
    told = {**vars(parsed), "elements": [vars(element) for element in parsed.elements]}
    return zlib.compress(json.dumps(told).encode(), 1)


def parsed_of(value: dict[str, Any]) -> ParsedDocument:
    """Build a parsed document from the values in a parsed body."""
    elements = [Element(**{**element, "section": tuple(element["section"])}) for element in value["elements"]]
    return ParsedDocument(**{**value, "elements": elements})


def _translate(error: Exception, url: str) -> PipelineError:
    import errno

    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull(f"The disk of the blobs at {url} is full.", "Free space and run it again; nothing was lost.")
    told = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, PermissionError) or "credentials" in told.lower():
        return StorageUnavailable(f"The blobs at {url} denied access: {told}.", "Fix the credentials of this process.")
    return StorageUnavailable(f"The blobs at {url} can't be reached: {told}")
