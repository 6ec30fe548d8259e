"""Operations: list, show, follow, pause, resume, cancel, retry."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Annotated, Any

from fastapi import Header, Path, Query, Request, Response

from semantik_pipeline import operations
from semantik_pipeline.api import idempotency, pages, streams
from semantik_pipeline.api.accepted import ACCEPTED, accepted
from semantik_pipeline.api.dependencies import Reader, TheRuntime, Writer
from semantik_pipeline.api.models.operations import (
    Operation,
    OperationAccepted,
    OperationActionResult,
    OperationDetail,
    OperationList,
    OperationProgress,
    UnfinishedWork,
)
from semantik_pipeline.api.models.plain import FilterText
from semantik_pipeline.api.problems import documented
from semantik_pipeline.api.routing import guarded
from semantik_pipeline.contracts.auth import Principal
from semantik_pipeline.ledger.operations import operation_reports, outcomes
from semantik_pipeline.runtime import Runtime

router = guarded("operations", "/operations")

NOT_THERE = documented(404)

OperationId = Annotated[
    str, Path(description="Name of the operation, such as `sync-12`, or its number.", max_length=60)
]


@router.get("", operation_id="operations_list", summary="List operations, newest first.")
def list_operations(
    runtime: TheRuntime,
    caller: Reader,
    collection: Annotated[FilterText | None, Query(description="Only this collection.")] = None,
    kind: Annotated[FilterText | None, Query(description="Only this kind, such as sync, push or reindex.")] = None,
    finished: Annotated[
        bool | None, Query(description="true lists only finished operations, false only unfinished ones.")
    ] = None,
    limit: pages.Limit = 50,
    cursor: pages.Cursor = None,
) -> OperationList:
    if collection is not None:
        caller.require("reader", collection)
    among = [collection] if collection is not None else caller.collections
    before = pages.decode(cursor, int)
    with runtime.ledger.read() as tx:
        found = operation_reports.page(
            tx,
            workers=operations.living(runtime, tx),
            limit=limit + 1,
            before=before[0] if before else None,
            collections_=among,
            kind=kind,
            ended=finished,
        )
    page, following = pages.cut(found, limit, lambda row: (row["id"],))
    return OperationList(operations=[_operation(row, caller) for row in page], next_cursor=following)


@router.get(
    "/{operation}", operation_id="operations_show", summary="Show an operation with its progress.", responses=NOT_THERE
)
def show(runtime: TheRuntime, caller: Reader, operation: OperationId) -> OperationDetail:
    row = _allowed(runtime, caller, "reader", operation)
    with runtime.ledger.read() as tx:
        problems = outcomes.problems(tx, row["id"])
        left = operation_reports.unfinished(tx, row["id"])
    return OperationDetail(
        **_operation(row, caller).model_dump(),
        progress=_progress(runtime, row, caller),
        problems=problems if caller.principals is None else [],
        unfinished=UnfinishedWork(
            quarantined=left.quarantined,
            parked=left.parked,
            sources=len(left.sources),
            rerun=left.rerun is not None,
        ),
    )


@router.get(
    "/{operation}/events",
    operation_id="operations_events",
    summary="Follow an operation with server-sent events: `progress` for each change, and `finished` at the end.",
    response_class=Response,
    responses={
        200: {
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
            "description": "Events until the operation has finished. The stream may end earlier; reconnect then.",
        },
        204: {"description": "The operation has finished and you have received that event: do not reconnect."},
        **NOT_THERE,
    },
)
async def events(
    request: Request,
    runtime: TheRuntime,
    caller: Reader,
    operation: OperationId,
    last_event_id: Annotated[
        str | None, Header(alias="Last-Event-ID", max_length=100, description="Id of the last event received.")
    ] = None,
) -> Response:
    quick = partial(request.app.state.threads.run, "quick")
    row = await quick(_allowed, runtime, caller, "reader", operation)
    if row["state"] == "finished" and last_event_id is not None:
        snapshot = await quick(_progress, runtime, row, caller)
        if streams.mark_of(snapshot) == last_event_id:
            return Response(status_code=204)
    found: streams.Streams = request.app.state.streams
    shown = "some" if caller.principals is not None else "all"
    look = partial(_progress, runtime, row, caller)
    return found.open((row["id"], shown), look, last_event_id, caller=caller.name)


@router.post(
    "/{operation}/pause",
    operation_id="operations_pause",
    summary="Pause an operation.",
    responses=documented(404, 409),
)
def pause(runtime: TheRuntime, caller: Writer, operation: OperationId) -> OperationActionResult:
    return _steered(runtime, caller, operation, operations.pause)


@router.post(
    "/{operation}/resume",
    operation_id="operations_resume",
    summary="Resume a paused operation.",
    responses=documented(404, 409),
)
def resume(runtime: TheRuntime, caller: Writer, operation: OperationId) -> OperationActionResult:
    return _steered(runtime, caller, operation, operations.resume)


@router.post(
    "/{operation}/cancel",
    operation_id="operations_cancel",
    summary="Cancel an operation. Its unfinished documents can be retried.",
    responses=documented(404, 409),
)
def cancel(runtime: TheRuntime, caller: Writer, operation: OperationId) -> OperationActionResult:
    return _steered(runtime, caller, operation, operations.cancel)


@router.post(
    "/{operation}/retry",
    operation_id="operations_retry",
    summary="Retry what a finished operation left unfinished, as a new operation.",
    responses=documented(404, 409),
    **ACCEPTED,
)
def retry(
    request: Request,
    runtime: TheRuntime,
    caller: Writer,
    operation: OperationId,
    response: Response,
    key: idempotency.Key = None,
) -> OperationAccepted:
    row = _allowed(runtime, caller, "writer", operation)

    def act() -> OperationAccepted:
        return accepted(runtime, response, operations.retry(runtime, row["id"]))

    return idempotency.once(request, caller, key, None, OperationAccepted, response, act)


def _allowed(runtime: Runtime, caller: Principal, role: str, name: str) -> dict[str, Any]:
    """The operation with this name (``sync-12``) or number. Raises an error unless it is in one of the caller's
    collections, and the caller has the role there."""
    with runtime.ledger.read() as tx:
        operation_id = operation_reports.find(tx, name, among=caller.collections)
        row = operation_reports.show_operation(tx, operation_id, workers=operations.living(runtime, tx))
    caller.require(role, row["collection"])
    return row


def _steered(runtime: Runtime, caller: Principal, name: str, steer: Any) -> OperationActionResult:
    row = _allowed(runtime, caller, "writer", name)
    affected = steer(runtime, row["id"])
    return OperationActionResult(
        operation=_operation(_allowed(runtime, caller, "writer", name), caller), affected_documents=affected
    )


def _operation(row: dict[str, Any], caller: Principal) -> Operation:
    """The operation as this caller may see it. For a caller with principals, texts that may name other documents are
    left out."""
    found = Operation.model_validate(row)
    if caller.principals is None:
        return found
    parts = [part.model_copy(update={"error": None}) for part in found.sources]
    return found.model_copy(update={"reason": None, "sources": parts, "result": _counts(found.result)})


def _counts(result: dict[str, Any] | None) -> dict[str, Any] | None:
    """Only the numbers of a result, because any text in it may name something that this caller may not see."""
    if result is None:
        return None
    numbers = {name: value for name, value in result.items() if isinstance(value, int | float)}
    return numbers | {name: _counts(value) for name, value in result.items() if isinstance(value, dict)}


def _progress(runtime: Runtime, row: dict[str, Any], caller: Principal) -> OperationProgress:
    found = operations.look(runtime, row["id"])
    values = {**asdict(found), "operation": row["operation"], "seconds": round(found.age, 1)}
    if caller.principals is not None:
        values |= {"reason": None, "errors": [], "result": _counts(found.result)}
    return OperationProgress.model_validate(values)
