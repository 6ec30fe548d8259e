"""Checks that every store makes before it calls its engine, with the same error messages."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from semantik_pipeline.errors import DimensionMismatch, PermanentError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from semantik_pipeline.documents import IndexSpec, Point, SearchRequest, SparseVector

Item = TypeVar("Item")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,200}")


def check_name(name: str) -> None:
    """Raise UsageError for a name that is not valid for both a folder and a collection."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} can't be the name of an index.", "Use at most 200 letters, digits, '-' and '_'.")


def missing_index(name: str) -> UsageError:
    return UsageError(f"There is no index {name!r} in this store.")


def check_same_spec(name: str, known: IndexSpec, wanted: IndexSpec) -> None:
    """Check that an existing index can serve ``wanted``, apart from its payload indexes.

    Raises DimensionMismatch or UsageError.
    """
    if known.dimension != wanted.dimension:
        raise wrong_dimension(name, known.dimension, wanted.dimension)
    for field in ("distance", "bm25", "sparse_vectors"):
        has, asked = getattr(known, field), getattr(wanted, field)
        if has != asked:
            raise UsageError(
                f"The index {name} was created with {field} {has!r}, not {asked!r}.",
                "Build a new generation, or drop the index.",
            )


def wrong_dimension(name: str, expected: int, found: int) -> DimensionMismatch:
    return DimensionMismatch(
        f"The index {name} holds vectors of {expected} dimensions; these have {found}.",
        "Use the model that the index was built with, or reindex with the new one.",
    )


def vector_rows(name: str, points: Sequence[Point], dimension: int) -> list[list[float]]:
    """The points' vectors as lists of floats. Converting all of them at once takes a third of the time."""
    import numpy as np

    for point in points:
        if len(point.vector) != dimension:
            raise wrong_dimension(name, dimension, len(point.vector))
    matrix = np.stack([np.asarray(point.vector, dtype=np.float32) for point in points])
    if not np.isfinite(matrix).all():
        bad = points[int(np.flatnonzero(~np.isfinite(matrix).all(axis=1))[0])]
        raise PermanentError(f"The vector of point {bad.id} for the index {name} contains NaN or infinity.")
    return matrix.tolist()


def query_vector(name: str, request: SearchRequest, spec: IndexSpec) -> list[float] | None:
    """The vector of a dense leg; None for another kind. Raises UsageError for a leg of no kind or of several, and for
    one that the index does not support."""
    import numpy as np

    if sum(part is not None for part in (request.vector, request.text, request.sparse)) != 1:
        raise UsageError("A search leg takes either a vector, a text, or a sparse vector.")
    if request.text is not None and (spec.bm25 is None or spec.sparse_vectors):
        raise UsageError(f"The index {name} has no BM25 leg.", "Search it by vector alone (mode dense).")
    if request.sparse is not None:
        if not spec.sparse_vectors:
            raise UsageError(f"The index {name} has no sparse vectors from a model.", "Search it by text.")
        check_sparse("the query", request.sparse)
    if request.vector is None:
        return None
    vector = np.asarray(request.vector, dtype=np.float32)
    if vector.shape != (spec.dimension,):
        raise wrong_dimension(name, spec.dimension, vector.shape[-1] if vector.ndim else 0)
    if not np.isfinite(vector).all():
        raise UsageError("The query's vector contains NaN or infinity.")
    return vector.tolist()


def dense_of(vectors: Any) -> np.ndarray | None:
    """The dense vector among a record's named vectors, (d,) float32; None if the record has none."""
    import numpy as np

    dense = vectors.get("dense") if isinstance(vectors, dict) else None
    return None if dense is None else np.asarray(dense, dtype=np.float32)


def sparse_rows(name: str, points: Sequence[Point], spec: IndexSpec) -> list[SparseVector | None]:
    """The points' sparse vectors, None for one without terms; all None if the index has no sparse vectors."""
    if not spec.sparse_vectors:
        return [None] * len(points)
    for point in points:
        if point.sparse is None:
            raise UsageError(f"Point {point.id} for the index {name} has no sparse vector.")
        check_sparse(f"point {point.id} for the index {name}", point.sparse)
    return [point.sparse if point.sparse and point.sparse.indices else None for point in points]


def check_sparse(whose: str, vector: SparseVector) -> None:
    """Raise PermanentError for a vector that no engine accepts."""
    lengths = len(vector.indices) == len(vector.values)
    if not lengths or len({*vector.indices}) != len(vector.indices) or not all(map(math.isfinite, vector.values)):
        raise PermanentError(
            f"The sparse vector of {whose} has a duplicate term, lengths that differ, or NaN or infinity."
        )


def check_facet(name: str, spec: IndexSpec, key: str) -> None:
    """Check that the key is indexed; both engines require this for facets."""
    indexed = sorted(k for k, kind in spec.payload_indexes.items() if kind in ("keyword", "integer", "bool"))
    if key not in indexed:
        raise UsageError(
            f"The index {name} has no facets of {key!r}.", f"It has facets of {', '.join(indexed) or 'no field'}."
        )


def slices(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
