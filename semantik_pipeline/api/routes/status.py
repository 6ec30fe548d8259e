"""The status of the whole installation, and the audit log."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from semantik_pipeline.api import pages
from semantik_pipeline.api.dependencies import Operator, Reader, TheRuntime
from semantik_pipeline.api.models.status import AuditLog, SystemStatus
from semantik_pipeline.api.routing import guarded
from semantik_pipeline.disk import disk_use
from semantik_pipeline.errors import Forbidden
from semantik_pipeline.ledger.access import audit_trail
from semantik_pipeline.ledger.documents import document_reports

router = guarded("status")


@router.get("/status", operation_id="status", summary="Show collections, backlog and disk use.")
def show(runtime: TheRuntime, caller: Reader) -> SystemStatus:
    if caller.collections is not None or caller.principals is not None:  # it counts all collections
        raise Forbidden("Only callers that may see all collections and documents may see the status.")
    with runtime.ledger.read() as tx:
        found = document_reports.totals(tx)
    folder = str(runtime.settings.data_dir)
    return SystemStatus.model_validate(
        {"data_dir": folder, "owner": runtime.owner(), **found, "disk": disk_use(runtime)}
    )


@router.get("/audit", operation_id="audit_list", summary="Show the audit log, newest first.")
def audit(
    runtime: TheRuntime,
    caller: Operator,
    limit: pages.Limit = 50,
    max_age_seconds: Annotated[
        float | None, Query(gt=0, le=1e10, description="Only entries of this age or newer.")
    ] = None,
    cursor: pages.Cursor = None,
) -> AuditLog:
    after = pages.decode(cursor, float, int)
    with runtime.ledger.read() as tx:
        found = audit_trail.entries(tx, limit=limit + 1, since=max_age_seconds, after=after)  # type: ignore[arg-type]
    page, following = pages.cut(found, limit, lambda row: (row["at"], row["id"]))
    return AuditLog.model_validate({"entries": page, "next_cursor": following})
