"""Turns errors into problem documents (RFC 9457). The type of an error determines the status."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from semantik_pipeline import errors
from semantik_pipeline.api.scrubbed import ScrubbedText
from semantik_pipeline.errors import PipelineError, TransientError

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

#: Maps types of errors to statuses. A type that is not listed has the status of its base class.
STATUSES: dict[type[PipelineError], int] = {
    errors.PipelineError: 500,
    errors.TransientError: 503,
    errors.PermanentError: 422,
    errors.SkipDocument: 422,
    errors.DocumentGone: 404,
    errors.PluginError: 503,
    errors.PluginConfigError: 422,
    errors.PluginNotFoundError: 404,
    errors.SettingsError: 500,
    errors.StateFileError: 503,
    errors.UsageError: 422,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.ChangedMeanwhile: 412,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.SchemaMismatch: 503,
    errors.DataFolderInUse: 503,
    errors.StorageFull: 507,
    errors.WorkerUnfit: 503,
    errors.LeaseLost: 409,
    errors.FingerprintMismatch: 503,
}

#: What a caller is told about an internal error. The log has the details under the same request id.
INSIDE = "An internal error occurred. The server's log has the details under this request id."

#: Seconds after which a caller should retry a request that failed because a server is unavailable.
RETRY_AFTER = 5


class FieldError(BaseModel):
    """An invalid field of a request."""

    field: str = Field(
        examples=["body.top_k"], description="Path of the field; it starts with body, query, path or header."
    )
    message: ScrubbedText = Field(examples=["Input should be greater than or equal to 1"])


class Problem(BaseModel):
    """Why a request failed (RFC 9457)."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "urn:semantik:problem:NotFound",
                "title": "Not Found",
                "status": 404,
                "detail": "There is no collection 'papers'.",
                "hint": "There are: default.",
                "request_id": "9f2c51d0a7b84e1c",
            }
        }
    )

    type: str = Field(
        description="`urn:semantik:problem:` followed by the type of the error (docs/operations.md lists the types)."
    )
    title: str = Field(description="The status as text.")
    status: int
    detail: ScrubbedText = Field(description="What went wrong.")
    hint: ScrubbedText | None = Field(None, description="What to do about it.")
    request_id: str | None = Field(None, description="Id of the request in the server's log.")
    errors: list[FieldError] | None = Field(None, description="All invalid fields, if the request is invalid.")


def install(app: FastAPI) -> None:
    """Answer every error of the application with a problem document."""
    app.add_exception_handler(PipelineError, _of_ours)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(RequestValidationError, _of_validation)


def status_of(error: PipelineError) -> int:
    return next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)


def response(
    status: int,
    detail: str,
    *,
    kind: str = "Problem",
    hint: str | None = None,
    request_id: str | None = None,
    faults: list[FieldError] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """A problem document."""
    problem = Problem(
        type=f"urn:semantik:problem:{kind}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        hint=hint,
        request_id=request_id,
        errors=faults,
    )
    content = problem.model_dump(exclude_none=True)
    return JSONResponse(content, status_code=status, media_type=MEDIA_TYPE, headers=dict(headers or {}))


def inside(request_id: str | None) -> JSONResponse:
    """The answer to an unexpected error."""
    return response(500, INSIDE, kind="InternalError", request_id=request_id)


def _of_ours(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, PipelineError)
    status = status_of(error)
    if status == 500:
        log.error("%s: %s", type(error).__name__, error, exc_info=error)
        return inside(id_of(request))
    headers: dict[str, str] = {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    elif status == 503:
        seconds = error.retry_after if isinstance(error, TransientError) else None
        headers["Retry-After"] = str(max(1, math.ceil(seconds or RETRY_AFTER)))
    kind, told, hint = type(error).__name__, error.message or type(error).__name__, error.hint
    if isinstance(error, errors.NotFound):
        caller = getattr(request.state, "caller", None)
        hint = error.hint_among(caller.collections if caller else None)
    return response(status, told, kind=kind, hint=hint, request_id=id_of(request), headers=headers)


def _of_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    detail = error.detail
    if error.status_code == 404 and detail == HTTPStatus.NOT_FOUND.phrase:
        detail = f"There is nothing at {request.url.path}."
    elif error.status_code == 405:
        detail = f"{request.url.path} does not support the method {request.method}."
    kind = HTTPStatus(error.status_code).phrase.replace(" ", "")
    return response(error.status_code, detail, kind=kind, request_id=id_of(request), headers=error.headers)


def _of_validation(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    # the values that were sent are not repeated: one of them may be a secret in the wrong field
    faults = [FieldError(field=".".join(map(str, one["loc"])), message=str(one["msg"])) for one in error.errors()]
    told = f"{faults[0].field}: {faults[0].message}" if faults else "it does not match the schema"
    return response(
        422, f"The request is invalid: {told}.", kind="InvalidRequest", request_id=id_of(request), faults=faults
    )


def id_of(request: Request) -> str | None:
    return getattr(request.state, "request_id", None)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` option of a route that may return these problems."""
    return {status: described(status) for status in statuses}


def described(status: int) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: {"schema": schema}}}
