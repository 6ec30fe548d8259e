"""The fleet: show the workers; drain, resume and restart them."""

from __future__ import annotations

from semantik_pipeline import fleet
from semantik_pipeline.api.dependencies import Operator, Reader, TheRuntime
from semantik_pipeline.api.models.fleet import FleetCommand, FleetCommandRequest, FleetStatus
from semantik_pipeline.api.routing import guarded
from semantik_pipeline.errors import Forbidden
from semantik_pipeline.runtime import Runtime

router = guarded("fleet", "/fleet")

#: The default of requests without a body: all workers.
ALL = FleetCommandRequest()


@router.get(
    "", operation_id="fleet_status", summary="Show workers, the backlog of each stage, and what is stuck and why."
)
def show(runtime: TheRuntime, caller: Reader) -> FleetStatus:
    if caller.collections is not None or caller.principals is not None:  # it names documents of all collections
        raise Forbidden("Only callers that may see all collections and documents may see the fleet.")
    return FleetStatus.model_validate(fleet.view(runtime))


@router.post(
    "/drain",
    operation_id="fleet_drain",
    summary="Drain workers. They finish what they are processing and take no new work.",
)
def drain(runtime: TheRuntime, caller: Operator, asked: FleetCommandRequest = ALL) -> FleetCommand:
    return _ask(runtime, asked, "drain")


@router.post("/resume", operation_id="fleet_resume", summary="Resume drained workers.")
def resume(runtime: TheRuntime, caller: Operator, asked: FleetCommandRequest = ALL) -> FleetCommand:
    return _ask(runtime, asked, "resume")


@router.post("/restart", operation_id="fleet_restart", summary="Restart worker processes one by one, without downtime.")
def restart(runtime: TheRuntime, caller: Operator, asked: FleetCommandRequest = ALL) -> FleetCommand:
    return _ask(runtime, asked, "restart")


def _ask(runtime: Runtime, asked: FleetCommandRequest, command: str) -> FleetCommand:
    return FleetCommand(command=command, workers=fleet.ask(runtime, asked.workers, command))
