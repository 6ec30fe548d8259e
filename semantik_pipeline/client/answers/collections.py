"""Collections, and building their indexes anew."""

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
    """A collection as it is. Times are seconds since 1970."""

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
    """All about a collection. ``outdated``: what a reindex would bring."""

    outdated: list[str]


class DeletedCollection(TypedDict):
    """A collection that is hidden. ``purged``: it is gone for good; else it rests in the trash."""

    id: int
    name: str
    purged: bool


class RenamedCollection(TypedDict):
    """A collection's name, and the one ``before``."""

    id: int
    name: str
    before: str


class RestoredCollection(TypedDict):
    """``operation`` goes on with what the deletion stopped; None: nothing was."""

    name: str
    operation: int | None


class ReindexPlan(TypedDict):
    """What is foretold of a build; it has more fields. Nothing was written."""

    collection: str
    changes: list[str]
    reasons: list[str]
    stages_changed: list[str]
    documents: int
    chunks: int
    embed: int
    estimated: bool
    seconds: float | None
    disk: int
    dimension: int


class RollbackResult(TypedDict):
    """``generation`` is what search reads now, ``replaced`` what it read before; ``behind`` counts the documents that the
    stages have yet to bring up to date there."""

    collection: str
    generation: int
    replaced: int
    behind: int


class RerunPlan(TypedDict):
    """The documents that a rerun would send on their way, and some of their unique ids."""

    collection: str
    documents: int
    examples: list[str]


class ImportAccepted(OperationAccepted):
    """The collection that was made of an export; ``recomputed`` names the stages that have to work again, ``warnings``
    say why."""

    collection: str
    sources: int
    documents: int
    chunks: int
    vectors: int
    bodies: int
    recomputed: list[str]
    warnings: list[str]


class VerifyResult(TypedDict):
    """What a part of the comparison of ledger and index found. ``operations`` mend it, of which ``operation`` is the first;
    ``next_cursor`` is the next part's, None: all was compared."""

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
