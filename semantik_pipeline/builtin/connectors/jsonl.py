"""The connector ``jsonl``: every line of a file (or of several) is a document."""

# ruff: noqa: PTH100, PTH111, PTH113, PTH123, PTH207
# Paths are kept as strings, as the system gives them: exact to the byte, and fast for tens of thousands of files.

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Iterator
from glob import glob
from typing import Any

from semantik_pipeline.builtin.connectors.file_uri import quoted, readable, unquoted
from semantik_pipeline.builtin.connectors.json_lines import (
    BadLine,
    Fields,
    Line,
    Record,
    batches,
    identity,
    leading_id,
    lines,
    read_record,
)
from semantik_pipeline.builtin.connectors.json_repeats import Repeats, repeats_in
from semantik_pipeline.contracts import ConnectorPlugin
from semantik_pipeline.documents import Checkpoint, Complete, DocumentReference, IngestedDocument, content_hash
from semantik_pipeline.errors import DocumentGone, PermanentError, PluginConfigError, SkipDocument, TransientError

log = logging.getLogger(__name__)


class JsonlConnector(ConnectorPlugin):
    """Reads BEIR's ``corpus.jsonl`` without changes: ``_id``, ``title`` and ``text``; the other fields become metadata.

    The unique id is the line's own id, so that a line may move. If several lines have the same id, only the last one is
    named; ``problems`` reports it if they differ. A line without an id is identified by the hash of the line. An
    invalid line gets the id ``FILE#line-N`` and is skipped with the reason; the other lines are still read.
    """

    PLUGIN_ID = "jsonl"
    PLUGIN_VERSION = "1.0.0"
    METADATA = {"name": "JSON lines", "description": "Files with one JSON object on each line, such as BEIR's corpora."}

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        super().__init__(config)
        self.problems: list[str] = []
        self._known: tuple[list[Any], Repeats] = [], Repeats()  # identities of files, and the ids that they repeat
        self._fields = Fields(
            id=self.config.get("id_field"),
            text=self.config.get("text_field", "text"),
            title=self.config.get("title_field", "title"),
        )
        self._max_bytes: int = self.config.get("max_bytes", 256 * 2**20)

    @classmethod
    def get_config_schema(cls) -> dict[str, Any]:
        path = {"type": "string", "minLength": 1}
        return {
            "type": "object",
            "additionalProperties": False,
            "required": ["path"],
            "properties": {
                "path": {
                    "anyOf": [path, {"type": "array", "items": path, "minItems": 1}],
                    "description": "A file, a pattern such as data/*.jsonl, or a list of them.",
                },
                "id_field": {"type": "string", "description": "Field with the id (default: _id, id, doc_id …)."},
                "text_field": {"type": "string", "default": "text"},
                "title_field": {"type": "string", "default": "title"},
                "max_bytes": {
                    "type": "integer",
                    "minimum": 1,
                    "default": 256 * 2**20,
                    "description": "Maximum length of a line, in bytes.",
                    "x-operational": True,
                },
            },
        }

    def validate_config(self) -> None:
        self._files()

    async def enumerate(self, cursor: Any = None) -> AsyncIterator[DocumentReference | Checkpoint | Complete]:
        resumed = cursor if isinstance(cursor, dict) else {}
        files = self._files()
        repeats = await asyncio.to_thread(self._repeats_in, files)
        # This enumeration needs its own list, because the instance is shared and another enumeration may start
        # meanwhile.
        self.problems = problems = [*repeats.problems]
        full = resumed.get("full", True)
        for path in files:
            if readable(path) < resumed.get("file", ""):
                continue
            before = len(problems)
            async for event in self._enumerate_file(path, resumed, full, repeats, problems):
                yield event
            full = full and len(problems) == before
        yield Complete(full=full)

    async def _enumerate_file(
        self, path: str, resumed: dict[str, Any], full: bool, repeats: Repeats, problems: list[str]
    ) -> AsyncIterator[DocumentReference | Checkpoint]:
        try:
            before = identity(path)
            here = resumed.get("file") == readable(path) and resumed.get("identity") == before
            with await asyncio.to_thread(open, path, "rb") as file:
                offset, number = (resumed["offset"], resumed["line"]) if here else (0, 1)
                found = batches(lines(file, offset, number, self._max_bytes))
                while batch := await asyncio.to_thread(next, found, None):
                    for line in batch:
                        reference = self._reference(path, line)
                        if not repeats.supersede(reference.unique_id, path, line.number):
                            yield reference
                    mark = {"file": readable(path), "identity": before, "offset": file.tell()}
                    yield Checkpoint({**mark, "line": batch[-1].number + 1, "full": full})
            if identity(path) != before:
                _report(problems, f"{readable(path)}: changed while it was read")
        except OSError as error:
            _report(problems, f"{readable(path)}: {error.strerror or error}")

    def _repeats_in(self, files: list[str]) -> Repeats:
        """The repeated ids of the files as they are now. The result is kept, because each slice of a run asks for it. A
        file that cannot be read is reported when it is enumerated."""
        try:
            now = [(path, *identity(path)) for path in files]
            known, repeats = self._known
            if known != now:
                repeats = repeats_in(files, self._lines_of, self._id_of, lambda raw: leading_id(raw, self._fields))
                self._known = now, repeats
            return repeats
        except OSError:
            return Repeats()

    def _lines_of(self, path: str) -> Iterator[Line]:
        with open(path, "rb") as file:
            yield from lines(file, 0, 1, self._max_bytes)

    async def fetch(self, reference: DocumentReference) -> IngestedDocument:
        path, line = await asyncio.to_thread(self._find, reference)
        if len(line.raw) > self._max_bytes:
            raise PermanentError(
                f"Line {line.number} of {readable(path)} is longer than the limit of {self._max_bytes:,} bytes.",
                "Raise max_bytes in the source's configuration.",
            )
        try:
            return self._document(path, line, read_record(line.raw, self._fields))
        except BadLine as error:
            raise SkipDocument(f"Line {line.number} of {readable(path)} is skipped: {error}.") from error

    def _document(self, path: str, line: Line, record: Record) -> IngestedDocument:
        if not record.content.strip():
            raise SkipDocument(f"Line {line.number} of {readable(path)} has no text.")
        return IngestedDocument(
            content=record.content,
            unique_id=record.id,
            source_type=self.PLUGIN_ID,
            metadata=record.metadata,
            content_hash=content_hash(record.content),
            file_path=readable(path),
            media_type="text/plain",
        )

    def _reference(self, path: str, line: Line) -> DocumentReference:
        place = {"file": quoted(path), "line": line.number, "offset": line.offset}
        return DocumentReference(
            unique_id=self._id_of(path, line), change_hint=line.sha, size=len(line.raw), metadata=place
        )

    def _id_of(self, path: str, line: Line) -> str:
        try:
            if len(line.raw) > self._max_bytes:
                raise BadLine("it is too long")
            return read_record(line.raw, self._fields).id
        except BadLine:
            return f"{readable(path)}#line-{line.number}"

    def _find(self, reference: DocumentReference) -> tuple[str, Line]:
        """The line of the reference, at its recorded place. Without a place, search all files for its id."""
        if "offset" not in reference.metadata:
            return self._search(reference.unique_id)
        path = unquoted(reference.metadata["file"])
        try:
            with open(path, "rb") as file:
                place = reference.metadata
                found = next(lines(file, place["offset"], place["line"], self._max_bytes), None)
        except FileNotFoundError as error:
            raise DocumentGone(f"{readable(path)} is gone.") from error
        if found is None or (reference.change_hint and found.sha != reference.change_hint):
            raise TransientError(f"{readable(path)} has changed since line {place['line']} was listed.")
        return path, found

    def _search(self, unique_id: str) -> tuple[str, Line]:
        last: tuple[str, Line] | None = None
        for path in self._files():
            for line in self._lines_of(path):
                if self._id_of(path, line) == unique_id:
                    last = (path, line)
        if last is None:
            raise DocumentGone(f"No line has the id {unique_id!r} any more.")
        return last

    def _files(self) -> list[str]:
        given = self.config.get("path")
        patterns = [given] if isinstance(given, str) else given or []
        if not patterns:
            raise PluginConfigError("The connector jsonl needs a path.", "Set path to a file or a pattern.")
        files: set[str] = set()
        for pattern in patterns:
            absolute = os.path.abspath(os.path.expanduser(pattern))
            found = (
                [absolute] if os.path.isfile(absolute) else [name for name in glob(absolute) if os.path.isfile(name)]
            )
            if not found:
                raise PluginConfigError(f"No file matches {readable(pattern)}.", "Check the path.")
            files.update(found)
        return sorted(files, key=readable)


def _report(problems: list[str], problem: str) -> None:
    problems.append(problem)
    log.warning("file not read completely: %s", problem)
