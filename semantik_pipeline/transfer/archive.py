"""The file of an exported collection: a tar, gzipped if its name ends in ``gz``, written and read as a stream.

Its members, in this order::

    manifest.json               format, version, configuration, fingerprints, sources
    PAGE/documents.jsonl        documents, each with the state of its unit; PAGE is 000000, 000001 ...
    PAGE/PART/chunks.jsonl      chunks of these documents; ``document`` counts within the page, ``vector`` within the
                                part
    PAGE/PART/vectors.npy       float32, (n, dimension), little endian
    PAGE/extractions.jsonl      results of extractors for these texts
    PAGE/raw/HASH               bodies as they were fetched, by their SHA-256
    PAGE/parsed/KEY             parsed bodies, JSON deflated
    end.json                    number of members, and the SHA-256 over all of them: a file without it was cut

A reader of version 1 refuses a higher version and skips members that it does not know. The name of a member decides how
large it may be, before any of its content is in memory. The size of the file decides how much may be unpacked in total.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import tarfile
import uuid
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from semantik_pipeline.errors import UnreadableExport, UsageError

FORMAT, VERSION = "semantik-collection", 1

MANIFEST, END = "manifest.json", "end.json"

#: Maximum bytes of a member that are read into memory, by its kind. A larger member makes the export invalid.
LARGEST = {
    "documents": 512 * 1024**2,
    "extractions": 512 * 1024**2,
    "chunks.jsonl": 512 * 1024**2,
    "vectors.npy": 512 * 1024**2,
    "raw": 1024**3,
    "parsed": 256 * 1024**2,
}

#: Maximum bytes of an inflated parsed body.
INFLATED = 1024**3

#: Maximum bytes of the first member, which is read before anything is known of the rest, and of the last.
FIRST, LAST = 8 * 1024**2, 1024

#: Bytes that are read at a time of a member that this version does not know.
PIECE = 1024**2

#: Limits on unpacked bytes: RATIO times the file's size, but at least LEAST. HEADERS is for headers before a member's
#: content.
RATIO, LEAST, HEADERS = 200, 1024**3, 1024**2

#: Names of the members after the first: page, list, part and its content, kind of body and its key.
MEMBER = re.compile(
    r"(\d{6})/(?:(documents|extractions)\.jsonl|(\d{4})/(chunks\.jsonl|vectors\.npy)|(raw|parsed)/(\w+))"
)


class Writer:
    """Writes members, and keeps a checksum over them and the number of unpacked bytes."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._sum = Sum()

    @property
    def unpacked(self) -> int:
        records, rest = divmod(self._tar.offset, tarfile.RECORDSIZE)
        return (records + bool(rest)) * tarfile.RECORDSIZE  # a tar is padded to whole records

    def add(self, name: str, body: bytes) -> None:
        """Write a member. Raises UsageError if it is larger than a reader would accept."""
        most = _most(name, first=name == MANIFEST)
        if most is not None and len(body) > most:
            raise UsageError(
                f"{name} would have {len(body):,} bytes, but the maximum is {most:,}.",
                "Remove it from the collection first.",
            )
        self._sum.begin(name, len(body))
        self._sum.add(body)
        self._write(name, body)

    def add_lines(self, name: str, rows: Iterable[dict[str, Any]]) -> None:
        self.add(name, b"".join(json.dumps(row, separators=(",", ":")).encode() + b"\n" for row in rows))

    def end(self) -> None:
        self._write(END, json.dumps(self._sum.told()).encode())

    def _write(self, name: str, body: bytes) -> None:
        about = tarfile.TarInfo(name)
        about.size, about.mode = len(body), 0o600
        self._tar.addfile(about, io.BytesIO(body))


class Sum:
    """The number of members, and one hash over their names and contents."""

    def __init__(self) -> None:
        self._hash, self._members = hashlib.sha256(), 0

    def begin(self, name: str, size: int) -> None:
        """Begin a member of this size. Its bytes follow in pieces of any size."""
        self._members += 1
        self._hash.update(f"{name}\0{size}\0".encode())

    def add(self, piece: bytes) -> None:
        self._hash.update(piece)

    def told(self) -> dict[str, Any]:
        return {"members": self._members, "sha256": self._hash.hexdigest()}


@contextmanager
def writing(path: Path) -> Iterator[Writer]:
    """Write an export. The file exists complete, with its end, or not at all.

    Raises UsageError if the file already exists, if its folder does not exist, or if the file would unpack to more
    bytes than a reader accepts.
    """
    if path.exists():
        raise UsageError(f"The file {path} already exists.", "Give another name, or remove it.")
    if not path.parent.is_dir():
        raise UsageError(f"The folder {path.parent} does not exist.", "Create it, or name another file.")
    half = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            with tarfile.open(fileobj=file, mode="w|gz" if path.name.endswith("gz") else "w|") as tar:
                writer = Writer(tar)
                yield writer
                writer.end()
            file.flush()
            os.fsync(file.fileno())
            if writer.unpacked > _most_unpacked(file.tell()):
                raise UsageError(
                    f"{path} would unpack to {writer.unpacked:,} bytes, too many for a file of {file.tell():,}.",
                    "Choose a name that does not end in gz, so that it is not compressed.",
                )
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)


def read(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the members that this version knows, in order, without the end, which is checked.

    Raises UnreadableExport for a file that is no export, is damaged or was cut. Then the members before the error must
    not be trusted either.
    """
    summed = Sum()
    try:
        with _unpacked(path) as file, tarfile.open(fileobj=cast("IO[bytes]", file), mode="r|") as tar:
            for place, about in enumerate(tar):
                if place == 0 and about.name != MANIFEST:
                    raise _no_export(path)
                most = _most(about.name, first=place == 0)
                if not about.isfile() or about.issparse() or (most is not None and about.size > most):
                    raise UnreadableExport(f"{path} is not an export: {about.name} can't be part of one.")
                file.allow(about.size)
                found = cast("IO[bytes]", tar.extractfile(about))  # it is a file
                if about.name == END:
                    if json.loads(found.read()) != summed.told():
                        raise UnreadableExport(f"{path} is damaged: its content has changed.", EXPORT_AGAIN)
                    return
                summed.begin(about.name, about.size)
                if most is None:
                    while piece := found.read(PIECE):
                        summed.add(piece)
                    continue
                body = found.read()
                if len(body) != about.size:
                    break
                summed.add(body)
                yield about.name, body
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error, ValueError) as error:
        raise UnreadableExport(f"{path} is not an export, or it is damaged: {error}.", EXPORT_AGAIN) from None
    raise UnreadableExport(f"{path} was cut short: its end is missing.", EXPORT_AGAIN)


class _Unpacked:
    """The content of a file, with limits on how much is read of it.

    It reads no more than was allowed for the current member, and in total no more than the file's size permits. A few
    bytes of gzip can expand to any number of bytes, and tarfile reads its own headers whole.
    """

    def __init__(self, path: Path, packed: IO[bytes]) -> None:
        self._path, self._packed = path, packed
        self._left = _most_unpacked(path.stat().st_size)
        self._allowed = HEADERS

    def allow(self, size: int) -> None:
        """Allow a member of this size, and the headers of the next one."""
        self._allowed = size + HEADERS

    def read(self, size: int) -> bytes:
        piece = self._packed.read(size)
        self._allowed -= len(piece)
        self._left -= len(piece)
        if min(self._allowed, self._left) < 0:
            raise UnreadableExport(f"{self._path} is not an export: it unpacks to too many bytes.")
        return piece


@contextmanager
def _unpacked(path: Path) -> Iterator[_Unpacked]:
    with path.open("rb") as file:
        gzipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if not gzipped:
            yield _Unpacked(path, file)
            return
        with gzip.GzipFile(fileobj=file) as inflated:
            yield _Unpacked(path, cast("IO[bytes]", inflated))


def _most_unpacked(size: int) -> int:
    """Return the maximum number of bytes that a file of this size may unpack to."""
    return max(LEAST, RATIO * size)


def inflated(body: bytes) -> bytes:
    """Inflate a parsed body.

    Raises UnreadableExport if it is larger than any parsed body may be or is cut, and zlib.error if it is not deflated
    data.
    """
    inflater = zlib.decompressobj()
    found = inflater.decompress(body, INFLATED)
    if inflater.unconsumed_tail or not inflater.eof:
        raise UnreadableExport("The export is damaged: a parsed body is cut short or too large.", EXPORT_AGAIN)
    return found


def _most(name: str, *, first: bool) -> int | None:
    """Return the maximum bytes of a member with this name; None for a name that this version does not know."""
    if first:
        return FIRST
    if name == END:
        return LAST
    found = MEMBER.fullmatch(name)
    return LARGEST[found[2] or found[4] or found[5]] if found else None


def _no_export(path: Path) -> UnreadableExport:
    return UnreadableExport(f"{path} is not an export of a collection.", "`semantik collections export` writes one.")


EXPORT_AGAIN = "Nothing was imported. Copy the file again, or write it again with `semantik collections export`."


def manifest_of(path: Path, members: Iterator[tuple[str, bytes]]) -> dict[str, Any]:
    """Return the values of the first member.

    Raises UnreadableExport for a file that is no export or has a newer format.
    """
    name, body = next(members, ("", b""))
    try:
        manifest = json.loads(body) if name == MANIFEST else {}
    except ValueError:
        manifest = {}
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise _no_export(path)
    if not isinstance(manifest.get("version"), int) or manifest["version"] > VERSION:
        raise UnreadableExport(
            f"{path} has version {manifest.get('version')} of the format, but this program reads version {VERSION}.",
            "Install the newer release.",
        )
    return manifest


def lines(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in body.splitlines()]
