"""The OpenAPI document. It adds to FastAPI's own document who may call each operation, and every problem that it may
return."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel

from semantik_pipeline.api.problems import MEDIA_TYPE, Problem, described
from semantik_pipeline.api.routing import GuardedRoute

#: Statuses of problems that every route may return, guarded routes, and routes with a body.
_ALL, _GUARDED, _BODY = (500, 503), (401, 403, 422, 429), (400, 408, 413, 507)

SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer KEY`"},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}

_ABOUT = """\
Every response has an `X-Request-Id`. Errors are problem documents (RFC 9457). Lists are paginated: pass `next_cursor`
as `cursor` to get the next page. Long-running work is answered with 202 and an operation, which you can follow at
`Location`. `x-role` is the role that an API operation requires: reader < writer < admin.
"""


def install(app: FastAPI, prefix: str, routers: Sequence[APIRouter]) -> None:
    """Make the application serve the OpenAPI document of these routers."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app, prefix, routers)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _document(app: FastAPI, prefix: str, routers: Sequence[APIRouter]) -> dict[str, Any]:
    found = get_openapi(
        title=app.title, version=app.version, summary=app.summary, description=_ABOUT, routes=app.routes
    )
    components = found.setdefault("components", {})
    components["securitySchemes"] = SECURITY
    schemas = components.setdefault("schemas", {})
    schemas |= _schemas(Problem)
    for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's own form of a 422, which this API does not use
        schemas.pop(name, None)
    for route in (route for router in routers for route in router.routes):
        assert isinstance(route, APIRoute)
        for method in route.methods if route.include_in_schema else ():
            _complete(found["paths"][f"{prefix}{route.path_format}"][method.lower()], route)
    return found


def _complete(operation: dict[str, Any], route: APIRoute) -> None:
    """Add who may call the operation, and the responses that its route does not declare."""
    responses, statuses = operation["responses"], [*_ALL]
    if "422" in responses and MEDIA_TYPE not in responses["422"].get("content", {}):
        del responses["422"]
        statuses.append(422)
    if isinstance(route, GuardedRoute):
        statuses += _GUARDED
        operation["security"] = [{name: []} for name in SECURITY]
        operation["x-role"] = route.rule.role
        operation["x-everywhere"] = route.rule.everywhere
    statuses += _BODY if "requestBody" in operation else ()
    for status in statuses:
        responses.setdefault(str(status), described(status))
    operation["responses"] = dict(sorted(responses.items()))
    for answer in operation["responses"].values():
        answer.setdefault("headers", {})["X-Request-Id"] = {"schema": {"type": "string"}}


def _schemas(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    inner = schema.pop("$defs", {})
    return {**inner, model.__name__: schema}
