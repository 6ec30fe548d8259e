"""Phrases, and words that must not be there, found in no time.

The engine would read every chunk's payload to see whether it holds a phrase: 50,000 chunks take it a second, and a
full-text index would make each upsert almost twice as dear. So it reads those chunks only that can be among the hits:
those that have words of the phrase, as the BM25 leg knows, or those that the legs find without the condition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from semantik_pipeline.documents import SearchRequest
from semantik_pipeline.search.understanding.presence import word_leg

if TYPE_CHECKING:
    from semantik_pipeline.search.request import SearchPlan

#: Chunks with words of a phrase, of which all that fit are read; a phrase whose words are in more is looked for in the
#: best of them, and in what the legs find.
MOST_WITH_WORDS = 2000

#: What each leg finds without the condition, at first, and how much deeper it goes if too little is left of that.
DEPTH, DEEPER = 400, 4

Legs = dict[str, SearchRequest]


def confined(runtime: Any, view: Any, index: str, plan: SearchPlan, requests: Legs) -> Confined | None:
    """What the legs are asked, if the query says what chunks must say, or must not."""
    understood = plan.understood
    if understood is None or not (understood.read or understood.not_read):
        return None
    by_words = word_leg(runtime, view, filter=plan.loose, limit=MOST_WITH_WORDS)
    return Confined(runtime, index, requests, loose=plan.loose, said=understood.said, by_words=by_words)


class Confined:
    """Requests that read no more chunks than they must. ``loose`` is the filter without what chunks must say, ``said`` are
    words that they must say, and ``by_words`` finds chunks with words (None: there is no BM25 leg)."""

    def __init__(
        self,
        runtime: Any,
        index: str,
        requests: Legs,
        *,
        loose: dict[str, Any] | None,
        said: Sequence[str],
        by_words: SearchRequest | None,
    ) -> None:
        self._runtime, self._index, self._requests, self._loose = runtime, index, requests, loose
        self._depth = DEPTH
        self._exhausted = False
        self._with_words: list[str] = []
        if said and by_words is not None:
            self._look(said, by_words)

    def _look(self, said: Sequence[str], by_words: SearchRequest) -> None:
        asked = [replace(by_words, text=one) for one in said]
        found = [[point.id for point in points] for points in self._search(asked)]
        # Nothing: no chunk has any of its words, or they are stop words, which BM25 doesn't know.
        whole = [ids for ids in found if 0 < len(ids) < MOST_WITH_WORDS]
        if whole:
            self._with_words, self._exhausted = min(whole, key=len), True
        else:
            self._with_words = [id for ids in found for id in ids]

    def requests(self) -> Legs:
        """The requests, each confined to chunks that may be among its hits."""
        ids = dict.fromkeys(self._with_words)
        if not self._exhausted:
            loose = [replace(one, filter=self._loose, limit=self._depth) for one in self._requests.values()]
            legs = self._search(loose)
            self._exhausted = all(len(leg) < self._depth for leg in legs)
            ids.update(dict.fromkeys(point.id for leg in legs for point in leg))
        only = {"has_id": list(ids)}
        return {
            name: replace(one, filter={"must": [only, one.filter] if one.filter else [only]})
            for name, one in self._requests.items()
        }

    def deeper(self, most: int) -> bool:
        """Whether there may be more, ``most`` deep; the next requests find it."""
        if self._exhausted or self._depth >= most:
            return False
        self._depth = min(self._depth * DEEPER, most)
        return True

    def _search(self, requests: list[SearchRequest]) -> list[list[Any]]:
        return self._runtime.host.call(self._runtime.store.search, self._index, requests)
