"""Collections, and the generations of their indexes."""

from __future__ import annotations

from typing import Any, TypedDict

from semantik_pipeline.client.answers.operations import OperationAccepted


class Generation(TypedDict):
    """One build of a collection's index."""

    id: int
    state: str
    dimension: int
    created_at: float
    activated_at: float | None
    retire_at: float | None


class SourceSummary(TypedDict):
    """A source of a collection."""

    id: int
    connector: str
    name: str


class Collection(TypedDict):
    """A collection. Times are Unix timestamps."""

    id: int
    name: str
    config: dict[str, Any]
    etag: str
    active_generation: int | None
    generations: list[Generation]
    documents: dict[str, int]
    total: int
    chunks: int
    sources: list[SourceSummary]
    created_at: float


class CollectionList(TypedDict):
    """A page of collections."""

    collections: list[Collection]
    next_cursor: str | None


class CollectionDetail(Collection):
    """A collection in detail. ``outdated``: why the index differs from the configuration."""

    outdated: list[str]


class DeletedCollection(TypedDict):
    """A deleted collection. ``purged``: it was deleted permanently; otherwise it is in the trash."""

    id: int
    name: str
    purged: bool


class RenamedCollection(TypedDict):
    """A collection after it was renamed."""

    id: int
    name: str
    previous_name: str


class RestoredCollection(TypedDict):
    """A restored collection. ``operation_id``: the operation that resumes the work stopped by the deletion, or None."""

    name: str
    operation_id: int | None


class ReindexPlan(TypedDict):
    """The estimated cost of a reindex. The response has more fields. Nothing was written."""

    collection: str
    changes: list[str]
    reasons: list[str]
    stages_changed: list[str]
    documents: int
    chunks: int
    reuse: dict[str, dict[str, int]]
    texts_to_embed: int
    estimated: bool
    sampled_documents: int
    embed_seconds: float | None
    disk_bytes: int
    dimension: int


class RollbackResult(TypedDict):
    """``generation`` is searched instead of ``previous_generation``; ``pending_documents`` are still outdated in it."""

    collection: str
    generation: int
    previous_generation: int
    pending_documents: int


class RerunPlan(TypedDict):
    """The number of documents that a rerun would process, and some document ids."""

    collection: str
    documents: int
    examples: list[str]


class ImportAccepted(OperationAccepted):
    """The collection that was created from an export. ``recomputed`` are the stages whose results can't be reused;
    ``warnings`` say why."""

    collection: str
    sources: int
    documents: int
    chunks: int
    vectors: int
    bodies: int
    recomputed: list[str]
    warnings: list[str]


class VerifyResult(TypedDict):
    """Differences between the index and the database. ``operations`` repair them; ``operation`` is the first of these.
    ``next_cursor`` is for the next request; None if everything has been compared."""

    collection: str
    clean: bool
    documents: int
    points_expected: int
    points_found: int
    missing: int
    orphaned: int
    stale: int
    pending: int
    examples: list[str]
    operation: str | None
    operations: list[str]
    next_cursor: str | None
