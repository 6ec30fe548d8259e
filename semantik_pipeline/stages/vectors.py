"""The stored form of a chunk's vectors: the dense vector, then the sparse one if the collection has a sparse model.

Both are in one row, so that neither can exist without the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from semantik_pipeline.documents import SparseVector
from semantik_pipeline.errors import PermanentError

if TYPE_CHECKING:
    import numpy as np

    from semantik_pipeline.contracts import EmbeddingPlugin
    from semantik_pipeline.ledger.catalog.collections import Generation
    from semantik_pipeline.runtime import Runtime


def sparse_encoder(runtime: Runtime, generation: Generation | int) -> EmbeddingPlugin | None:
    """Return the generation's sparse model, loaded, or None if BM25 makes its sparse vectors.

    Raises FingerprintMismatch if the model here would give different vectors.
    """
    found = runtime.generation(generation) if isinstance(generation, int) else generation
    choice = found.config["sparse"]
    if not choice.get("plugin"):
        return None
    runtime.check_encoder(found, "sparse")
    return runtime.host.instance(choice["plugin"], choice["options"], frozen=True, kind="embedding")


def packed(vector: SparseVector) -> bytes:
    """Return the vector as bytes: its terms as uint32, then its weights as float16, 6 bytes per term."""
    import numpy as np

    return np.array(vector.indices, dtype="<u4").tobytes() + np.array(vector.values, dtype="<f2").tobytes()


def unpacked(row: bytes, dimension: int) -> tuple[np.ndarray, SparseVector]:
    """Return ``(dense, sparse)`` of a row. If the row has no sparse part, the sparse vector is empty."""
    import numpy as np

    split = 4 * dimension
    count = (len(row) - split) // 6
    terms = np.frombuffer(row, dtype="<u4", count=count, offset=split)
    weights = np.frombuffer(row, dtype="<f2", count=count, offset=split + 4 * count)
    return np.frombuffer(row, dtype="<f4", count=dimension), SparseVector(terms.tolist(), weights.tolist())


def checked_sparse(vectors: Sequence[SparseVector], count: int) -> list[bytes]:
    """Return the vectors in their stored form.

    Raises PermanentError for a wrong number of vectors, a duplicate term, or a weight that float16 cannot hold.
    """
    import numpy as np

    if len(vectors) != count:
        raise PermanentError(f"The sparse encoder returned {len(vectors)} vectors for {count} texts.")
    for vector in vectors:
        with np.errstate(over="ignore"):  # a weight that is too large becomes infinite and is refused below
            weights = np.asarray(vector.values, dtype="<f2")
        if len(weights) != len({*vector.indices}) or not np.isfinite(weights).all():
            raise PermanentError(
                "The sparse encoder returned a vector with a duplicate term, or with a weight that is not finite."
            )
    return [packed(vector) for vector in vectors]
