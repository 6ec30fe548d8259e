"""Pages that were just read, until the host asks for them."""

from __future__ import annotations

import time
from collections import OrderedDict

from semantik_pipeline.documents import IngestedDocument

#: Bytes of documents that are held for one source. What is let go is asked for again, which costs a request.
MAX_BYTES = 16 * 2**20

#: Seconds after which a document that nobody asked for is let go.
PATIENCE = 60.0


class Held:
    """The host reads ahead: a run may be over before the host asks for its last pages, so its end empties nothing."""

    def __init__(self) -> None:
        self._documents: OrderedDict[str, tuple[float, IngestedDocument]] = OrderedDict()
        self._bytes = 0

    def put(self, document: IngestedDocument) -> None:
        self.take(document.unique_id)
        self._documents[document.unique_id] = time.monotonic(), document
        self._bytes += len(document.body)
        while self._bytes > MAX_BYTES and len(self._documents) > 1:
            self._drop_oldest()

    def take(self, unique_id: str) -> IngestedDocument | None:
        """The document, which is held no longer."""
        _, document = self._documents.pop(unique_id, (0.0, None))
        self._bytes -= len(document.body) if document else 0
        return document

    def forget(self) -> None:
        """Let go of what nobody asked for in time."""
        while self._documents and time.monotonic() - next(iter(self._documents.values()))[0] >= PATIENCE:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        self.take(next(iter(self._documents)))
