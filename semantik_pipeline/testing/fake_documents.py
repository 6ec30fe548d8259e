"""A connector and a parser that need no source and no library."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar

from semantik_pipeline.contracts.connector import ConnectorPlugin
from semantik_pipeline.contracts.parser import ParserPlugin
from semantik_pipeline.documents import (
    Checkpoint,
    Complete,
    DocumentReference,
    Element,
    IngestedDocument,
    ParsedDocument,
    Removal,
    content_hash,
)
from semantik_pipeline.errors import (
    DocumentGone,
    DocumentUnreadable,
    PermanentError,
    SkipDocument,
    TransientError,
    UnsupportedContent,
)
from semantik_pipeline.testing.misbehaviour import OPTIONS, Misbehaviour

_FETCH_FAILURES = {
    "skip": SkipDocument,
    "gone": DocumentGone,
    "transient": TransientError,
    "permanent": PermanentError,
    "unreadable": DocumentUnreadable,
    "bug": RuntimeError,
}


class FakeConnector(ConnectorPlugin):
    """Documents from its configuration, or from a JSON file ``{unique_id: text}`` that a test may rewrite.

    ``removed`` lists documents to report as gone. ``incomplete`` ends with ``Complete(full=False)``. ``fail_after``
    raises TransientError after that many references. ``fail_fetch`` maps ids to ``skip | gone | transient | permanent |
    unreadable | bug``. ``hints: false`` omits the change hints. ``principals`` maps ids to the principals who may read
    them. Each fetched id is logged as a line of ``log_path``. With ``incremental``, a run ends with a cursor, and the
    next run reports only changes.
    """

    PLUGIN_ID = "fake-connector"
    PLUGIN_VERSION = "1.0.0"
    METADATA: ClassVar[dict[str, Any]] = {"name": "Fake connector", "description": "Documents from a dictionary."}

    @classmethod
    def get_config_schema(cls) -> dict[str, Any]:
        return {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "documents": {"type": "object", "description": "Texts by unique id."},
                "documents_file": {"type": "string", "description": "A JSON file with the same."},
                "principals": {"type": "object", "description": "Whom documents are open to, by unique id."},
                "removed": {"type": "array", "items": {"type": "string"}},
                "incomplete": {"type": "boolean", "default": False},
                "fail_after": {"type": "integer", "minimum": 0, "x-operational": True},
                "fail_fetch": {"type": "object", "x-operational": True},
                "hints": {"type": "boolean", "default": True},
                "incremental": {"type": "boolean", "default": False},
                "checkpoint_every": {"type": "integer", "minimum": 1, "default": 100},
                "media_type": {"type": "string", "default": "text/plain"},
                "log_path": OPTIONS["log_path"],
            },
        }

    async def enumerate(self, cursor: Any = None) -> AsyncIterator[DocumentReference | Removal | Checkpoint | Complete]:
        """In order of id. A checkpoint holds the last id that was processed and the hints from the start of the run."""
        documents = self._documents()
        since, after = (cursor.get("since"), cursor.get("after")) if cursor is not None else (None, None)
        for unique_id in self.config.get("removed", ()) if after is None else ():
            yield Removal(unique_id)
        named = 0
        for unique_id in sorted({*documents, *(since or ())}):
            if after is not None and unique_id <= after:
                continue
            if named == self.config.get("fail_after"):
                raise TransientError(f"This fake source fails after {named} documents.")
            hint = self._hint(documents.get(unique_id), unique_id)
            if unique_id not in documents:
                yield Removal(unique_id)
            elif since is None or since.get(unique_id) != hint:
                size = len(documents[unique_id].encode())
                yield DocumentReference(unique_id, hint if self.config.get("hints", True) else None, size=size)
            named += 1
            if named % self.config.get("checkpoint_every", 100) == 0:
                yield Checkpoint({"since": since, "after": unique_id})
        following = {"since": {unique_id: self._hint(text, unique_id) for unique_id, text in documents.items()}}
        full = since is None and not self.config.get("incomplete", False)
        yield Complete(full=full, cursor=following if self.config.get("incremental") else None)

    def _hint(self, text: str | None, unique_id: str) -> str | None:
        if text is None:
            return None
        principals = self.config.get("principals", {}).get(unique_id)
        return content_hash(text if principals is None else f"{text} {principals}")[:16]

    async def fetch(self, reference: DocumentReference) -> IngestedDocument:
        Misbehaviour(self.config).log(reference.unique_id)
        failure = self.config.get("fail_fetch", {}).get(reference.unique_id)
        if failure is not None:
            raise _FETCH_FAILURES[failure](f"This fake source answers {failure!r} for {reference.unique_id!r}.")
        text = self._documents().get(reference.unique_id)
        if text is None:
            raise DocumentGone(f"{reference.unique_id!r} is gone.")
        return IngestedDocument(
            text,
            reference.unique_id,
            "fake",
            {"words": len(text.split())},
            content_hash(text),
            media_type=self.config.get("media_type", "text/plain"),
            principals=self.config.get("principals", {}).get(reference.unique_id),
        )

    def _documents(self) -> dict[str, str]:
        file = self.config.get("documents_file")
        return json.loads(Path(file).read_text("utf-8")) if file else self.config.get("documents", {})


class FakeParser(ParserPlugin):
    """UTF-8 text, with one element for each paragraph. Accepts ``text/x-fake`` and ``.fake``."""

    PLUGIN_ID = "fake-parser"
    PLUGIN_VERSION = "1.0.0"
    METADATA: ClassVar[dict[str, Any]] = {"name": "Fake parser", "description": "UTF-8 text as it is."}

    @classmethod
    def get_config_schema(cls) -> dict[str, Any]:
        return {"type": "object", "additionalProperties": False, "properties": dict(OPTIONS)}

    @classmethod
    def supported_media_types(cls) -> list[str]:
        return ["text/x-fake"]

    @classmethod
    def supported_extensions(cls) -> list[str]:
        return [".fake"]

    def parse(
        self,
        content: bytes,
        *,
        file_path: str | None = None,
        media_type: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> ParsedDocument:
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise UnsupportedContent(f"{file_path or 'The document'} is no UTF-8: {error.reason}.") from None
        odd = Misbehaviour(self.config)
        odd.act(text)
        odd.log(content_hash(content))
        if not text.strip():
            raise SkipDocument("the text is empty")
        return ParsedDocument(text, _paragraphs(text), title=text.strip().splitlines()[0][:100])


def _paragraphs(text: str) -> list[Element]:
    elements, start = [], 0
    for part in text.split("\n\n"):
        if part.strip():
            elements.append(Element("paragraph", start, start + len(part)))
        start += len(part) + 2
    return elements
