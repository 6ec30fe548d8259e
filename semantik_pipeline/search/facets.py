"""Facets: how many of the documents that a query matches have each value of a field.

A query matches the first LEG_DEPTH results of each of its legs; without that bound, a dense leg would match everything.
So the counts are exact counts of the list that the hits are taken from, and are the same on each page. In the mode
``sparse`` with BM25, all chunks with a word of the query count, up to MOST_POINTS. A query without text has no legs:
all chunks that meet its filter count, up to MOST_POINTS. A warning says if there are more. Each document counts once
for a value, however many of its chunks have it.

Only what could be a hit is counted: the engine applied the filter with the caller's principals, and the ledger is asked
as it is for hits.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from semantik_pipeline.contracts.filter_meaning import values_at
from semantik_pipeline.contracts.filters import is_key, root
from semantik_pipeline.errors import UsageError
from semantik_pipeline.search.permitted import check_question
from semantik_pipeline.search.visibility import shown

if TYPE_CHECKING:
    from semantik_pipeline.documents import SearchRequest
    from semantik_pipeline.ledger.catalog.collections import SearchView
    from semantik_pipeline.runtime import Runtime
    from semantik_pipeline.search.request import SearchPlan
    from semantik_pipeline.search.retrieval import Retrieved

#: The maximum of fields in one query, and of values returned for each.
MOST_KEYS, MOST_VALUES = 16, 1000
#: Chunks that are read if only a filter or BM25 selects them. Ids are hashes, so a filter's first chunks are a random
#: sample.
MOST_POINTS = 20_000
#: Points that one request to the store reads.
PAGE = 1000

Counts = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True, kw_only=True)
class Facets:
    """``counts`` maps each requested key to its values, ``{"value", "count"}``, the most frequent first."""

    counts: Counts = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def check_facets(keys: Sequence[str], limit: int, principals: Collection[str] | None) -> None:
    """Raise UsageError for invalid facets, and for those that a caller with these principals may not request."""
    if len(keys) > MOST_KEYS:
        raise UsageError(f"The search asks for {len(keys)} facets; the maximum is {MOST_KEYS}.")
    if not 1 <= limit <= MOST_VALUES:
        raise UsageError(f"The facet_limit {limit} is out of range.", f"Choose a limit from 1 to {MOST_VALUES}.")
    for key in keys:
        if not is_key(key):
            raise UsageError(f"There is no facet {key!r}.", "Facets are fields of points; docs/search.md lists them.")
        check_question({"key": key}, principals)


def count_facets(runtime: Runtime, view: SearchView, plan: SearchPlan, retrieved: Retrieved) -> Facets:
    """Return the counts of the plan's ``facets``. A field that no chunk has is included, without values."""
    index = runtime.existing_index(runtime.generation(view.generation_id))
    if index is None:
        return Facets(counts={key: [] for key in plan.facets})
    reading = _Reading(runtime, view.generation_id, index, plan)
    tally = Tally(plan.facets)
    for payload in reading.matched(retrieved) if plan.text else reading.everything():
        tally.add(payload)
    return Facets(counts=tally.counts(plan.facet_limit), warnings=reading.warnings)


class Tally:
    """Collects documents by key and value. Strings, numbers and booleans count as values; objects do not."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._found: dict[str, dict[tuple[type, Any], set[int]]] = {key: {} for key in keys}

    def add(self, payload: dict[str, Any]) -> None:
        """Count a chunk's values for its document."""
        for key, found in self._found.items():
            for value in values_at(payload, key):
                for one in value if isinstance(value, list) else (value,):
                    if isinstance(one, str | int | float):
                        found.setdefault((type(one), one), set()).add(payload["document_id"])

    def counts(self, limit: int | None) -> Counts:
        """Return the ``limit`` most frequent values of each key (None: all), equally frequent ones sorted by name."""
        sizes = {key: {one: len(its) for one, its in found.items()} for key, found in self._found.items()}
        return {key: _best(found, limit) for key, found in sizes.items()}


def merged_facets(answers: Collection[Counts], limit: int) -> Counts:
    """Add up the counts of several collections, which share no documents.

    Each of the ``answers`` must have all values: a value that is rare in one collection can be frequent in all
    together.
    """
    sums: dict[str, dict[tuple[type, Any], int]] = {}
    for counts in answers:
        for key, values in counts.items():
            of_key = sums.setdefault(key, {})
            for one in values:
                value = (type(one["value"]), one["value"])
                of_key[value] = of_key.get(value, 0) + one["count"]
    return {key: _best(found, limit) for key, found in sums.items()}


def _best(counts: dict[tuple[type, Any], int], limit: int | None) -> list[dict[str, Any]]:
    ordered = sorted(counts.items(), key=lambda one: (-one[1], str(one[0][1])))
    return [{"value": value, "count": count} for (_, value), count in ordered[:limit]]


class _Reading:
    """Reads the payloads to count: of chunks that may be shown, with the requested fields only."""

    def __init__(self, runtime: Runtime, generation_id: int, index: str, plan: SearchPlan) -> None:
        self._runtime, self._generation_id, self._index, self._plan = runtime, generation_id, index, plan
        self._fields = list(dict.fromkeys(["document_id", "epoch", *map(root, plan.facets)]))
        self.warnings: list[str] = []

    def matched(self, retrieved: Retrieved) -> Iterator[dict[str, Any]]:
        """Yield the payloads of the chunks that the query matches.

        The candidates among them have their payloads already and may be shown.
        """
        found = self._found(retrieved)
        known = {candidate.id: candidate.payload for candidate in retrieved.candidates}
        yield from (known[id] for id in found if id in known)
        others = [id for id in found if id not in known]
        for some in (others[start : start + PAGE] for start in range(0, len(others), PAGE)):
            page, _ = self._scroll({"must": [{"has_id": some}]}, None, len(some))
            yield from self._shown(page)

    def _found(self, retrieved: Retrieved) -> list[str]:
        """Return the ids that the legs found, or all ids that BM25 finds if it is the only leg."""
        legs, most = [leg[: retrieved.scored] for leg in retrieved.legs.values()], "of each leg"
        whole, words = retrieved.whole, retrieved.requests.get("sparse")
        if not whole and self._plan.mode == "sparse" and words is not None and self._by_words(words):
            legs = self._runtime.host.call(self._runtime.store.search, self._index, [replace(words, limit=MOST_POINTS)])
            whole, most = len(legs[0]) < MOST_POINTS, "that BM25 finds"
        if not whole:
            depth = max(map(len, legs), default=0)
            self.warnings.append(f"facets count the documents of the best {depth:,} chunks {most}; there may be more")
        return list(dict.fromkeys(point.id for leg in legs for point in leg))

    def _by_words(self, request: SearchRequest) -> bool:
        """Return whether the request finds exactly the chunks that have a word of the query and meet the filter.

        A request of a query with phrases finds only chunks that the search has checked for them. A learned sparse model
        finds related chunks, which are most of a collection.
        """
        return request.text is not None and request.filter == self._plan.filter

    def everything(self) -> Iterator[dict[str, Any]]:
        """Yield the payloads of the chunks that meet the filter, of the first MOST_POINTS chunks."""
        after, seen = None, 0
        while True:
            page, after = self._scroll(self._plan.filter, after, PAGE)
            seen += len(page)
            yield from self._shown(page)
            if after is None:
                return
            if seen >= MOST_POINTS:
                self.warnings.append(f"facets count the documents of {seen:,} chunks; more meet the filter")
                return

    def _scroll(self, filter: dict[str, Any] | None, after: str | None, limit: int) -> tuple[list[Any], str | None]:
        call, store = self._runtime.host.call, self._runtime.store
        return call(store.scroll, self._index, filter=filter, fields=self._fields, after=after, limit=limit)

    def _shown(self, page: Sequence[Any]) -> Iterator[dict[str, Any]]:
        points = shown(self._runtime, self._generation_id, page, self._plan.principals)
        yield from (point.payload for point in points)
