"""Reads the candidates' vectors from the index, for rerankers and postprocessors that compare them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from semantik_pipeline.search.fusion import Candidate

if TYPE_CHECKING:
    import numpy as np

    from semantik_pipeline.ledger.catalog.collections import SearchView
    from semantik_pipeline.runtime import Runtime

#: How many of the best passages a reranker gets as feedback. More lead it away from the query: see the measurements in
#: the built-in reranker relevance_feedback.py.
FEEDBACK = 2

#: Returns each candidate's vector, (d,) float32; None for a candidate whose vector the store does not return.
ReadVectors = Callable[[Sequence[Candidate]], "Sequence[np.ndarray | None]"]


def stored_vectors(runtime: Runtime, views: Mapping[str, SearchView]) -> dict[str, np.ndarray | None]:
    """Return the vectors by point id, each from the index of its view, with one round trip for each index."""
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
    """The vectors of the candidates that a reranker reads.

    They are read once, with the first slice: in the reranker's thread and within its deadline.
    """

    def __init__(self, candidates: Sequence[Candidate], read: ReadVectors | None) -> None:
        self._candidates, self._read = candidates, read

    def of(self, part: slice) -> dict[str, Any]:
        """Return the arguments ``vectors``, for this part of the candidates, and ``feedback_vectors``; none if there
        are no vectors."""
        if self._rows is None:
            return {}
        return {"vectors": self._rows[part], "feedback_vectors": self._feedback}

    @cached_property
    def _rows(self) -> np.ndarray | None:
        return None if self._read is None else unit_rows(self._read(self._candidates))

    @cached_property
    def _feedback(self) -> np.ndarray:
        """The rows of the first FEEDBACK candidates that have a vector."""
        rows = self._rows
        assert rows is not None
        return rows[rows.any(axis=1)][:FEEDBACK]


def unit_rows(vectors: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """Return the vectors as (n, d) float32 rows of length 1.

    A row is zero if its vector is missing, or has another length than the first vector (in a store that mixes them).
    Returns None if all rows are zero.
    """
    import numpy as np

    length = next((len(one) for one in vectors if one is not None), 0)
    rows = np.zeros((len(vectors), length), dtype=np.float32)
    for row, one in zip(rows, vectors, strict=True):
        if one is not None and len(one) == length:
            row[:] = one
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12) if rows.any() else None
