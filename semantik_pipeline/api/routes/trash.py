"""The trash: what is there, and bringing back a source. Collections and documents come back by their own routes."""

from __future__ import annotations

from typing import Any

from fastapi import Response

from semantik_pipeline import trash
from semantik_pipeline.api import pages
from semantik_pipeline.api.accepted import ACCEPTED, accepted
from semantik_pipeline.api.dependencies import Reader, TheRuntime, Writer
from semantik_pipeline.api.models.collections import Trash
from semantik_pipeline.api.models.operations import Accepted
from semantik_pipeline.api.problems import documented
from semantik_pipeline.api.routing import guarded
from semantik_pipeline.contracts.auth import Principal
from semantik_pipeline.errors import NotFound

router = guarded("trash")

#: Documents of the trash that are listed.
LISTED = 1000


@router.get("/trash", operation_id="trash_list", summary="What was deleted and can be restored.")
def show(runtime: TheRuntime, caller: Reader) -> Trash:
    found = trash.contents(runtime, limit=LISTED)
    return Trash(
        days=found["days"],
        collections=[row for row in found["collections"] if caller.may("reader", row["name"])],
        sources=_visible(caller, found["sources"]),
        # whose documents they are is not told here, so who sees some documents only is shown none
        documents=_visible(caller, found["documents"]) if caller.principals is None else [],
    )


@router.post(
    "/sources/{source_id}/restore",
    operation_id="sources_restore",
    summary="Bring back a source with the documents that went with it.",
    responses=documented(404, 409),
    **ACCEPTED,
)
def restore(runtime: TheRuntime, caller: Writer, source_id: pages.Number, response: Response) -> Accepted:
    for row in trash.contents(runtime, limit=1)["sources"]:
        if row["id"] == source_id:
            caller.require("writer", row["collection"])
            return accepted(runtime, response, trash.restore_source(runtime, row))
    raise NotFound(f"There is no source {source_id} in the trash.", "`GET /trash` lists what is there.")


def _visible(caller: Principal, rows: list[dict[str, Any]]) -> list[Any]:
    return [row for row in rows if caller.may("reader", row["collection"])]
