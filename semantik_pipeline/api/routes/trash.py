"""The trash: list it, and restore a source. Collections and documents are restored by their own routes."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Response

from semantik_pipeline import trash
from semantik_pipeline.api import pages
from semantik_pipeline.api.accepted import ACCEPTED, accepted
from semantik_pipeline.api.dependencies import Reader, TheRuntime, Writer
from semantik_pipeline.api.models.collections import TrashList
from semantik_pipeline.api.models.operations import OperationAccepted
from semantik_pipeline.api.models.plain import FilterText
from semantik_pipeline.api.problems import documented
from semantik_pipeline.api.routing import guarded
from semantik_pipeline.trash import KINDS

router = guarded("trash")


@router.get("/trash", operation_id="trash_list", summary="List deleted items that can be restored, oldest first.")
def show(
    runtime: TheRuntime,
    caller: Reader,
    collection: Annotated[FilterText | None, Query(description="Only this collection and its contents.")] = None,
    limit: pages.Limit = 100,
    cursor: pages.Cursor = None,
) -> TrashList:
    if collection is not None:
        caller.require("reader", collection)
    after = pages.decode(cursor, int, float, int)
    # rows have no principals here, so a caller with principals sees no documents at all
    kinds = [kind for kind in KINDS if kind != "documents" or caller.principals is None]
    found = trash.page(
        runtime,
        limit=limit + 1,
        after=(after[0], after[1], after[2]) if after else None,
        among=[collection] if collection is not None else caller.collections,
        kinds=kinds,
    )
    page, following = pages.cut(found, limit, lambda one: (KINDS.index(one[0]), one[1]["trashed_at"], one[1]["id"]))
    rows = {kind: [row for one, row in page if one == kind] for kind in KINDS}
    return TrashList.model_validate(
        {**rows, "retention_days": runtime.settings.retention.trash_days, "next_cursor": following}
    )


@router.post(
    "/sources/{source_id}/restore",
    operation_id="sources_restore",
    summary="Restore a source and its documents.",
    responses=documented(404, 409),
    **ACCEPTED,
)
def restore(runtime: TheRuntime, caller: Writer, source_id: pages.Number, response: Response) -> OperationAccepted:
    row = trash.source(runtime, source_id, among=caller.collections)
    caller.require("writer", row["collection"])
    return accepted(runtime, response, trash.restore_source(runtime, row))
