"""The languages of an index. A short query's language can't be detected, so BM25 stems it by the rules of each."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from semantik_pipeline.ledger.catalog.collections import SearchView
    from semantik_pipeline.runtime import Runtime

#: An index's languages are read again after AGAIN seconds; until then, documents in a new language may be found less
#: well. The interval is at least TIMES the duration of a read, which grows with the index (3 ms with 20,000 points).
AGAIN, TIMES = 10.0, 1000

#: The maximum number of languages; the most frequent ones are used.
MOST = 64


class IndexLanguages:
    """A process's cache of the languages of indexes. Thread-safe; one thread at a time reads an index."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, tuple[str, ...]]] = {}
        self._turns: dict[str, threading.Lock] = {}

    def of(self, runtime: Runtime, view: SearchView) -> tuple[str, ...]:
        """Return the ISO 639-1 codes of the languages in the view's index.

        Empty if the collection stems all documents by one language's rules, or the store does not support several.
        """
        if not (view.config.get("sparse") or {}).get("by_document"):
            return ()
        known = self._known.get(view.index)
        if known is not None and time.monotonic() < known[0]:
            return known[1]
        turn = self._turns.setdefault(view.index, threading.Lock())
        if not turn.acquire(blocking=known is None):
            assert known is not None  # otherwise acquire() has waited
            return known[1]  # another thread is reading the index; use the older result meanwhile
        try:
            return self._looked(runtime, view.index)
        finally:
            turn.release()

    def _looked(self, runtime: Runtime, index: str) -> tuple[str, ...]:
        """Read the languages from the index, unless another thread has read them meanwhile."""
        due, languages = self._known.get(index, (float("-inf"), ()))
        began = time.monotonic()
        if began >= due:
            languages = _languages(runtime, index)
            ended = time.monotonic()
            self._known[index] = (ended + max(AGAIN, TIMES * (ended - began)), languages)
        return languages

    def forget(self, index: str) -> None:
        """Forget an index that was dropped or has changed."""
        self._known.pop(index, None)
        self._turns.pop(index, None)


def _languages(runtime: Runtime, index: str) -> tuple[str, ...]:
    if not {"languages", "facet"} <= runtime.store.capabilities:
        return ()
    counted = runtime.host.call(runtime.store.facet, index, "language", limit=MOST)
    return tuple(str(code) for code, _ in counted)
