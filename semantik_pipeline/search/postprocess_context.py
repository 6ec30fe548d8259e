"""The context of postprocessors: vectors from the store and neighboring passages from the ledger, limited to what is
open to the caller."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from semantik_pipeline.contracts import PostprocessContext
from semantik_pipeline.contracts.languages import language_name, stemmed_as
from semantik_pipeline.documents import Passage, SearchHit
from semantik_pipeline.errors import UsageError
from semantik_pipeline.ledger.documents import neighbours
from semantik_pipeline.search.fusion import Candidate
from semantik_pipeline.search.request import SearchPlan
from semantik_pipeline.search.stored_vectors import stored_vectors

if TYPE_CHECKING:
    import numpy as np

    from semantik_pipeline.ledger.catalog.collections import SearchView
    from semantik_pipeline.runtime import Runtime

#: The maximum number of chunks on each side of a hit that can be requested.
MAX_AROUND = 50


class SearchContext(PostprocessContext):
    """The context of one search. ``candidates`` has the candidate of each hit by rank.

    Vectors are kept, so that none is read twice. ``given`` has the passages that :meth:`around` returned for each hit.
    """

    def __init__(
        self, runtime: Runtime, view: SearchView, plan: SearchPlan, candidates: Mapping[int, Candidate]
    ) -> None:
        self.offset, self.limit = plan.offset, plan.limit
        self.given: dict[int, list[Passage]] = {}
        self._runtime, self._view, self._plan = runtime, view, plan
        self._candidates = candidates
        self._sparse: Mapping[str, Any] = view.config.get("sparse") or {}
        self._vectors: dict[str, np.ndarray | None] = {}

    def language_of(self, hit: SearchHit) -> str:
        code = hit.metadata.get("language")
        own = stemmed_as(code) if self._sparse.get("by_document") and isinstance(code, str) else None
        return own or language_name(self._sparse.get("language", "english"))

    async def vectors(self, hits: Sequence[SearchHit]) -> list[np.ndarray | None]:
        ids = [self._candidate(hit).id for hit in hits]
        missing = [id for id in dict.fromkeys(ids) if id not in self._vectors]
        if missing:
            self._vectors |= await asyncio.to_thread(stored_vectors, self._runtime, dict.fromkeys(missing, self._view))
        return [self._vectors.get(id) for id in ids]

    async def around(self, hits: Sequence[SearchHit], before: int = 1, after: int = 1) -> list[list[Passage]]:
        if not (0 <= before <= MAX_AROUND and 0 <= after <= MAX_AROUND):
            raise UsageError(f"{before} chunks before and {after} after a hit are not within 0..{MAX_AROUND}.")
        places = [self._place(hit) for hit in hits]
        found = await asyncio.to_thread(self._read_around, places, before, after)
        for hit, passages in zip(hits, found, strict=True):
            self.given.setdefault(hit.rank, []).extend(passages)
        return found

    def _read_around(self, places: list[neighbours.Place], before: int, after: int) -> list[list[Passage]]:
        with self._runtime.ledger.read() as tx:
            told = neighbours.around(
                tx,
                self._view.generation_id,
                places,
                before=before,
                after=after,
                principals=self._plan.principals,
            )
        return [
            [Passage(one.text, one.start, one.end, one.ordinal, list(one.section)) for one in passages]
            for passages in told
        ]

    def _place(self, hit: SearchHit) -> neighbours.Place:
        candidate = self._candidate(hit)
        payload = candidate.payload
        return neighbours.Place(
            document_id=payload.get("document_id", -1), point_id=candidate.id, ordinal=payload.get("ordinal", 0)
        )

    def _candidate(self, hit: SearchHit) -> Candidate:
        if hit.rank not in self._candidates:
            raise UsageError(
                f"The hit of rank {hit.rank} is not a hit of this search.", "Do not change the ranks of hits."
            )
        return self._candidates[hit.rank]
