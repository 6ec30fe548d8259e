"""The connector ``directory``: every file of a folder (or one file) is a document."""

# ruff: noqa: PTH100, PTH111, PTH112, PTH116, PTH119, PTH122
# Paths are kept as strings, as the system gives them: exact to the byte, and fast for tens of thousands of files.

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from semantik_pipeline.builtin.connectors.file_uri import path_of, quoted, readable, unquoted, uri_of
from semantik_pipeline.builtin.connectors.globs import GLOB_OPTIONS, rules_given
from semantik_pipeline.builtin.connectors.reading import FileContent, read_file
from semantik_pipeline.builtin.connectors.walk import Found, Walk, WalkRules, describe, is_data_folder
from semantik_pipeline.builtin.media_types import media_type
from semantik_pipeline.contracts import ConnectorPlugin
from semantik_pipeline.documents import Checkpoint, Complete, DocumentReference, IngestedDocument, content_hash
from semantik_pipeline.errors import DocumentGone, PluginConfigError

log = logging.getLogger(__name__)

#: References between two checkpoints.
BATCH = 500


class DirectoryConnector(ConnectorPlugin):
    """Names each file by its ``file://`` URI, percent-encoded byte by byte, so that every file name is printable.

    The change hint consists of size and modification time, as in rsync, and of the read permissions if not everybody
    may read the file. Inode and ctime are left out, because they can change without the content (a copy put in place, a
    network mount), and every changed hint causes a read. ``problems`` lists the folders that the last enumeration could
    not read, from its cursor on.
    """

    PLUGIN_ID = "directory"
    PLUGIN_VERSION = "1.0.0"
    METADATA = {"name": "Folder", "description": "The files of a folder on this machine or a mounted share."}

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        super().__init__(config)
        self.problems: list[str] = []

    @classmethod
    def get_config_schema(cls) -> dict[str, Any]:
        return {
            "type": "object",
            "additionalProperties": False,
            "required": ["path"],
            "properties": {
                "path": {"type": "string", "description": "A folder, or a single file."},
                **GLOB_OPTIONS,
                "recursive": {"type": "boolean", "default": True},
                "follow_symlinks": {
                    "type": "boolean",
                    "default": True,
                    "description": "Follow links within the folder. Links that leave it are never followed.",
                },
                "max_bytes": {"type": "integer", "minimum": 1, "default": 256 * 2**20, "x-operational": True},
            },
        }

    def validate_config(self) -> None:
        if not self.config.get("path"):
            raise PluginConfigError("The connector directory needs a path.", "Set path to a folder or a file.")
        try:
            os.stat(self.root)
            if self._is_folder:
                os.scandir(self.root).close()
        except OSError as error:
            raise PluginConfigError(f"{readable(self.root)}: {error.strerror or error}.", "Check the path.") from error
        if is_data_folder(self.root):
            told = f"{readable(self.root)} is a data folder of Semantik Pipeline, with its ledger and its index."
            raise PluginConfigError(told, "Index the folder with your documents.")

    @property
    def root(self) -> str:
        """The configured path as an absolute path. Links in it are not resolved, so that ids look as people write
        them."""
        return os.path.abspath(os.path.expanduser(self.config["path"]))

    @property
    def _is_folder(self) -> bool:
        return os.path.isdir(self.root)

    async def enumerate(self, cursor: Any = None) -> AsyncIterator[DocumentReference | Checkpoint | Complete]:
        self.validate_config()
        resumed = cursor if isinstance(cursor, dict) and cursor.get("root") == uri_of(self.root) else {}
        full = resumed.get("full", True)
        # This enumeration needs its own list, because the instance is shared and another enumeration may start
        # meanwhile.
        self.problems = problems = list[str]()
        walk = Walk(self.root, self._rules(), problems)
        found = (
            walk.found(tuple(unquoted(resumed["after"]).split("/")) if resumed else ())
            if self._is_folder
            else iter([self._only_file()])
        )
        told = 0
        # The walk blocks, so it runs in a thread, one batch at a time.
        while batch := await asyncio.to_thread(lambda: list(islice(found, BATCH))):
            for one in batch:
                yield _reference(one)
            full, told = full and not problems, _tell(problems, told)
            if len(batch) == BATCH:
                yield Checkpoint({"root": uri_of(self.root), "after": quoted("/".join(batch[-1].parts)), "full": full})
        _tell(problems, told)
        yield Complete(full=full and not problems)

    # Plain, so that it runs in the sync's own thread: handing a small file from thread to thread takes longer than
    # reading it.
    def fetch(self, reference: DocumentReference) -> IngestedDocument:  # type: ignore[override]
        path = path_of(reference.unique_id)
        if path != self.root and not path.startswith(self.root.rstrip("/") + "/"):
            raise DocumentGone(f"{readable(path)} is not in {readable(self.root)}.")
        limit = self.config.get("max_bytes") or self.get_config_schema()["properties"]["max_bytes"]["default"]
        return self._document(path, read_file(path, root=self.root, max_bytes=limit))

    def _document(self, path: str, read: FileContent) -> IngestedDocument:
        name = readable(os.path.basename(path))
        return IngestedDocument(
            content=read.content,
            unique_id=uri_of(path),
            source_type=self.PLUGIN_ID,
            metadata={
                "file_name": name,
                "path": readable(os.path.relpath(path, self.root)) if self._is_folder else name,
                "extension": os.path.splitext(name)[1].lower(),
                "size": read.about.st_size,
                "modified": datetime.fromtimestamp(read.about.st_mtime, UTC).isoformat(timespec="seconds"),
            },
            content_hash=content_hash(read.content),
            file_path=readable(path),
            media_type=media_type(read.content, name),
        )

    def _only_file(self) -> Found:
        return describe(self.root, (os.path.basename(self.root),))

    def _rules(self) -> WalkRules:
        return WalkRules(
            **rules_given(self.config),
            recursive=self.config.get("recursive", True),
            follow_symlinks=self.config.get("follow_symlinks", True),
        )


def _tell(problems: list[str], told: int) -> int:
    for problem in problems[told:]:
        log.warning("folder not read: %s", problem)
    return len(problems)


def _reference(found: Found) -> DocumentReference:
    return DocumentReference(unique_id=uri_of(found.path), change_hint=found.change_hint, size=found.size)
