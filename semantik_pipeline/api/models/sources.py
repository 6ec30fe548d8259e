"""Sources: where documents come from, when they are synced, whether that works."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from semantik_pipeline.api.models.plain import Line, Name, Options
from semantik_pipeline.api.scrubbed import ScrubbedObject, ScrubbedText


class SourceSchedule(BaseModel):
    """A schedule: an interval, or a cron expression."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"every": "15m"}})

    every: str | None = Field(None, examples=["15m"], max_length=100)
    cron: str | None = Field(None, examples=["0 3 * * *"], max_length=200)
    timezone: str | None = Field(None, examples=["Europe/Berlin"], max_length=100)
    jitter: str | None = Field(None, examples=["30s"], max_length=100)


class SourceCreate(BaseModel):
    """A source to add. The collection is made if there is none."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "connector": "directory",
                "name": "handbook",
                "collection": "default",
                "config": {"path": "/srv/handbook"},
                "schedule": {"every": "15m"},
            }
        },
    )

    connector: Name
    name: Line = Field(description="Name of the source.")
    collection: Name = "default"
    config: Options = Field({}, description="The connector's options: `GET /connectors` lists them.")
    schedule: SourceSchedule | None = Field(None, description="null: synced only on request.")
    weight: float = Field(
        1.0, gt=0, allow_inf_nan=False, description="Share of the workers, relative to other sources (default 1)."
    )
    principals: list[Name] | None = Field(
        None, description="Users or groups that may see the documents; null: everybody."
    )


class SourceUpdate(BaseModel):
    """What is to be otherwise; what is left out stays. `schedule: null` ends the schedule."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"schedule": {"cron": "0 3 * * *"}}})

    name: Line | None = None
    config: Options | None = Field(None, description="Replaces all options.")
    schedule: SourceSchedule | None = None
    weight: float | None = Field(None, gt=0, allow_inf_nan=False)
    principals: list[Name] | None = Field(
        None, description="Users or groups that may see the documents; null: everybody."
    )


class Source(BaseModel):
    """A source as it is. Times are seconds since 1970."""

    id: int
    name: str = Field(examples=["handbook"])
    connector: str = Field(examples=["directory"])
    collection: str = Field(examples=["default"])
    state: str = Field(
        examples=["idle"],
        description="idle, due, waiting, running, retrying, failing, paused, removing, or in the trash",
    )
    config: dict[str, Any] = Field(examples=[{"path": "/srv/handbook"}], description="Without secrets.")
    etag: str = Field(description="Of name, config, schedule, weight and principals; for `If-Match`.")
    schedule: dict[str, Any] | None = Field(examples=[{"every": 900.0}])
    weight: float
    documents: int
    quarantined: int
    due_at: float | None
    synced_at: float | None
    paused: ScrubbedText | None = Field(description="Why it is paused; null: it is not.")
    operation: int | None = Field(description="The running sync.")
    error: ScrubbedObject | None = Field(description="Of the last sync that failed: type, message, at.")
    problems: list[ScrubbedText] | None = Field(description="What the last enumeration could not read.")
    principals: list[str] | None = Field(description="Users or groups that may see the documents; null: everybody.")
    faults: int = Field(description="Consecutive failed syncs.")
    attempts: int = Field(description="Of the slice in hand.")
    retry_at: float | None = Field(description="When that is tried again.")
    removed_at: float | None
    created_at: float


class SourceList(BaseModel):
    sources: list[Source]
    next_cursor: str | None = None


class SyncRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"full": False}})

    full: bool = Field(False, description="List the whole source again, not only changes.")
    allow_deletions: bool = Field(False, description="Delete even if most of the documents have disappeared.")


class SourcePauseRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"reason": "the server moves"}})

    reason: Line = Field("paused by hand", description="Reason, shown in listings.")


class SourceResumeRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"allow_deletions": False}})

    allow_deletions: bool = Field(False, description="Sync now, and delete the documents that have disappeared.")


class SourcePreviewRequest(BaseModel):
    """A source that nobody has added yet."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"connector": "directory", "config": {"path": "/srv/handbook"}, "limit": 5}},
    )

    connector: Name
    config: Options = {}
    collection: Name = Field("default", description="Collection it would be added to.")
    limit: int = Field(10, ge=1, le=50)
    seconds: float = Field(10.0, gt=0, le=30, description="How long to look.")


class PreviewDocument(BaseModel):
    document: str = Field(examples=["file:///srv/handbook/travel.md"])
    size: int | None
    media_type: str | None
    metadata: dict[str, Any]
    text: str | None = Field(description="Its beginning, if it is text.")
    problem: ScrubbedText | None = Field(description="Why it could not be had.")


class SourcePreview(BaseModel):
    """What a source would emit first. Nothing was stored."""

    documents: list[PreviewDocument]
    complete: bool = Field(description="Whether these are all.")
    stopped: Literal["limit", "time"] | None
