"""Health checks for load balancers and orchestrators. They require no key, so they reveal nothing confidential."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request, Response

from semantik_pipeline.api.dependencies import TheRuntime
from semantik_pipeline.api.models.health import Liveness, Readiness
from semantik_pipeline.errors import PipelineError
from semantik_pipeline.runtime import Runtime

log = logging.getLogger(__name__)

router = APIRouter(tags=["health"], prefix="/health")


@router.get("/live", operation_id="health_live", summary="Check that the process answers.")
async def live() -> Liveness:
    return Liveness()


@router.get(
    "/ready",
    operation_id="health_ready",
    summary="Check that requests can be answered: the database and its schema, the plugins, and the store.",
    responses={503: {"model": Readiness, "description": "A check failed. The server's log has the details."}},
)
async def ready(request: Request, runtime: TheRuntime, response: Response) -> Readiness:
    found = await request.app.state.threads.run("health", _found, runtime)
    good = all(answer == "ok" for answer in found.values())
    response.status_code = 200 if good else 503
    return Readiness(status="ready" if good else "not ready", checks=found)


def _found(runtime: Runtime) -> dict[str, str]:
    checks: dict[str, Callable[[Runtime], Any]] = {
        "ledger": _ask_ledger,
        "plugins": lambda runtime: runtime.host,
        "store": lambda runtime: runtime.host.call(runtime.store.has_index, "any"),  # any answer means that it works
    }
    return {name: _checked(runtime, name, check) for name, check in checks.items()}


def _ask_ledger(runtime: Runtime) -> None:
    from semantik_pipeline.ledger.queue import workers

    with runtime.ledger.read() as tx:
        workers.living(tx)


def _checked(runtime: Runtime, name: str, check: Callable[[Runtime], Any]) -> str:
    try:
        check(runtime)
    except PipelineError as error:
        log.warning("Not ready, %s: %s", name, error)
        return type(error).__name__
    except Exception as error:
        log.exception("Not ready, %s", name)
        return type(error).__name__
    return "ok"
