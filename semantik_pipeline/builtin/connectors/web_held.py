"""Pages that were just read, until the host asks for them."""

from __future__ import annotations

import time
from collections import OrderedDict

from semantik_pipeline.documents import IngestedDocument
from semantik_pipeline.errors import SkipDocument

#: Bytes of documents that are held for one source. What is let go is asked for again, which costs a request.
MAX_BYTES = 16 * 2**20

#: Seconds after which a document that nobody asked for is let go.
PATIENCE = 60.0


class Held:
    """The host reads ahead: a run may be over before the host asks for its last pages, so its end empties nothing."""

    def __init__(self) -> None:
        self._documents: OrderedDict[str, tuple[float, IngestedDocument | SkipDocument]] = OrderedDict()
        self._bytes = 0

    def put(self, document: IngestedDocument) -> None:
        self._put(document.unique_id, document)

    def put_skipped(self, unique_id: str, why: str) -> None:
        """There is nothing to index of it, for this reason."""
        self._put(unique_id, SkipDocument(why))

    def take(self, unique_id: str) -> IngestedDocument | None:
        """The document, which is held no longer. Raises SkipDocument if there is nothing to index of it."""
        document = self._pop(unique_id)
        if isinstance(document, SkipDocument):
            raise document
        return document

    def forget(self) -> None:
        """Let go of what nobody asked for in time."""
        while self._documents and time.monotonic() - next(iter(self._documents.values()))[0] >= PATIENCE:
            self._drop_oldest()

    def _put(self, unique_id: str, document: IngestedDocument | SkipDocument) -> None:
        self._pop(unique_id)
        self._documents[unique_id] = time.monotonic(), document
        self._bytes += _size(document)
        while self._bytes > MAX_BYTES and len(self._documents) > 1:
            self._drop_oldest()

    def _pop(self, unique_id: str) -> IngestedDocument | SkipDocument | None:
        _, document = self._documents.pop(unique_id, (0.0, None))
        self._bytes -= _size(document) if document else 0
        return document

    def _drop_oldest(self) -> None:
        self._pop(next(iter(self._documents)))


def _size(document: IngestedDocument | SkipDocument) -> int:
    return len(document.message) if isinstance(document, SkipDocument) else len(document.body)
