"""Which languages an index has. Nobody can tell a short query's, so BM25 asks it by the rules of each of them."""

from __future__ import annotations

import time
from typing import Any

#: Seconds until an index is looked at again: for so long a language that is new in it may be found less well. And at
#: least so many times the time that looking took (3 ms with 20,000 points), for it grows with the index.
AGAIN, TIMES = 10.0, 1000

#: Languages that count, the most frequent first.
MOST = 64


class IndexLanguages:
    """What is known of the indexes of this process."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, tuple[str, ...]]] = {}

    def of(self, runtime: Any, view: Any) -> tuple[str, ...]:
        """ISO 639-1 codes of the languages in the index that the view reads; none where one language's rules are for
        all of its documents, or where the store knows no others."""
        if not (view.config.get("sparse") or {}).get("by_document"):
            return ()
        due, languages = self._known.get(view.index, (float("-inf"), ()))
        began = time.monotonic()
        if began >= due:
            languages = _languages(runtime, view.index)
            ended = time.monotonic()
            self._known[view.index] = (ended + max(AGAIN, TIMES * (ended - began)), languages)
        return languages

    def forget(self, index: str) -> None:
        """The index is gone, or has changed."""
        self._known.pop(index, None)


def _languages(runtime: Any, index: str) -> tuple[str, ...]:
    if not {"languages", "facet"} <= runtime.store.capabilities:
        return ()
    counted = runtime.host.call(runtime.store.facet, index, "language", limit=MOST)
    return tuple(str(code) for code, _ in counted)
