"""Lines of a JSONL file: reads them in batches, and parses one of them."""

# ruff: noqa: PTH116
# Paths are kept as strings, as the system gives them: exact to the byte, and fast for tens of thousands of files.

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, BinaryIO, NamedTuple

#: A batch ends after this many lines or bytes, whichever comes first.
BATCH_LINES = 500
BATCH_BYTES = 8 * 2**20

#: Fields in which a line's id is searched for if none is configured.
ID_FIELDS = ("_id", "id", "doc_id", "docid", "document_id", "uuid")


class Line(NamedTuple):
    """A line of a file: its number (from 1), its byte offset, and its bytes without the line end. A frozen dataclass
    takes three times as long to make, and there is one for every line."""

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

    @cached_property
    def id_names(self) -> tuple[str, ...]:
        """The fields in which an id is searched for, in this order."""
        return (self.id,) if self.id else ID_FIELDS

    @cached_property
    def quoted(self) -> tuple[bytes, ...]:
        """The same fields as they are written in a line."""
        return tuple(f'"{name}"'.encode("utf-8", "replace") for name in self.id_names)

    @cached_property
    def beginning(self) -> re.Pattern[bytes]:
        """Matches the beginning of a line whose first field is one with an id: a plain text or a number."""
        names = b"|".join(map(re.escape, self.quoted))
        text, number = rb'"( *[!#-\[\]-~][ !#-\[\]-~]*)"', rb"(0|[1-9][0-9]{0,17})(?=[\s,}])"
        return re.compile(rb"\{\s*(" + names + rb")\s*:\s*(?:" + text + b"|" + number + b")")


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
        if not raw.isspace():
            yield Line(number, offset, raw.rstrip(b"\r\n"))
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


def leading_id(raw: bytes, fields: Fields) -> str | None:
    """The id of a line that begins with it, without parsing the line: :func:`read_record` finds the same id, unless the
    line is invalid. None for other lines, and for ids that need parsing."""
    found = fields.beginning.match(raw)
    if found is None:
        return None
    name, text, number = found.groups()
    for quoted in fields.quoted:
        if quoted == name:
            return (text or number).decode()
        if quoted in raw:  # a field with precedence, or something inside another field
            break
    return None


def read_record(raw: bytes, fields: Fields) -> Record:
    """The document in a line. Raises BadLine."""
    value = _object(raw)
    text = value.pop(fields.text, None)
    if not isinstance(text, str):
        raise BadLine(f"it has no string in the field {fields.text!r}")
    title = value.get(fields.title)
    title = title.strip() if isinstance(title, str) else ""
    taken = _take_id(value, fields)
    # if a line names its id twice, the first one counts: the id that is read without parsing must be the same
    id_ = leading_id(raw, fields) or taken or f"sha256-{hashlib.sha256(raw).hexdigest()[:32]}"
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
    for name in fields.id_names:
        found = value.get(name)
        if isinstance(found, (str, int)) and not isinstance(found, bool) and str(found).strip():
            return str(value.pop(name))
    if fields.id:
        raise BadLine(f"it has no string or number in the field {fields.id!r}")
    return None
