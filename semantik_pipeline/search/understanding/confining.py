"""Phrases, and words that must not be there, found in little time.

The engine would read every chunk's payload to see whether it holds a phrase: 50,000 chunks take it a second and more, and
a full-text index would make each upsert almost twice as dear. So those chunks alone are read, once each, that can be among
the hits: those that have all words of the phrases, as the BM25 leg knows, or those that the legs find without the condition.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from semantik_pipeline.documents import SearchRequest
from semantik_pipeline.search.understanding.presence import stop_words, word_leg
from semantik_pipeline.spelling import normal

if TYPE_CHECKING:
    from semantik_pipeline.ledger.catalog.collections import SearchView
    from semantik_pipeline.runtime import Runtime
    from semantik_pipeline.search.request import SearchPlan

#: Chunks that have a word, of which all are known; first so many are asked for, then more.
WITH_WORD = (1000, 10_000)

#: Words of all phrases that are asked for, the longest of each.
MOST_WORDS, MOST_OF_PHRASE = 16, 4

#: What each leg finds without the condition, at first, and how many times deeper it goes if that leaves too little.
DEPTH, DEEPER = 400, 4

#: Chunks that may meet the filter, of which all are read without looking for the best of them first.
AT_ONCE = 500

#: Chunks that one question to the store reads.
PAGE = 1000

_TOKEN = re.compile(r"[^\W_]+")

Legs = dict[str, SearchRequest]


def confined(
    runtime: Runtime, view: SearchView, index: str, plan: SearchPlan, requests: Legs, *, enough: int, most: int
) -> Confined | None:
    """What the legs are asked, if the query says what chunks must say, or must not."""
    interpretation = plan.interpretation
    if interpretation is None or not (interpretation.read or interpretation.not_read):
        return None
    by_word = word_leg(runtime, view, filter=plan.loose, limit=WITH_WORD[0]) if _reads_all(view) else None
    said = interpretation.said
    return Confined(runtime, index, plan, requests, said=said, by_word=by_word, enough=enough, most=most)


def _reads_all(view: SearchView) -> bool:
    """Whether BM25 reads all places where words may stand: what weighs nothing it does not know."""
    sparse = view.config.get("sparse") or {}
    return all(sparse.get(name, 1) for name in ("title_weight", "heading_weight"))


class Confined:
    """Requests that find nothing but chunks which meet the whole filter, and have been read for it: of each leg its first
    ``enough`` of them, so that each page is cut from the same scores, or all among its first ``most`` chunks. ``said`` are
    words that they must say, and ``by_word`` finds all chunks with a word (None: nothing does). ``exhausted``: there are
    no others."""

    def __init__(
        self,
        runtime: Runtime,
        index: str,
        plan: SearchPlan,
        requests: Legs,
        *,
        said: Sequence[str],
        by_word: SearchRequest | None,
        enough: int,
        most: int,
    ) -> None:
        self._runtime, self._index, self._plan, self._requests = runtime, index, plan, requests
        self._enough, self._most = enough, most
        self._met: dict[str, bool] = {}
        self._depth = DEPTH
        #: Chunks among which are all that may meet the filter; None: nobody knows.
        self._among = self._with_all(said, by_word) if by_word is not None else None
        self.exhausted = self._among is not None and len(self._among) <= AT_ONCE
        if self.exhausted:
            self._read(self._among or ())

    def requests(self) -> Legs:
        """The requests, each confined to chunks that meet the filter and may be among its hits."""
        while not self.exhausted:
            loose = [replace(one, filter=self._plan.loose, limit=self._depth) for one in self._requests.values()]
            legs = self._search(loose)
            self.exhausted = all(len(leg) < self._depth for leg in legs)
            found = (point.id for leg in legs for point in leg)
            self._read(id for id in found if self._among is None or id in self._among)
            if all(map(self._is_settled, legs)) or not self.deeper():
                break
        only = {"must": [{"has_id": [id for id, met in self._met.items() if met]}]}
        return {name: replace(one, filter=only) for name, one in self._requests.items()}

    def deeper(self) -> bool:
        """Whether there may be more; the next requests find it."""
        if self.exhausted:
            return False
        if self._among is not None:
            self._read(self._among)
            self.exhausted = True
            return True
        deeper = self._depth < self._most
        self._depth = min(self._depth * DEEPER, self._most)
        return deeper

    def _is_settled(self, leg: Sequence[Any]) -> bool:
        """Whether the best of a leg are known, however much more of it is read."""
        return len(leg) < self._depth or sum(self._met.get(point.id, False) for point in leg) >= self._enough

    def _with_all(self, said: Sequence[str], by_word: SearchRequest) -> set[str] | None:
        """Chunks among which all are that have all of the words; None if each word is in too many. A stop word of one
        language of the index tells nothing: BM25 finds it in chunks of others alone."""
        every = {word.lower() for phrase in said for word in _TOKEN.findall(normal(phrase))}
        words = _longest(said, every - stop_words(self._runtime, self._index, every, by_word.languages))
        for limit in WITH_WORD if words else ():
            found = [{point.id for point in leg} for leg in self._search([self._by(by_word, w, limit) for w in words])]
            whole = [ids for ids in found if 0 < len(ids) < limit]
            if whole:
                return set.intersection(*whole)
            if not any(found):
                return None
        return None

    @staticmethod
    def _by(by_word: SearchRequest, word: str, limit: int) -> SearchRequest:
        return replace(by_word, text=word, limit=limit)

    def _read(self, ids: Iterable[str]) -> None:
        """See which of these chunks meet the filter; each is read once."""
        new = [id for id in dict.fromkeys(ids) if id not in self._met]
        for some in (new[start : start + PAGE] for start in range(0, len(new), PAGE)):
            only = {"must": [{"has_id": some}, *([self._plan.filter] if self._plan.filter else [])]}
            call, store = self._runtime.host.call, self._runtime.store
            page, _ = call(store.scroll, self._index, filter=only, fields=[], limit=len(some))
            met = {point.id for point in page}
            self._met.update((id, id in met) for id in some)

    def _search(self, requests: list[SearchRequest]) -> list[list[Any]]:
        return self._runtime.host.call(self._runtime.store.search, self._index, requests)


def _longest(said: Sequence[str], words: Collection[str]) -> list[str]:
    """Of each phrase the longest that are among the words."""
    found: dict[str, None] = {}
    for phrase in said:
        its = {word.lower() for word in _TOKEN.findall(normal(phrase))}.intersection(words)
        found.update(dict.fromkeys(sorted(its, key=lambda word: (-len(word), word))[:MOST_OF_PHRASE]))
    return list(found)[:MOST_WORDS]
