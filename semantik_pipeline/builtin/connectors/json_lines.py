"""Lines of a JSONL file: reads them in batches, and parses one of them."""

# ruff: noqa: PTH116
# Paths are kept as strings, as the system gives them: exact to the byte, and fast for tens of thousands of files.

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

#: A batch ends after this many lines or bytes, whichever comes first.
BATCH_LINES = 500
BATCH_BYTES = 8 * 2**20

#: Fields in which a line's id is searched for if none is configured.
ID_FIELDS = ("_id", "id", "doc_id", "docid", "document_id", "uuid")


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of a file: its number (from 1), its byte offset, and its bytes without the line end."""

    number: int
    offset: int
    raw: bytes

    @property
    def sha(self) -> str:
        return hashlib.sha256(self.raw).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Fields:
    """The names of the fields. If ``id`` is None, the first of :data:`ID_FIELDS` that exists is used."""

    id: str | None = None
    text: str = "text"
    title: str = "title"


@dataclass(frozen=True, kw_only=True)
class Record:
    """The document in a valid line. ``content`` is the title, a blank line and the text; the title is not repeated if
    the text starts with it."""

    id: str
    content: str
    metadata: dict[str, Any]


class BadLine(ValueError):
    """The line is not a valid document; the message explains why."""


def identity(path: str) -> list[int]:
    """Size, modification time and inode. Offsets are only valid while these stay the same."""
    about = os.stat(path)
    return [about.st_size, about.st_mtime_ns, about.st_ino]


def lines(file: BinaryIO, offset: int, number: int, max_bytes: int) -> Iterator[Line]:
    """Yield the lines from ``offset`` on, where the line has this number. Blank lines are left out.

    Of a line longer than ``max_bytes``, only the first ``max_bytes + 1`` bytes are kept, which shows that it is too
    long.
    """
    file.seek(offset)
    while raw := file.readline(max_bytes + 1):
        length = len(raw) + (0 if raw.endswith(b"\n") else _skip_rest(file))
        if raw.strip():
            yield Line(number=number, offset=offset, raw=raw.rstrip(b"\r\n"))
        offset, number = offset + length, number + 1


def batches(found: Iterator[Line]) -> Iterator[list[Line]]:
    """Yield the lines in batches of at most BATCH_LINES lines; a batch ends early at BATCH_BYTES."""
    batch: list[Line] = []
    size = 0
    for line in found:
        batch.append(line)
        size += len(line.raw)
        if len(batch) >= BATCH_LINES or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _skip_rest(file: BinaryIO) -> int:
    skipped = 0
    while rest := file.readline(2**20):
        skipped += len(rest)
        if rest.endswith(b"\n"):
            break
    return skipped


def read_record(raw: bytes, fields: Fields) -> Record:
    """The document in a line. Raises BadLine."""
    value = _object(raw)
    text = value.pop(fields.text, None)
    if not isinstance(text, str):
        raise BadLine(f"it has no string in the field {fields.text!r}")
    title = value.get(fields.title)
    title = title.strip() if isinstance(title, str) else ""
    id_ = _take_id(value, fields) or f"sha256-{hashlib.sha256(raw).hexdigest()[:32]}"
    nested = value.pop("metadata", None)
    metadata = {**value, **(nested if isinstance(nested, dict) else {} if nested is None else {"metadata": nested})}
    content = text if not title or text.lstrip().startswith(title) else f"{title}\n\n{text}"
    return Record(id=id_, content=content, metadata=metadata)


def _object(raw: bytes) -> dict[str, Any]:
    try:
        value = json.loads(raw.removeprefix(b"\xef\xbb\xbf"))
    except (ValueError, RecursionError) as error:
        raise BadLine(f"it is not valid JSON ({error})") from error
    if not isinstance(value, dict):
        raise BadLine(f"it is not a JSON object but a {type(value).__name__}")
    return value


def _take_id(value: dict[str, Any], fields: Fields) -> str | None:
    """Take the id out of the record. A configured field must exist; otherwise the first usual field that exists is
    used. Returns None if there is none."""
    names = (fields.id,) if fields.id else ID_FIELDS
    for name in names:
        found = value.get(name)
        if isinstance(found, (str, int)) and not isinstance(found, bool) and str(found).strip():
            return str(value.pop(name))
    if fields.id:
        raise BadLine(f"it has no string or number in the field {fields.id!r}")
    return None
