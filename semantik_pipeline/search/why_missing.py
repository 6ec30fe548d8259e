"""Explains why a document is not among the hits: finds the first step from the ledger to the page that excluded it.

The explanation is a dict of JSON values: ``document``, ``cause`` (see docs/search.md), ``message`` (a sentence), and
details. For a caller to whom the document is not open, the cause is that there is no such document.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from semantik_pipeline.documents import SearchHit
from semantik_pipeline.search.blending import Ranked, Reranking
from semantik_pipeline.search.explanation import Explanation, explained, explained_fusion
from semantik_pipeline.search.fusion import Candidate, fuse
from semantik_pipeline.search.permitted import limit_of
from semantik_pipeline.search.request import SearchPlan
from semantik_pipeline.search.retrieval import LEG_DEPTH, MAX_LEG_DEPTH, Retrieved

if TYPE_CHECKING:
    from semantik_pipeline.ledger.catalog.collections import SearchView
    from semantik_pipeline.runtime import Runtime

#: The maximum of the document's chunks that are examined.
MOST_CHUNKS = 10_000

Absence = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Way:
    """The steps of a search and their results.

    ``added`` are entries from ``deeper``, retrieved because postprocessors left too few hits; ``explained`` has their
    explanations by id. ``ids`` are the candidates that were left when the page was cut, in order. ``left_out`` maps
    each postprocessor to the ids that it dropped. ``hits`` are those of the page and beyond it.
    """

    retrieved: Retrieved
    reranking: Reranking
    added: Sequence[Ranked] = ()
    deeper: Retrieved | None = None
    explained: Mapping[str, Explanation] = field(default_factory=dict)
    ids: Sequence[str] = ()
    left_out: Mapping[str, Collection[str]] = field(default_factory=dict)
    hits: Sequence[SearchHit] = ()

    @property
    def shown(self) -> list[int | None]:
        """The ledger's document ids of ``hits``. Unique ids would not do: they are unique only within a source."""
        entries = (*self.reranking.ranked, *self.added)
        of = {entry.candidate.id: entry.candidate.payload.get("document_id") for entry in entries}
        return [of[self.ids[hit.rank - 1]] for hit in self.hits]

    @property
    def latest(self) -> Retrieved:
        """The deepest retrieval of the search."""
        return self.deeper or self.retrieved


def why_absent(runtime: Runtime, view: SearchView, plan: SearchPlan, way: Way) -> Absence:
    """Return which step excluded the plan's ``explain_document``, or its ranks if it is among the hits."""
    name = plan.explain_document
    assert name is not None  # the caller checks it
    where = runtime.ledger.whereabouts(view.collection, view.generation_id, name, plan.principals)
    if where is None:
        return _because(name, "not-found", f"There is no document {name!r} in the collection {view.collection!r}.")
    own = (hit for hit, shown in zip(way.hits, way.shown, strict=True) if shown == where.document_id)
    ranks = [hit.rank for hit in own if hit.rank <= plan.last]
    if ranks:
        told = f"It is among the hits: number {', '.join(map(str, ranks))}."
        return _because(where.document, "shown", told, ranks=ranks)
    if not where.searchable:
        return _not_indexed(where)
    found = _Search(runtime, view, plan, way, where).cause()
    if where.stage != "indexed":
        found["message"] += f" (This is about its indexed revision; its revision {where.revision} is {_stage(where)}.)"
    return found


def _because(document: str | None, cause: str, told: str, **more: Any) -> Absence:
    return {"document": document, "cause": cause, "message": told, **more}


def _not_indexed(where: Any) -> Absence:
    """Explain, from the ledger, a document that no search can find."""
    if where.trashed:
        told = "It is in the trash: `semantik documents restore` restores it."
        return _because(where.document, "trashed", told)
    if where.deleted:
        return _because(where.document, "deleted", "It was deleted.")
    if where.stage == "quarantined":
        error = {name: (where.error or {}).get(name) for name in ("stage", "type", "message")}
        told = f"It is in quarantine: {error['stage']} failed with {error['type']}: {error['message']}"
        return _because(where.document, "quarantined", told, error=error)
    if where.stage is None:
        return _because(where.document, "in-progress", "It is not in the index that is searched yet.", stage=None)
    if where.goal == "skipped":
        return _because(where.document, "skipped", f"It has nothing to index: {where.reason}.")
    return _because(where.document, "in-progress", f"It is {_stage(where)}.", stage=where.stage)


def _stage(where: Any) -> str:
    if where.stage == "quarantined":
        return "in quarantine"
    return f"in progress, at the stage {where.stage}{f' ({where.reason})' if where.reason else ''}"


def _is_number(rank: int, last: int) -> str:
    return f"It is number {rank}; the page ends with number {last}."


class _Search:
    """A document that can be found, and a search that did not return it."""

    def __init__(self, runtime: Runtime, view: SearchView, plan: SearchPlan, way: Way, where: Any) -> None:
        self._runtime, self._plan, self._way, self._where = runtime, plan, way, where
        self._index = runtime.existing_index(runtime.generation(view.generation_id))
        own = {"key": "document_id", "match": {"value": where.document_id}}
        self._own = [own, {"key": "epoch", "range": {"gte": where.indexed_epoch}}]

    def cause(self) -> Absence:
        if self._index is None or not self._any():
            told = "The index lacks its points: `semantik verify --repair` restores them."
            return self._because("lost", told)
        chunks = set(self._chunks())
        if not chunks:
            return self._filtered()
        retrieved = self._way.latest
        seen = (*self._way.retrieved.candidates, *(entry.candidate for entry in self._way.added))
        if chunks & {*self._way.ids, *(candidate.id for candidate in seen)}:
            return self._ranked(chunks)
        if not self._plan.text:
            return self._because("limit", "It meets the filter, and is listed after this page.")
        order = fuse(
            retrieved.legs,
            dense_weight=self._plan.dense_weight,
            method=self._plan.fusion,
            scored=retrieved.scored,
            shares=retrieved.shares,
        )
        fused = next(((rank, one) for rank, one in enumerate(order, 1) if one.id in chunks), None)
        return self._too_far(chunks) if fused is None else self._not_kept(*fused)

    def _because(self, cause: str, told: str, **more: Any) -> Absence:
        return _because(self._where.document, cause, told, **more)

    def _any(self, *conditions: dict[str, Any]) -> bool:
        """Return whether a chunk of the document meets these conditions."""
        asked = {"must": [*self._own, *conditions]}
        return self._runtime.host.call(self._runtime.store.count, self._index, asked) > 0

    def _chunks(self) -> Iterator[str]:
        """Yield the ids of the document's points that meet the filter, at most MOST_CHUNKS."""
        only = {"must": [*self._own, *([self._plan.filter] if self._plan.filter else [])]}
        after, left = None, MOST_CHUNKS
        while left > 0:
            page, after = self._runtime.host.call(
                self._runtime.store.scroll, self._index, filter=only, fields=[], after=after, limit=min(left, 1000)
            )
            yield from (point.id for point in page)
            if after is None:
                return
            left -= len(page)

    def _filtered(self) -> Absence:
        """Explain which conditions of the filter no chunk of the document meets."""
        failing = [one for one in conditions_of(self._plan.filter) if not self._any(one)]
        principals = self._plan.principals
        limit = limit_of(principals) if principals is not None else None
        if limit in failing:
            told = "You have had access to it only for a moment: its points have not been updated yet."
            return self._because("in-progress", told, stage="upsert")
        if not failing:
            told = "Each condition of the filter is met by one of its chunks, but no chunk meets all of them."
            return self._because("filter", told, conditions=[])
        failing = [self._as_asked(one) for one in failing]
        said = " and ".join(json.dumps(one, ensure_ascii=False) for one in failing)
        return self._because("filter", f"It does not meet the filter: {said}.", conditions=failing)

    def _as_asked(self, condition: dict[str, Any]) -> dict[str, Any]:
        """Return the condition as the caller wrote it.

        A ``path:`` of the query was resolved to document ids. It is returned as the path patterns, because not all of
        these documents need be open to the caller.
        """
        interpretation = self._plan.interpretation
        paths = [one for one in interpretation.filters if one.field == "path"] if interpretation is not None else []
        if not paths or '"document_id"' not in json.dumps(condition):
            return condition
        return {"path": [f"{'-' if one.excluded else ''}{one.value}" for one in paths]}

    def _too_far(self, chunks: set[str]) -> Absence:
        """Explain that no leg reached a chunk of the document, with the ranks of its chunks deeper in the legs."""
        retrieved = self._way.latest
        only = self._plan.filter  # with phrases, the search's own requests were confined to fewer chunks
        deep = [replace(request, filter=only, limit=MAX_LEG_DEPTH) for request in retrieved.requests.values()]
        answers = self._runtime.host.call(self._runtime.store.search, self._index, deep)
        legs = self._ranks(chunks, dict(zip(retrieved.requests, answers, strict=True)))
        told = "; ".join(_told_of_leg(name, leg["rank"]) for name, leg in legs.items())
        depth = max([LEG_DEPTH, *map(len, retrieved.legs.values())])
        return self._because("legs", f"{told}. Only the first {depth:,} of each leg are considered.", legs=legs)

    def _not_kept(self, rank: int, best: Candidate) -> Absence:
        """Explain that the legs found the document, but its fused rank was too low for a candidate."""
        plan, retrieved = self._plan, self._way.latest
        more = {"rank": rank, "score": best.fused, "explanation": explained_fusion(plan, retrieved, best, rank)}
        if plan.candidates <= plan.given:
            return self._because("limit", _is_number(rank, plan.last), **more)
        looked = max(plan.candidates, len(retrieved.candidates))
        told = f"It is number {rank} of the fused list, of which only the first {looked} are considered."
        return self._because("fused", told, **more)

    @staticmethod
    def _ranks(chunks: set[str], legs: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Return rank and score of the document's best chunk in each leg; None if the leg has no chunk of it."""
        found = {}
        for name, leg in legs.items():
            best = next(((rank, point.score) for rank, point in enumerate(leg, 1) if point.id in chunks), (None, None))
            found[name] = {"rank": best[0], "score": best[1]}
        return found

    def _ranked(self, chunks: set[str]) -> Absence:
        """Explain what happened to the document, which was a candidate, after fusion."""
        plan, way = self._plan, self._way
        ranked = (*way.reranking.ranked, *way.added)
        rank, best = next((at, one) for at, one in enumerate(ranked, 1) if one.candidate.id in chunks)
        known = way.explained if best.candidate.id in way.explained else explained(plan, way.retrieved, way.reranking)
        explanation = known[best.candidate.id]
        more = {"rank": rank, "score": best.score, "explanation": explanation}
        place = next((at for at, id in enumerate(way.ids, 1) if id in chunks), None)
        if place is None:
            return self._left_out(chunks, more)
        more["rank"] = place
        last = plan.last
        if place <= plan.offset:
            return self._because("offset", f"It is number {place}, on a page before this one.", **more)
        before = explanation["fused"]["rank"]
        if way.reranking.reranked and before <= last:
            told = f"It was number {before} of the fused list, and is number {place} after reranking."
            return self._because("reranked", f"{told} The page ends with number {last}.", **more)
        return self._because("limit", _is_number(place, last), **more)

    def _left_out(self, chunks: set[str], more: dict[str, Any]) -> Absence:
        """Explain a candidate that a postprocessor or the score threshold dropped before the page was cut."""
        for plugin, ids in self._way.left_out.items():
            if chunks & set(ids):
                told = f"It was number {more['rank']} until the postprocessor {plugin} left it out."
                return self._because("postprocessed", told, plugin=plugin, **more)
        told = f"Its score is {more['score']:.3f}, below the threshold of {self._plan.score_threshold or 0:g}."
        return self._because("threshold", told, **more)


def _told_of_leg(name: str, rank: int | None) -> str:
    by = {"dense": "by meaning", "sparse": "by words"}.get(name, f"in the leg {name}")
    if rank is not None:
        return f"its best chunk is number {rank:,} {by}"
    return (
        "none of its chunks has a word of the query"
        if name == "sparse"
        else f"{by} it is not among the first {MAX_LEG_DEPTH:,}"
    )


def conditions_of(filter: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Split a filter into the conditions that must all be met, each of which is valid by itself."""
    found: list[dict[str, Any]] = []
    for name, given in (filter or {}).items():
        some = [given] if isinstance(given, dict) else list(given or ())
        if name == "must":
            for one in some:
                found += conditions_of(one) if _joins(one) else [one]
        elif name == "must_not":
            found += [{"must_not": [one]} for one in some]
        elif some:
            found.append({name: given})
    return found


def _joins(condition: dict[str, Any]) -> bool:
    return set(condition) <= {"must", "must_not", "should", "min_should"}
