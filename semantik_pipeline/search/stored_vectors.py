"""The vectors of a search's candidates as the index has them: what rerankers and postprocessors compare."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from semantik_pipeline.search.fusion import Candidate

if TYPE_CHECKING:
    import numpy as np

    from semantik_pipeline.ledger.catalog.collections import SearchView
    from semantik_pipeline.runtime import Runtime

#: How many of the best passages a reranker gets as feedback; more of them stray (builtin relevance_feedback.py).
FEEDBACK = 2

#: For each candidate its vector, (d,) float32; None of one that the store does not give.
ReadVectors = Callable[[Sequence[Candidate]], "Sequence[np.ndarray | None]"]


def stored_vectors(runtime: Runtime, views: Mapping[str, SearchView]) -> dict[str, np.ndarray | None]:
    """By point id, each looked for in the index of its view: one round trip for each index."""
    found: dict[str, np.ndarray | None] = {}
    for generation_id in dict.fromkeys(view.generation_id for view in views.values()):
        index = runtime.existing_index(runtime.generation(generation_id))
        if index is not None:
            ids = [id for id, view in views.items() if view.generation_id == generation_id]
            scroll, only = runtime.store.scroll, {"must": [{"has_id": ids}]}
            page, _ = runtime.host.call(scroll, index, filter=only, fields=[], limit=len(ids), with_vectors=True)
            found |= {point.id: point.vector for point in page}
    return {id: found.get(id) for id in views}


class Compared:
    """What a reranker is given of the vectors of the candidates that it reads. They are fetched once, when it asks first:
    in its own thread and within its deadline."""

    def __init__(self, candidates: Sequence[Candidate], read: ReadVectors | None) -> None:
        self._candidates, self._read = candidates, read

    def of(self, part: slice) -> dict[str, Any]:
        """``vectors`` of this part of the candidates, and ``feedback_vectors``: nothing where there are none."""
        if self._rows is None:
            return {}
        return {"vectors": self._rows[part], "feedback_vectors": self._feedback}

    @cached_property
    def _rows(self) -> np.ndarray | None:
        return None if self._read is None else unit_rows(self._read(self._candidates))

    @cached_property
    def _feedback(self) -> np.ndarray:
        """The rows of the best candidates that have a vector."""
        rows = self._rows
        assert rows is not None
        return rows[rows.any(axis=1)][:FEEDBACK]


def unit_rows(vectors: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """(n, d) float32, each row of length one; zeros where there is no vector, or (a store that mixes them) one of another
    length than the first. None where no vector says anything."""
    import numpy as np

    length = next((len(one) for one in vectors if one is not None), 0)
    rows = np.zeros((len(vectors), length), dtype=np.float32)
    for row, one in zip(rows, vectors, strict=True):
        if one is not None and len(one) == length:
            row[:] = one
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12) if rows.any() else None
