"""Sources of documents, and their schedules."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from semantik_pipeline.api.models.plain import Line, Name, Options
from semantik_pipeline.api.scrubbed import ScrubbedObject, ScrubbedText


class SourceSchedule(BaseModel):
    """A schedule: an interval, or a cron expression."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"every": "15m"}})

    every: str | None = Field(None, examples=["15m"], max_length=100, description="Interval, such as 15m.")
    cron: str | None = Field(
        None, examples=["0 3 * * *"], max_length=200, description="Cron expression; give either every or cron."
    )
    timezone: str | None = Field(None, examples=["Europe/Berlin"], max_length=100, description="Time zone of cron.")
    jitter: str | None = Field(
        None,
        examples=["30s"],
        max_length=100,
        description="Maximum delay that spreads sources with the same schedule.",
    )


class SourceCreate(BaseModel):
    """A source to add. The collection is created if it does not exist."""

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
    config: Options = Field({}, description="Options of the connector. `GET /connectors` lists them.")
    schedule: SourceSchedule | None = Field(None, description="null means that it is synced only on request.")
    weight: float = Field(
        1.0, gt=0, allow_inf_nan=False, description="Share of the workers, relative to other sources; the default is 1."
    )
    principals: list[Name] | None = Field(
        None, description="Users or groups that may see the documents; null means everybody."
    )


class SourceUpdate(BaseModel):
    """Changes to a source. `schedule: null` removes the schedule."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"schedule": {"cron": "0 3 * * *"}}})

    name: Line | None = None
    config: Options | None = Field(None, description="Replaces all options.")
    schedule: SourceSchedule | None = None
    weight: float | None = Field(None, gt=0, allow_inf_nan=False)
    principals: list[Name] | None = Field(
        None, description="Users or groups that may see the documents; null means everybody."
    )


class Source(BaseModel):
    """A source. Times are Unix timestamps."""

    id: int
    name: str = Field(examples=["handbook"])
    connector: str = Field(examples=["directory"])
    collection: str = Field(examples=["default"])
    state: str = Field(
        examples=["idle"],
        description="idle, due, waiting, running, retrying, failing, paused, removing or in the trash.",
    )
    config: dict[str, Any] = Field(
        examples=[{"path": "/srv/handbook"}], description="Options of the connector, without secrets."
    )
    etag: str = Field(description="ETag of `name`, `config`, `schedule`, `weight` and `principals`, for `If-Match`.")
    schedule: dict[str, Any] | None = Field(examples=[{"every": 900.0}])
    weight: float
    documents: int
    quarantined: int
    next_sync_at: float | None
    last_sync_at: float | None
    paused_reason: ScrubbedText | None = Field(description="Why it is paused; null if it is not.")
    operation_id: int | None = Field(description="Id of the running sync.")
    held_by: int | None = Field(description="Id of the paused operation that it waits for.")
    last_error: ScrubbedObject | None = Field(description="Type, message and time (`at`) of the last failure.")
    problems: list[ScrubbedText] | None = Field(description="What the last sync could not read.")
    principals: list[str] | None = Field(
        description="Users or groups that may see the documents; null means everybody."
    )
    consecutive_failures: int = Field(description="Number of consecutive failed syncs.")
    attempts: int = Field(description="Failed attempts of the running sync since its last checkpoint.")
    retry_at: float | None = Field(description="When the running sync is retried.")
    removed_at: float | None = Field(description="When its removal was requested.")
    created_at: float


class SourceList(BaseModel):
    """A page of sources."""

    sources: list[Source]
    next_cursor: str | None = None


class SyncRequest(BaseModel):
    """Options of a sync."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"full": False}})

    full: bool = Field(False, description="List the whole source, not only changes.")
    allow_deletions: bool = Field(
        False, description="Delete documents that have disappeared, even if they are most of the source."
    )


class SourcePauseRequest(BaseModel):
    """Why a source is paused."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"reason": "the server moves"}})

    reason: Line = Field("paused by hand", description="Reason, shown in listings.")


class SourceResumeRequest(BaseModel):
    """Options for resuming a source."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"allow_deletions": False}})

    allow_deletions: bool = Field(False, description="Sync now, and delete the documents that have disappeared.")


class SourcePreviewRequest(BaseModel):
    """A source to preview."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"connector": "directory", "config": {"path": "/srv/handbook"}, "limit": 5}},
    )

    connector: Name
    config: Options = {}
    collection: Name = Field("default", description="Collection to which the source would be added.")
    limit: int = Field(10, ge=1, le=50)
    timeout_seconds: float = Field(10.0, gt=0, le=30)


class PreviewDocument(BaseModel):
    """A document that a source would emit."""

    document: str = Field(examples=["file:///srv/handbook/travel.md"])
    size: int | None
    media_type: str | None
    metadata: dict[str, Any]
    text: str | None = Field(description="Beginning of the content, if it is text.")
    error: ScrubbedText | None = Field(description="Why it could not be read.")


class SourcePreview(BaseModel):
    """The first documents that a source would emit. Nothing is stored."""

    documents: list[PreviewDocument]
    complete: bool = Field(description="Whether these are all documents of the source.")
    stopped_by: Literal["limit", "time"] | None
