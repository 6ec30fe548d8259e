"""Workers, API keys, the host, and the health of the server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from semantik_pipeline.client.answers import (
    ApiKey,
    ApiKeyCreated,
    ApiKeyList,
    DoctorReport,
    FleetCommand,
    FleetStatus,
    Liveness,
    ModelList,
    ModelLocation,
    Readiness,
)
from semantik_pipeline.client.calls import Call, Pages, Resource, S, request

#: Seconds for a response that checks every part of the system, each with a time limit of its own.
EXAMINING = 120.0


class Workers(Resource[S]):
    """``client.fleet``. Workers are given by id, host or profile; None: all live workers."""

    @request("fleet_status", "GET /fleet")
    def status(self) -> Call[FleetStatus]:
        """Workers, the backlog of each stage, and what is stuck and why."""
        return Call()

    @request("fleet_drain", "POST /fleet/drain", repeatable=True)
    def drain(self, workers: Sequence[str] | None = None) -> Call[FleetCommand]:
        """Drain workers: they finish their current work and take no more."""
        return Call(json={"workers": [*(workers or ())]})

    @request("fleet_resume", "POST /fleet/resume", repeatable=True)
    def resume(self, workers: Sequence[str] | None = None) -> Call[FleetCommand]:
        """Resume drained workers."""
        return Call(json={"workers": [*(workers or ())]})

    @request("fleet_restart", "POST /fleet/restart")
    def restart(self, workers: Sequence[str] | None = None) -> Call[FleetCommand]:
        """Restart worker processes one by one, without downtime."""
        return Call(json={"workers": [*(workers or ())]})


class Keys(Resource[S]):
    """``client.keys``."""

    @request("keys_list", "GET /keys")
    def list(self, *, limit: int | None = None, cursor: str | None = None) -> Call[ApiKeyList]:
        """A page of API keys, without their secrets."""
        return Call(query={"limit": limit, "cursor": cursor})

    each: Pages[..., ApiKey] = Pages(list, "keys")

    @request("keys_create", "POST /keys")
    def create(
        self,
        name: str,
        *,
        role: str = "reader",
        collections: Sequence[str] | None = None,
        principals: Sequence[str] | None = None,
        expires_in: str | None = None,
    ) -> Call[ApiKeyCreated]:
        """Create an API key, valid for a period such as ``90d``. Only this response contains its secret."""
        asked: dict[str, Any] = {"name": name, "role": role, "expires_in": expires_in}
        for field, names in (("collections", collections), ("principals", principals)):
            asked[field] = None if names is None else [*names]
        return Call(json=asked)

    @request("keys_revoke", "DELETE /keys/{name}")
    def revoke(self, name: str) -> Call[ApiKey]:
        """Revoke an API key."""
        return Call(at={"name": name})


class Host(Resource[S]):
    """``client.host``: the machine that the server runs on."""

    @request("host_doctor", "GET /host/doctor")
    def doctor(self) -> Call[DoctorReport]:
        """Check servers, schema, queues, index, plugins, models, disks and clock. Changes nothing."""
        return Call(timeout=EXAMINING)

    @request("host_models", "GET /host/models")
    def models(self) -> Call[ModelList]:
        """Models that are in use, and models in the models folder."""
        return Call(timeout=EXAMINING)

    @request("host_models_where", "GET /host/models/where")
    def models_where(self, name: str) -> Call[ModelLocation]:
        """The files that are used for a model, and why."""
        return Call(query={"name": name}, timeout=EXAMINING)


class Health(Resource[S]):
    """``client.health``. No API key is needed."""

    @request("health_live", "GET /health/live")
    def live(self) -> Call[Liveness]:
        """Whether the process responds."""
        return Call()

    @request("health_ready", "GET /health/ready")
    def ready(self) -> Call[Readiness]:
        """Whether requests can be served, and if not, what is wrong."""
        return Call(good=frozenset({503}))
