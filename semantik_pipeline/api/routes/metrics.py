"""Metrics for Prometheus: those of this process, and those of the whole fleet from the ledger."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request, Response

from semantik_pipeline.api.dependencies import Allowed, TheRuntime
from semantik_pipeline.api.routing import guarded
from semantik_pipeline.contracts.auth import Principal

router = guarded("health")

TEXT = "text/plain; version=0.0.4; charset=utf-8"

#: Any reader, or everybody if ``api.public_metrics`` is set.
Scraper = Annotated[Principal | None, Depends(Allowed("reader", unless=lambda settings: settings.api.public_metrics))]


@router.get(
    "/metrics",
    operation_id="metrics",
    summary="Show metrics in Prometheus' text format.",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def metrics(runtime: TheRuntime, caller: Scraper, request: Request) -> Response:
    from prometheus_client import generate_latest

    from workers.metrics import FleetCollector, ProcessCollector, registry_of

    state = request.app.state
    if not hasattr(state, "metrics"):
        state.metrics = registry_of([ProcessCollector(runtime), FleetCollector(runtime)])
    return Response(generate_latest(state.metrics), media_type=TEXT)
