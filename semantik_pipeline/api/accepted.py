"""The 202 answer of requests that start an operation: it names the operation and where to follow it."""

from __future__ import annotations

from typing import Any

from fastapi import Response

from semantik_pipeline.api.models.operations import OperationAccepted
from semantik_pipeline.ledger.operations import operation_reports
from semantik_pipeline.runtime import Runtime

#: Options of a route that answers this way: ``@router.post(..., **ACCEPTED)``.
ACCEPTED: dict[str, Any] = {"status_code": 202, "response_description": "Started: follow the operation at `Location`."}


def accepted(runtime: Runtime, response: Response, operation_id: int) -> OperationAccepted:
    """The answer of a route that has started an operation. Sets the status and ``Location`` of ``response``."""
    with runtime.ledger.read() as tx:
        name = operation_reports.name(tx, operation_id)
    response.status_code = 202
    response.headers["Location"] = f"/api/v2/operations/{operation_id}"
    return OperationAccepted(operation=name, id=operation_id)
