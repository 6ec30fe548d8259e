"""Applies phrases and exclusions to a search quickly.

To find a phrase, the engine would read every chunk's payload: more than a second for 50,000 chunks. A full-text index
would make each upsert almost twice as expensive. So the search reads only chunks that can be among the hits, each once:
those that have all words of the phrases, according to the BM25 leg, or those that the legs find without the conditions.
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

#: Limits for listing all chunks that have a word: the first is tried first. A word in more chunks is not used.
WITH_WORD = (1000, 10_000)

#: The maximum of words that are looked up: of all phrases, and of one phrase. The longest words are used.
MOST_WORDS, MOST_OF_PHRASE = 16, 4

#: The first depth of each leg without the conditions, and the factor for going deeper if too few chunks meet them.
DEPTH, DEEPER = 400, 4

#: Up to this many chunks that may meet the filter are all read at once, without searching for the best first.
AT_ONCE = 500

#: Chunks that one request to the store reads.
PAGE = 1000

_TOKEN = re.compile(r"[^\W_]+")

Legs = dict[str, SearchRequest]


def confined(
    runtime: Runtime, view: SearchView, index: str, plan: SearchPlan, requests: Legs, *, enough: int, most: int
) -> Confined | None:
    """Return the confined legs, or None if the query has no condition on what chunks contain."""
    interpretation = plan.interpretation
    if interpretation is None or not (interpretation.read or interpretation.not_read):
        return None
    by_word = word_leg(runtime, view, filter=plan.loose, limit=WITH_WORD[0]) if _reads_all(view) else None
    said = interpretation.said
    return Confined(runtime, index, plan, requests, said=said, by_word=by_word, enough=enough, most=most)


def _reads_all(view: SearchView) -> bool:
    """Return whether BM25 indexes all places where phrases are looked for; it leaves out places with the weight 0."""
    sparse = view.config.get("sparse") or {}
    return all(sparse.get(name, 1) for name in ("title_weight", "heading_weight"))


class Confined:
    """Confines a search's requests to chunks that have been read and meet the whole filter.

    Of each leg, the first ``enough`` such chunks are found, so that all pages are cut from the same scores, or all
    among its first ``most`` chunks. ``said`` are the phrases that a chunk must contain. ``by_word`` is a request that
    finds all chunks with a word; None: the index can't tell. ``exhausted``: no other chunks meet the filter.
    """

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
        #: A set that includes all chunks which may meet the filter; None: unknown.
        self._among = self._with_all(said, by_word) if by_word is not None else None
        self.exhausted = self._among is not None and len(self._among) <= AT_ONCE
        if self.exhausted:
            self._read(self._among or ())

    def requests(self) -> Legs:
        """Return the requests, each confined to chunks that meet the filter and may be among its hits."""
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
        """Prepare to go deeper. Returns whether the next :meth:`requests` may find more chunks."""
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
        """Return whether the leg's first ``enough`` chunks are known, so that reading deeper can't change them."""
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
        """Record which of these chunks meet the filter. Each chunk is read once."""
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
    """Return the longest of the ``words`` that each phrase has."""
    found: dict[str, None] = {}
    for phrase in said:
        its = {word.lower() for word in _TOKEN.findall(normal(phrase))}.intersection(words)
        found.update(dict.fromkeys(sorted(its, key=lambda word: (-len(word), word))[:MOST_OF_PHRASE]))
    return list(found)[:MOST_WORDS]
