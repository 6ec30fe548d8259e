"""Converts an index's spec to and from a Qdrant collection."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from semantik_pipeline.documents import IndexSpec
from semantik_pipeline.errors import UsageError

if TYPE_CHECKING:
    from qdrant_client import models

#: The key in a collection's metadata that holds its spec; a collection without it was not created by this project.
KEY = "semantik_index"
_KINDS = ("keyword", "integer", "float", "bool", "datetime", "text")


def collection_arguments(spec: IndexSpec) -> dict[str, Any]:
    """Arguments of ``create_collection``: named vectors ``dense`` and ``sparse``, with the spec in the metadata."""
    from qdrant_client import models

    distances = {
        "cosine": models.Distance.COSINE,
        "dot": models.Distance.DOT,
        "euclid": models.Distance.EUCLID,
    }
    if spec.distance not in distances:
        raise UsageError(f"Qdrant has no distance {spec.distance!r}.", f"Choose one of {', '.join(distances)}.")
    sparse = {"sparse": models.SparseVectorParams(modifier=None if spec.sparse_vectors else models.Modifier.IDF)}
    return {
        "vectors_config": {"dense": models.VectorParams(size=spec.dimension, distance=distances[spec.distance])},
        "sparse_vectors_config": sparse if spec.sparse_vectors or spec.bm25 is not None else None,
        "metadata": {KEY: asdict(spec)},
    }


def payload_schema(kind: str) -> models.PayloadSchemaType:
    from qdrant_client import models

    if kind not in _KINDS:
        raise UsageError(f"There is no payload index of type {kind!r}.", f"Types are {', '.join(_KINDS)}.")
    return models.PayloadSchemaType(kind)


def spec_of(collection: models.CollectionInfo) -> IndexSpec | None:
    """The spec of a collection that this project created; None for other collections."""
    written = (collection.config.metadata or {}).get(KEY)
    return None if written is None else IndexSpec(**written)
