"""Holds pages that were just read until the host requests them."""

from __future__ import annotations

import time
from collections import OrderedDict

from semantik_pipeline.documents import IngestedDocument
from semantik_pipeline.errors import SkipDocument

#: Maximum bytes of documents that are held for one source. A document that is dropped costs another request.
MAX_BYTES = 16 * 2**20

#: Seconds after which a document that was not requested is dropped.
PATIENCE = 60.0


class Held:
    """Documents by their id, oldest first. They are kept beyond the end of a run, because the host may request the last
    pages only after the run has ended."""

    def __init__(self) -> None:
        self._documents: OrderedDict[str, tuple[float, IngestedDocument | SkipDocument]] = OrderedDict()
        self._bytes = 0

    def put(self, document: IngestedDocument) -> None:
        self._put(document.unique_id, document)

    def put_skipped(self, unique_id: str, why: str) -> None:
        """Record that this page has nothing to index, and why."""
        self._put(unique_id, SkipDocument(why))

    def take(self, unique_id: str) -> IngestedDocument | None:
        """Remove and return a document; None if it is not held. Raises SkipDocument if the page has nothing to
        index."""
        document = self._pop(unique_id)
        if isinstance(document, SkipDocument):
            raise document
        return document

    def forget(self) -> None:
        """Drop the documents that were not requested in time."""
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
