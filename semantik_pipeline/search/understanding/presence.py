"""Finds out whether words stand in what is open to a caller, by the index and the ledger.

A request to the BM25 leg with a single word finds the word's stem quickly in an index of any size, with the filter
applied in the engine. The chunks found are then checked for the word itself, and against the ledger.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from semantik_pipeline.documents import ScoredPoint, SearchRequest, StoredPoint
from semantik_pipeline.search.permitted import permitted
from semantik_pipeline.search.visibility import shown
from semantik_pipeline.spelling import words_of

if TYPE_CHECKING:
    from semantik_pipeline.ledger.catalog.collections import SearchView
    from semantik_pipeline.runtime import Runtime

#: Chunks that are read for one word, or one language.
LOOKED = 8


def word_leg(runtime: Runtime, view: SearchView, *, filter: dict[str, Any] | None, limit: int) -> SearchRequest | None:
    """Return a request that finds chunks by words, without its ``text``; None for an index without a BM25 leg."""
    sparse = view.config.get("sparse", {})
    if sparse is None or sparse.get("plugin"):
        return None
    languages = runtime.index_languages.of(runtime, view)
    return SearchRequest(filter=filter, limit=limit, with_payload=False, languages=languages)


def stop_words(runtime: Runtime, index: str | None, words: Collection[str], languages: Sequence[str] = ()) -> set[str]:
    """Return the words that the BM25 leg ignores: stop words of the index's own language or of these languages."""
    if not words:
        return set()
    return runtime.host.call(runtime.store.stop_words, index, list(words), languages=list(languages))


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What was found for a word: how many of the chunks that were read contain it and may be shown, and the ledger's id
    of a document with it."""

    exact: int = 0
    document_id: int | None = None


class Presence:
    """The part of one generation's index that meets ``filter`` and is open to ``principals`` (None: no limit)."""

    def __init__(
        self,
        runtime: Runtime,
        view: SearchView,
        *,
        filter: dict[str, Any] | None = None,
        principals: Collection[str] | None = None,
    ) -> None:
        self._runtime, self._view, self._principals = runtime, view, principals
        self._filter = permitted(filter, principals)
        self._index: str | None = runtime.existing_index(runtime.generation(view.generation_id))
        self._leg = word_leg(runtime, view, filter=self._filter, limit=LOOKED) if self._index else None

    @property
    def can_tell(self) -> bool:
        """Whether there is an index with a BM25 leg. Without it, the other methods can't be used."""
        return self._leg is not None

    def of(self, words: Sequence[str]) -> dict[str, Seen]:
        """Return what was found for each of the words."""
        found = self._search(list(words), LOOKED, with_payload=True)
        ids = self._shown([point for points in found for point in points])
        return {word: _seen(word, points, ids) for word, points in zip(words, found, strict=True)}

    def related(self, words: Sequence[str]) -> set[str]:
        """Return the words whose stem occurs in a chunk that may be shown."""
        found = self._search(list(words), LOOKED, with_payload=False)
        ids = list({point.id for points in found for point in points})
        if not ids:
            return set()
        call, store = self._runtime.host.call, self._runtime.store
        only = {"must": [{"has_id": ids}]}
        page, _ = call(store.scroll, self._index, filter=only, fields=["document_id", "epoch"], limit=len(ids))
        there = self._shown(page)
        return {word for word, points in zip(words, found, strict=True) if any(one.id in there for one in points)}

    def best_scores(self, texts: Sequence[str]) -> list[float]:
        """Return the BM25 score of the best chunk for each text; 0 if there is none. The scores are comparable."""
        found = self._search(list(texts), 1, with_payload=False)
        return [points[0].score if points else 0.0 for points in found]

    def common(self, words: Collection[str]) -> set[str]:
        """Return the words that are stop words of the index's own language, or of the language of a chunk that may be
        shown.

        Stop words stand nearly everywhere. BM25 can't find them, so to check one, every text would have to be read.
        """
        assert self._leg is not None  # callers check can_tell
        found = stop_words(self._runtime, self._index, words)
        for language in self._leg.languages:
            more = stop_words(self._runtime, self._index, set(words) - found, [language])
            if more and self._speaks(language):
                found |= more
        return found

    def documents(self, words: Sequence[str]) -> dict[str, int]:
        """Return, for each word that a document has, the ledger id of one. Stop words have none: BM25 skips them."""
        seen = self.of(words) if self.can_tell else {}
        return {word: one.document_id for word, one in seen.items() if one.document_id is not None}

    def _search(self, texts: list[str], limit: int, *, with_payload: bool) -> list[list[ScoredPoint]]:
        assert self._leg is not None  # callers check can_tell
        asked = [replace(self._leg, text=text, limit=limit, with_payload=with_payload) for text in texts]
        return self._runtime.host.call(self._runtime.store.search, self._index, asked) if asked else []

    def _speaks(self, language: str) -> bool:
        """Return whether one of the first LOOKED chunks of this language may be shown.

        It does not look further, because it is called for each language.
        """
        spoken = {"key": "language", "match": {"value": language}}
        only = {"must": [spoken, *([self._filter] if self._filter else [])]}
        call, store = self._runtime.host.call, self._runtime.store
        page, _ = call(store.scroll, self._index, filter=only, fields=["document_id", "epoch"], limit=LOOKED)
        return bool(self._shown(page))

    def _shown(self, points: Sequence[ScoredPoint | StoredPoint]) -> set[str]:
        """Return the ids of the points that may be shown."""
        return {point.id for point in shown(self._runtime, self._view.generation_id, points, self._principals)}


def _seen(word: str, points: Sequence[ScoredPoint], ids: Collection[str]) -> Seen:
    exact = [point for point in points if point.id in ids and word in _words(point.payload)]
    return Seen(exact=len(exact), document_id=exact[0].payload["document_id"] if exact else None)


def _words(payload: Mapping[str, Any]) -> set[str]:
    section = payload.get("section") or []
    parts = [payload.get("text"), payload.get("title"), *([section] if isinstance(section, str) else section)]
    return words_of("\n".join(part for part in parts if isinstance(part, str)))
