"""Sources: list, show, add, preview, change, sync, pause, resume, remove."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import Query, Request, Response

from semantik_pipeline import configurations, preview, sources
from semantik_pipeline.api import etags, pages, trusted
from semantik_pipeline.api.accepted import ACCEPTED, accepted
from semantik_pipeline.api.dependencies import Operator, Reader, TheRuntime, Writer
from semantik_pipeline.api.models.operations import OperationAccepted
from semantik_pipeline.api.models.plain import Name
from semantik_pipeline.api.models.sources import (
    Source,
    SourceCreate,
    SourceList,
    SourcePauseRequest,
    SourcePreview,
    SourcePreviewRequest,
    SourceResumeRequest,
    SourceSchedule,
    SourceUpdate,
    SyncRequest,
)
from semantik_pipeline.api.problems import documented
from semantik_pipeline.api.routing import guarded
from semantik_pipeline.contracts.auth import Principal
from semantik_pipeline.errors import Forbidden
from semantik_pipeline.ledger.ingestion import sources as ledger
from semantik_pipeline.runtime import Runtime
from semantik_pipeline.schedules import Schedule, parse_schedule

router = guarded("sources", "/sources")

NOT_THERE = documented(404)
BUSY = documented(404, 409)

#: The defaults of requests without a body.
SYNC, PAUSE, RESUME = SyncRequest(), SourcePauseRequest(), SourceResumeRequest()


@router.get("", operation_id="sources_list", summary="List sources.")
def list_sources(
    runtime: TheRuntime,
    caller: Reader,
    collection: Annotated[Name | None, Query(description="Only this collection.")] = None,
    limit: pages.Limit = 100,
    cursor: pages.Cursor = None,
) -> SourceList:
    if collection is not None:
        caller.require("reader", collection)
    after = pages.decode(cursor, str, str, int)
    among = [collection] if collection is not None else caller.collections
    with runtime.ledger.read() as tx:
        found = ledger.page(tx, limit=limit + 1, among=among, after=after)  # type: ignore[arg-type]
    page, following = pages.cut(found, limit, lambda row: (row["collection"], row["name"], row["id"]))
    return SourceList(sources=[_source(runtime, row, caller) for row in page], next_cursor=following)


@router.post(
    "",
    operation_id="sources_add",
    summary="Add a source. With an interval it is synced at once; otherwise when its cron schedule is due, or on "
    "request.",
    status_code=201,
    responses=documented(404, 409),
)
def add(request: Request, runtime: TheRuntime, caller: Operator, new: SourceCreate, response: Response) -> Source:
    trusted.check(runtime.settings, new.config, new.connector, anywhere=trusted.is_owner(request, caller))
    added = sources.add(
        runtime,
        sources.NewSource(
            connector=new.connector,
            name=new.name,
            config=new.config,
            schedule=_schedule(runtime, new.schedule),
            weight=new.weight,
            principals=new.principals,
        ),
        collection=new.collection,
    )
    response.headers["Location"] = f"/api/v2/sources/{added['id']}"
    return _tagged(response, _source(runtime, added))


@router.post(
    "/preview",
    operation_id="sources_preview",
    summary="Preview the first documents of a source before adding it. Nothing is stored.",
    responses=documented(404),
)
def look(request: Request, runtime: TheRuntime, caller: Operator, asked: SourcePreviewRequest) -> SourcePreview:
    trusted.check(runtime.settings, asked.config, asked.connector, anywhere=trusted.is_owner(request, caller))
    found = preview.preview(runtime, asked.connector, asked.config, limit=asked.limit, seconds=asked.timeout_seconds)
    return SourcePreview.model_validate(asdict(found))


@router.get("/{source_id}", operation_id="sources_show", summary="Show a source.", responses=NOT_THERE)
def show(runtime: TheRuntime, caller: Reader, source_id: pages.Number, response: Response) -> Source:
    return _tagged(response, _source(runtime, _found(runtime, caller, "reader", source_id), caller))


@router.patch(
    "/{source_id}",
    operation_id="sources_update",
    summary="Change a source. Indexed documents are kept. Changed options apply from the next sync and require the role"
    " admin.",
    responses=documented(404, 409, 412),
)
def change(
    request: Request,
    runtime: TheRuntime,
    caller: Writer,
    source_id: pages.Number,
    new: SourceUpdate,
    response: Response,
    if_match: etags.IfMatch = None,
) -> Source:
    found = _found(runtime, caller, "writer", source_id)
    tag = etags.require(if_match, sources.configuration(runtime, found))
    if new.config is not None:
        caller.require("admin")
        trusted.check(runtime.settings, new.config, found["connector"], anywhere=trusted.is_owner(request, caller))
    values: dict[str, Any] = {
        name: getattr(new, name) for name in ("name", "config", "weight") if getattr(new, name) is not None
    }
    if "principals" in new.model_fields_set:
        if caller.principals is not None:
            raise Forbidden(
                "A caller that sees only some documents cannot change who may see the documents of a source."
            )
        values["principals"] = new.principals
    if "schedule" in new.model_fields_set:
        values["schedule"] = _schedule(runtime, new.schedule)
    return _tagged(response, _source(runtime, sources.change(runtime, found, if_match=tag, **values)))


@router.post("/{source_id}/sync", operation_id="sources_sync", summary="Sync a source now.", responses=BUSY, **ACCEPTED)
def sync(
    runtime: TheRuntime, caller: Writer, source_id: pages.Number, response: Response, asked: SyncRequest = SYNC
) -> OperationAccepted:
    found = _found(runtime, caller, "writer", source_id)
    operation = sources.sync(runtime, found, full=asked.full, allow_deletions=asked.allow_deletions)
    return accepted(runtime, response, operation)


@router.post("/{source_id}/pause", operation_id="sources_pause", summary="Pause a source.", responses=BUSY)
def pause(runtime: TheRuntime, caller: Writer, source_id: pages.Number, asked: SourcePauseRequest = PAUSE) -> Source:
    return _source(runtime, sources.pause(runtime, _found(runtime, caller, "writer", source_id), asked.reason))


@router.post("/{source_id}/resume", operation_id="sources_resume", summary="Resume a paused source.", responses=BUSY)
def resume(runtime: TheRuntime, caller: Writer, source_id: pages.Number, asked: SourceResumeRequest = RESUME) -> Source:
    found = _found(runtime, caller, "writer", source_id)
    sources.resume(runtime, found, allow_deletions=asked.allow_deletions)
    return _source(runtime, _found(runtime, caller, "writer", source_id))


@router.delete(
    "/{source_id}",
    operation_id="sources_remove",
    summary="Remove a source and its documents. They are moved to the trash unless `purge` is set.",
    responses=BUSY,
    **ACCEPTED,
)
def remove(
    runtime: TheRuntime,
    caller: Writer,
    source_id: pages.Number,
    response: Response,
    purge: Annotated[bool, Query(description="Delete permanently.")] = False,
) -> OperationAccepted:
    found = _found(runtime, caller, "writer", source_id)
    return accepted(runtime, response, sources.remove(runtime, found, purge=purge))


def _found(runtime: Runtime, caller: Principal, role: str, source_id: int) -> dict[str, Any]:
    """The source. Raises an error unless it is in one of the caller's collections, and the caller has the role
    there."""
    with runtime.ledger.read() as tx:
        found = ledger.get_source(tx, source_id, among=caller.collections)
    caller.require(role, found["collection"])
    return found


def _source(runtime: Runtime, row: dict[str, Any], caller: Principal | None = None) -> Source:
    """The source as this caller may see it. Secrets in its configuration are redacted. For a caller with principals,
    texts that may name other documents are left out, and so are principals that the caller does not have."""
    if caller is not None and caller.principals is not None:
        mine = None if row["principals"] is None else sorted({*caller.principals} & {*row["principals"]})
        row = {**row, "last_error": None, "problems": None, "principals": mine}
    configuration = sources.configuration(runtime, row)
    shown = {"config": configuration["config"], "etag": configurations.etag(configuration)}
    return Source.model_validate({**row, **shown})


def _tagged(response: Response, source: Source) -> Source:
    response.headers["ETag"] = etags.quoted(source.etag)
    return source


def _schedule(runtime: Runtime, when: SourceSchedule | None) -> Schedule | None:
    if when is None:
        return None
    zone = runtime.settings.schedule.timezone
    return parse_schedule(when.every, when.cron, when.timezone, when.jitter, default_zone=zone)
