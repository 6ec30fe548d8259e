"""``semantik status`` and ``audit`` on a server."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from semantik_pipeline.cli.audit import show_audit
from semantik_pipeline.cli.invocation import Invocation
from semantik_pipeline.cli.remote.operations import listed
from semantik_pipeline.cli.status import show_status
from semantik_pipeline.schedules import parse_duration

if TYPE_CHECKING:
    from semantik_pipeline.client import Client

#: Maximum number of audit entries per request.
PAGE = 500


def status(call: Invocation, client: Client) -> int:
    found: dict[str, Any] = {**client.status()}
    disk = found.pop("disk")
    answer = {**found, "operations": listed(client, 0, {}), "disk": disk}
    fleet = answer["owner"] is None  # a server without a fleet owns its data folder
    call.output.give(answer, lambda console: show_status(call, console, answer, fleet=fleet))
    return 0


def audit(call: Invocation, client: Client, *, limit: int, since: str | None) -> int:
    seconds = parse_duration(since) if since else None
    found: list[Any] = [*islice(client.audited(limit=min(limit, PAGE), max_age_seconds=seconds), limit)]
    call.output.give({"entries": found}, lambda console: show_audit(console, found, limit))
    return 0
