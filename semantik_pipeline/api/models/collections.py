"""Collections of documents, and the generations of their indexes."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from semantik_pipeline.api.models.operations import OperationAccepted
from semantik_pipeline.api.models.plain import Name, Options
from semantik_pipeline.api.scrubbed import ScrubbedText

_CHANGES: dict[str, Any] = {"chunking.max_tokens": 150, "embedding.model": "all-MiniLM-L6-v2"}


class CollectionCreate(BaseModel):
    """A collection to create."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "name": "papers",
                "config": {"chunking": {"plugin": "markdown", "options": {"max_tokens": 150}}},
            }
        },
    )

    name: Name
    config: Options = Field({}, description="Configuration, as far as it differs from the defaults.")
    changes: Options = Field(
        {}, description="Configuration by dotted names; takes precedence over `config`.", examples=[_CHANGES]
    )


class CollectionUpdate(BaseModel):
    """Changes to the configuration. Changes that affect the contents of the index take effect with the next reindex."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"changes": _CHANGES}})

    changes: Options = Field(description="New values by dotted names; null resets to the default.")


class CollectionRenameRequest(BaseModel):
    """The new name of a collection."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"name": "papers-2026"}})

    name: Name


class Generation(BaseModel):
    """One build of a collection's index."""

    model_config = ConfigDict(extra="ignore")

    id: int
    state: str = Field(examples=["active"], description="building, active, kept (for a rollback) or retired.")
    dimension: int = Field(examples=[384])
    created_at: float
    activated_at: float | None
    retire_at: float | None = Field(description="When a kept generation is deleted.")


class SourceSummary(BaseModel):
    """A source of a collection."""

    id: int
    connector: str
    name: str


class Collection(BaseModel):
    """A collection. Times are Unix timestamps."""

    id: int
    name: str = Field(examples=["papers"])
    config: dict[str, Any] = Field(description="Configuration.")
    etag: str = Field(description="ETag of the configuration, for `If-Match`.")
    active_generation: int | None = Field(description="Id of the generation that is searched.")
    generations: list[Generation]
    documents: dict[str, int] = Field(
        examples=[{"indexed": 120, "quarantined": 1}], description="Number of documents by status."
    )
    total: int = Field(description="Number of documents.")
    chunks: int
    sources: list[SourceSummary]
    created_at: float


class CollectionDetail(Collection):
    """A collection in detail."""

    outdated: list[ScrubbedText] = Field(
        description="Why the index does not match the configuration; empty if it is up to date."
    )


class CollectionList(BaseModel):
    """A page of collections."""

    collections: list[Collection]
    next_cursor: str | None = None


class RenamedCollection(BaseModel):
    """A collection after it was renamed."""

    id: int
    name: str
    previous_name: str


class DeletedCollection(BaseModel):
    """A deleted collection."""

    id: int
    name: str
    purged: bool = Field(description="Whether it was deleted permanently; otherwise it is in the trash.")


class RestoredCollection(BaseModel):
    """A collection after it was restored from the trash."""

    name: str
    operation_id: int | None = Field(
        description="Id of the operation that resumes the work that the deletion stopped; null if there is none."
    )


class ReindexPlanRequest(BaseModel):
    """A reindex to estimate."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"changes": _CHANGES}})

    changes: Options = Field(
        {}, description="Changes to the configuration by dotted names; null resets to the default."
    )


class ReindexPlan(BaseModel):
    """The estimated cost of a reindex. Nothing is written."""

    model_config = ConfigDict(extra="allow")

    collection: str
    changes: list[str] = Field(description="Differences from the configuration of the current index.")
    reasons: list[ScrubbedText] = Field(description="Why the current index is outdated.")
    stages_changed: list[str] = Field(
        examples=[["chunk", "embed"]], description="Stages that have to compute their results again."
    )
    documents: int
    chunks: int
    reuse: dict[str, dict[str, int]] = Field(
        description="By stage, the number of documents or chunks whose results are reused, and their `total`."
    )
    texts_to_embed: int
    estimated: bool = Field(description="Whether `chunks` and `texts_to_embed` are extrapolated from a sample.")
    sampled_documents: int = Field(description="Size of the sample.")
    embed_seconds: float | None = Field(description="Estimated time of the embedding; null if it is unknown.")
    disk_bytes: int = Field(description="Estimated additional disk space while both indexes are kept.")
    dimension: int = Field(description="Dimension of the new index.")


class ReindexRequest(ReindexPlanRequest):
    """A reindex to start."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"changes": {"chunking.max_tokens": 150}}})

    accept_losses: bool = Field(False, description="Switch even if documents fail with the new configuration.")
    force: bool = Field(False, description="Build even if nothing would change.")


class RerunPlanRequest(BaseModel):
    """The documents to process again."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"where": {"must": [{"key": "status", "match": {"value": "quarantined"}}]}}},
    )

    where: Options = Field(description="Filter of the documents, as in `reindex --where`.")


class RerunPlan(BaseModel):
    """The documents that a rerun would process. Nothing is written."""

    collection: str
    documents: int = Field(description="Number of matching documents.")
    examples: list[str] = Field(description="Document ids of some of them.")


class RerunRequest(RerunPlanRequest):
    """The documents to process again, in the current index."""

    fresh: bool = Field(False, description="Parse again instead of using stored results.")


class RollbackResult(BaseModel):
    """A collection after the previous index was restored."""

    collection: str
    generation: int = Field(description="Id of the generation that is searched now.")
    previous_generation: int = Field(description="Id of the generation that was searched before, and is kept.")
    pending_documents: int = Field(description="Documents that are not up to date yet in the generation searched now.")


class VerifyRequest(BaseModel):
    """Options of a comparison. Each request compares for about 10 seconds, so a large collection takes several
    requests: repeat it with `cursor`."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"repair": True}})

    repair: bool = Field(False, description="Delete orphaned points, and write missing and stale ones again.")
    only_if_incomplete: bool = Field(
        False, description="Compare only if the index has fewer points than expected, which is a quick check."
    )
    cursor: str | None = Field(None, max_length=4000, description="`next_cursor` of the previous response.")


class VerifyResult(BaseModel):
    """Differences between the index and the database. A point can be missing, orphaned (it belongs to no chunk) or
    stale (it differs from its chunk). Documents that are being processed are pending, and are not compared."""

    collection: str
    clean: bool = Field(description="Whether this request found nothing missing, orphaned or stale.")
    documents: int
    points_expected: int
    points_found: int
    missing: int
    orphaned: int
    stale: int
    pending: int
    examples: list[str] = Field(description="Document ids of some documents that differ.")
    operation: str | None = Field(
        examples=["repair-7"], description="The first of `operations`; null if there are none."
    )
    operations: list[str] = Field(description="Operations that repair the differences, with `repair`.")
    next_cursor: str | None = Field(
        None, description="`cursor` of the next request; null if everything has been compared."
    )


class ImportAccepted(OperationAccepted):
    """The collection was created. The operation writes its points into the index."""

    collection: str
    sources: int = Field(description="Number of sources. They are paused.")
    documents: int
    chunks: int
    vectors: int
    bodies: int = Field(description="Number of document contents.")
    recomputed: list[str] = Field(description="Stages whose results cannot be reused on this server.")
    warnings: list[str] = Field(description="Why they cannot be reused.")


class TrashedCollection(BaseModel):
    """A collection in the trash."""

    id: int
    name: str
    documents: int
    trashed_at: float
    purge_at: float | None = Field(description="When it will be deleted permanently; null if that is in progress.")


class TrashedSource(TrashedCollection):
    """A source in the trash."""

    connector: str
    collection: str


class TrashedDocument(BaseModel):
    """A document in the trash."""

    id: int
    document: str = Field(description="Document id.")
    collection: str
    trashed_at: float
    purge_at: float | None = Field(description="When it will be deleted permanently; null if that is in progress.")


class TrashList(BaseModel):
    """A page of the trash: collections, then sources, then documents, each oldest first."""

    retention_days: float = Field(description="Days until deleted items are removed permanently.")
    collections: list[TrashedCollection]
    sources: list[TrashedSource]
    documents: list[TrashedDocument]
    next_cursor: str | None = None
