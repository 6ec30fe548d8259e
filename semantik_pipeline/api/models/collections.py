"""Collections: what is searched together, with one configuration, and the builds of its index."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from semantik_pipeline.api.models.operations import OperationAccepted
from semantik_pipeline.api.models.plain import Name, Options
from semantik_pipeline.api.scrubbed import ScrubbedText

_CHANGES: dict[str, Any] = {"chunking.max_tokens": 150, "embedding.model": "all-MiniLM-L6-v2"}


class CollectionCreate(BaseModel):
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
    config: Options = Field({}, description="Parts that are to differ from the defaults: `GET /chunkers` and so on.")
    changes: Options = Field({}, description="The same by dotted names.", examples=[_CHANGES])


class CollectionUpdate(BaseModel):
    """Dotted names, and what they are to be; null unsets. What shapes the index counts from the next reindex on."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"changes": _CHANGES}})

    changes: Options


class CollectionRenameRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"name": "papers-2026"}})

    name: Name


class Generation(BaseModel):
    """One build of a collection's index."""

    model_config = ConfigDict(extra="ignore")

    id: int
    state: str = Field(examples=["active"], description="building, active, kept (for a rollback) or retired")
    dimension: int = Field(examples=[384])
    created_at: float
    activated_at: float | None
    retire_at: float | None = Field(description="When a kept one goes.")


class SourceSummary(BaseModel):
    id: int
    connector: str
    name: str


class Collection(BaseModel):
    """A collection as it is. Times are seconds since 1970."""

    id: int
    name: str = Field(examples=["papers"])
    config: dict[str, Any] = Field(description="What it is to be made of.")
    etag: str = Field(description="Of the configuration.")
    active_generation: int | None = Field(description="What search reads.")
    generations: list[Generation]
    documents: dict[str, int] = Field(examples=[{"indexed": 120, "quarantined": 1}], description="By status.")
    total: int = Field(description="Documents, all together.")
    chunks: int
    sources: list[SourceSummary]
    created_at: float


class CollectionDetail(Collection):
    outdated: list[ScrubbedText] = Field(
        description="What a reindex would bring; empty: the index is what it is to be."
    )


class CollectionList(BaseModel):
    collections: list[Collection]
    next_cursor: str | None = None


class RenamedCollection(BaseModel):
    id: int
    name: str
    before: str


class DeletedCollection(BaseModel):
    """It is hidden at once. `purged`: it is gone for good; else it rests in the trash."""

    id: int
    name: str
    purged: bool


class RestoredCollection(BaseModel):
    name: str
    operation: int | None = Field(description="What goes on with what its deletion stopped; null: nothing was.")


class ReindexPlanRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"changes": _CHANGES}})

    changes: Options = Field({}, description="Of the configuration, by dotted names; null unsets.")


class ReindexPlan(BaseModel):
    """What is foretold of a build; nothing was written."""

    model_config = ConfigDict(extra="allow")

    collection: str
    changes: list[str]
    reasons: list[ScrubbedText]
    stages_changed: list[str] = Field(examples=[["chunk", "embed"]])
    documents: int
    chunks: int
    embed: int = Field(description="Texts that the model is given.")
    estimated: bool
    seconds: float | None = Field(description="Of the embedding, as far as anybody knows.")
    disk: int = Field(description="Bytes, as long as both builds are kept.")
    dimension: int


class ReindexRequest(ReindexPlanRequest):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"changes": {"chunking.max_tokens": 150}}})

    accept_losses: bool = Field(False, description="Switch although documents fail with the new configuration.")
    force: bool = Field(False, description="Build it although it would be what is there.")


class RerunPlanRequest(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"where": {"must": [{"key": "status", "match": {"value": "quarantined"}}]}}},
    )

    where: Options = Field(description="A filter, as `reindex --where` takes it.")


class RerunPlan(BaseModel):
    """What a rerun would send on its way; nothing was written."""

    collection: str
    documents: int
    examples: list[str] = Field(description="The unique ids of some of them.")


class RerunRequest(RerunPlanRequest):
    """Documents to send through the stages again, within the index that is there."""

    fresh: bool = Field(False, description="Parse anew what is parsed already.")


class RollbackResult(BaseModel):
    collection: str
    generation: int = Field(description="What search reads now.")
    replaced: int = Field(description="What it read before, kept in its place.")
    behind: int = Field(description="Documents that the stages have yet to bring up to date there.")


class VerifyRequest(BaseModel):
    """What to compare. Each request compares for some seconds; a large collection takes several."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"repair": True}})

    repair: bool = Field(False, description="Remove points of no document, and write those of damaged documents again.")
    lost: bool = Field(False, description="Compare only if the index holds fewer points than it must; two counts tell.")
    cursor: str | None = Field(None, max_length=4000, description="`next_cursor` of the part before.")


class VerifyResult(BaseModel):
    """What a part of the comparison found: points that are missing, belong to no chunk (orphaned) or say something else
    than their chunk (stale). Documents on their way are pending, and not judged."""

    collection: str
    clean: bool = Field(description="Nothing is missing, orphaned or stale in this part.")
    documents: int
    points_expected: int
    points_found: int
    missing: int
    orphaned: int
    stale: int
    pending: int
    examples: list[str] = Field(description="The unique ids of some that are damaged.")
    operation: str | None = Field(examples=["repair-7"], description="The first of `operations`; null: there is none.")
    operations: list[str] = Field(
        description="What mends them: an operation for each index that is damaged, or several."
    )
    next_cursor: str | None = Field(None, description="Of the next part; null: all was compared.")


class ImportAccepted(OperationAccepted):
    """The collection is there, and the operation brings its points into the store."""

    collection: str
    sources: int = Field(description="They are paused.")
    documents: int
    chunks: int
    vectors: int
    bodies: int
    recomputed: list[str] = Field(description="Stages that have to work again here.")
    warnings: list[str] = Field(description="Why.")


class TrashedCollection(BaseModel):
    id: int
    name: str
    documents: int
    trashed_at: float
    purged_at: float | None = Field(description="When it goes for good; null: it is on its way out.")


class TrashedSource(TrashedCollection):
    connector: str
    collection: str


class TrashedDocument(BaseModel):
    id: int
    document: str
    collection: str
    trashed_at: float
    purged_at: float | None


class TrashList(BaseModel):
    """A page of what was deleted and can be restored: collections, then sources, then documents, each oldest first."""

    days: float = Field(description="How long it stays.")
    collections: list[TrashedCollection]
    sources: list[TrashedSource]
    documents: list[TrashedDocument]
    next_cursor: str | None = None
