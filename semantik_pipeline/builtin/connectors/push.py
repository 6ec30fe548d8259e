"""The connector ``push``: documents that callers send to the API or to ``semantik_pipeline.push``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from semantik_pipeline.builtin.media_types import UNKNOWN, media_type
from semantik_pipeline.contracts import ConnectorPlugin, HealthState, HealthStatus
from semantik_pipeline.documents import Complete, DocumentReference, IngestedDocument, content_hash
from semantik_pipeline.errors import PermanentError

#: Media types that clients send for files whose type they do not know.
_SAYS_NOTHING = ("", UNKNOWN, "application/x-www-form-urlencoded", "binary/octet-stream")


class PushConnector(ConnectorPlugin):
    """A source that cannot be read: an enumeration names no documents, and does not mean that any are gone.

    It only makes documents of what callers send (:meth:`receive`).
    """

    PLUGIN_ID = "push"
    PLUGIN_VERSION = "1.0.0"
    METADATA = {"name": "Push", "description": "Documents that API callers send: files, or JSON in bulk."}

    @classmethod
    def get_config_schema(cls) -> dict[str, Any]:
        return {"type": "object", "additionalProperties": False, "properties": {}}

    @classmethod
    async def health_check(cls, config: dict[str, Any] | None = None) -> HealthStatus:
        return HealthStatus(HealthState.HEALTHY)

    def receive(
        self,
        content: str | bytes,
        unique_id: str,
        *,
        file_name: str | None = None,
        media_type: str | None = None,
        metadata: dict[str, Any] | None = None,
        principals: list[str] | None = None,
    ) -> IngestedDocument:
        """Make a document of what a caller sends. If its media type says nothing, the content and the name determine
        it."""
        named = {"file_name": file_name.rpartition("/")[2]} if file_name else {}
        return IngestedDocument(
            content=content,
            unique_id=unique_id,
            source_type=self.PLUGIN_ID,
            metadata={**named, **(metadata or {})},
            content_hash=content_hash(content),
            file_path=file_name,
            media_type=_type_of(content, file_name, media_type),
            principals=principals,
        )

    async def enumerate(self, cursor: Any = None) -> AsyncIterator[Complete]:
        yield Complete(full=False)

    async def fetch(self, reference: DocumentReference) -> IngestedDocument:
        raise PermanentError(f"{reference.unique_id} was sent by a caller, and its content is lost.", "Send it again.")


def _type_of(content: str | bytes, file_name: str | None, given: str | None) -> str:
    """The media type without parameters, in lower case."""
    told = (given or "").partition(";")[0].strip().lower()
    if told not in _SAYS_NOTHING:
        return told
    return media_type(content, file_name or "") if isinstance(content, bytes) else "text/plain"
