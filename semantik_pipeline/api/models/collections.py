"""Collections: what is searched together, with one configuration, and the builds of its index."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from semantik_pipeline.api.models.plain import Name, Options

_CHANGES: dict[str, Any] = {"chunking.max_tokens": 150, "embedding.model": "all-MiniLM-L6-v2"}


class NewCollection(BaseModel):
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


class CollectionChange(BaseModel):
    """Dotted names, and what they are to be; null unsets. What shapes the index counts from the next reindex on."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"changes": _CHANGES}})

    changes: Options


class NewName(BaseModel):
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


class SourceOf(BaseModel):
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
    sources: list[SourceOf]
    created_at: float


class CollectionDetail(Collection):
    outdated: list[str] = Field(description="What a reindex would bring; empty: the index is what it is to be.")


class CollectionList(BaseModel):
    collections: list[Collection]
    next_cursor: str | None = None


class Renamed(BaseModel):
    id: int
    name: str
    before: str


class Deleted(BaseModel):
    """It is hidden at once. `purged`: it is gone for good; else it rests in the trash."""

    id: int
    name: str
    purged: bool


class Restored(BaseModel):
    name: str
    operation: int | None = Field(description="What goes on with what its deletion stopped; null: nothing was.")


class PlanRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"changes": _CHANGES}})

    changes: Options = Field({}, description="Of the configuration, by dotted names; null unsets.")


class ReindexPlan(BaseModel):
    """What is foretold of a build; nothing was written."""

    model_config = ConfigDict(extra="allow")

    collection: str
    changes: list[str]
    reasons: list[str]
    stages_changed: list[str] = Field(examples=[["chunk", "embed"]])
    documents: int
    chunks: int
    embed: int = Field(description="Texts that the model is given.")
    estimated: bool
    seconds: float | None = Field(description="Of the embedding, as far as anybody knows.")
    disk: int = Field(description="Bytes, as long as both builds are kept.")
    dimension: int


class ReindexRequest(PlanRequest):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"changes": {"chunking.max_tokens": 150}}})

    accept_losses: bool = Field(False, description="Switch although documents fail with the new configuration.")
    force: bool = Field(False, description="Build it although it would be what is there.")


class RerunRequest(BaseModel):
    """Documents to send through the stages again, within the index that is there."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"where": {"must": [{"key": "status", "match": {"value": "quarantined"}}]}}},
    )

    where: Options = Field(description="A filter, as `reindex --where` takes it.")
    fresh: bool = Field(False, description="Parse anew what is parsed already.")


class RolledBack(BaseModel):
    collection: str
    generation: int = Field(description="What search reads now.")
    replaced: int = Field(description="What it read before, kept in its place.")
    behind: int = Field(description="Documents that the stages have yet to bring up to date there.")


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


class Trash(BaseModel):
    """What was deleted and can be restored."""

    days: float = Field(description="How long it stays.")
    collections: list[TrashedCollection]
    sources: list[TrashedSource]
    documents: list[TrashedDocument] = Field(description="The oldest 1,000 at most.")
