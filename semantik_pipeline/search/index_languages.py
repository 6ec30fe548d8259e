"""Which languages an index has. Nobody can tell a short query's, so BM25 asks it by the rules of each of them."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from semantik_pipeline.ledger.catalog.collections import SearchView
    from semantik_pipeline.runtime import Runtime

#: Seconds until an index is looked at again: for so long a language that is new in it may be found less well. And at
#: least so many times the time that looking took (3 ms with 20,000 points), for it grows with the index.
AGAIN, TIMES = 10.0, 1000

#: Languages that count, the most frequent first.
MOST = 64


class IndexLanguages:
    """What is known of the indexes of this process. Threads may ask at once: one of them looks at an index."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, tuple[str, ...]]] = {}
        self._turns: dict[str, threading.Lock] = {}

    def of(self, runtime: Runtime, view: SearchView) -> tuple[str, ...]:
        """ISO 639-1 codes of the languages in the index that the view reads; none where one language's rules are for
        all of its documents, or where the store knows no others."""
        if not (view.config.get("sparse") or {}).get("by_document"):
            return ()
        known = self._known.get(view.index)
        if known is not None and time.monotonic() < known[0]:
            return known[1]
        turn = self._turns.setdefault(view.index, threading.Lock())
        if not turn.acquire(blocking=known is None):
            assert known is not None  # else it has waited
            return known[1]  # one looks; the others go by what was there
        try:
            return self._looked(runtime, view.index)
        finally:
            turn.release()

    def _looked(self, runtime: Runtime, index: str) -> tuple[str, ...]:
        """What the index says, unless somebody has asked it meanwhile."""
        due, languages = self._known.get(index, (float("-inf"), ()))
        began = time.monotonic()
        if began >= due:
            languages = _languages(runtime, index)
            ended = time.monotonic()
            self._known[index] = (ended + max(AGAIN, TIMES * (ended - began)), languages)
        return languages

    def forget(self, index: str) -> None:
        """The index is gone, or has changed."""
        self._known.pop(index, None)
        self._turns.pop(index, None)


def _languages(runtime: Runtime, index: str) -> tuple[str, ...]:
    if not {"languages", "facet"} <= runtime.store.capabilities:
        return ()
    counted = runtime.host.call(runtime.store.facet, index, "language", limit=MOST)
    return tuple(str(code) for code, _ in counted)
