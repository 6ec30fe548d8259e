"""Text output for the fleet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from semantik_pipeline.cli.tables import print_table
from semantik_pipeline.cli.wording import counted, duration, place, printable, size

if TYPE_CHECKING:
    from rich.console import Console


#: What to do when a fleet has no worker.
START = "Start one on a host of the fleet: semantik worker"


def show_fleet(console: Console, found: dict[str, Any], *, server: str | None = None) -> None:
    """Print workers, stages, and what needs an operator. ``server`` is the URL that the user gave, if any."""
    if not found["distributed"]:
        _show_owner(console, found["owner"], server)
    _show_workers(console, found["workers"], fleet=found["distributed"], server=server)
    if found["distributed"] or any(one[what] for one in found["stages"].values() for what in _BACKLOG):
        _show_stages(console, found)
    _show_troubles(console, found)


#: Counts of a stage; if one is not zero, the table of stages is shown even without a fleet.
_BACKLOG = ("workers", "waiting", "delayed", "in_progress", "suspects")

_DONE = {"drain": "drained", "resume": "resumed", "restart": "restarted"}


def asked_words(command: str, asked: Sequence[str], lost: Sequence[str], *, wait: bool) -> str:
    """Describe the outcome of a request to workers."""
    if not wait:
        return f"Asked {counted(len(asked), 'worker')} to {command}. `semantik fleet status` shows their state."
    told = f"{counted(len(asked) - len(lost), 'worker')} {_DONE[command]}."
    return f"{told} Lost meanwhile: {', '.join(lost)}. Other workers take over their work." if lost else told


def no_worker_words(command: str, *, fleet: bool, server: str | None = None) -> str:
    """Say why there was no worker to ask, and what to do. ``server`` is the URL that the user gave, if any."""
    if fleet:
        return f"{_none_running(server)}, so there is nothing to {command}. {START}"
    if server:
        return (
            f"The server at {server} has no fleet: it does the work itself, so there is no worker to {command}. "
            "To restart it, stop `semantik serve` on its host and start it again."
        )
    return (
        f"No fleet is configured, so there is no worker to {command}: commands and `semantik serve` do the work "
        "themselves. A fleet needs SEMANTIK_BROKER_URL, SEMANTIK_DATABASE_URL and SEMANTIK_QDRANT_URL."
    )


def _none_running(server: str | None) -> str:
    return f"The server at {server} answers, but its fleet has no running worker" if server else "No worker is running"


def waiting_words(asked: Sequence[str], left: Sequence[str]) -> str:
    return f"{len(asked) - len(left)} of {len(asked)} done; waiting for {', '.join(left[:3])}"


def _show_owner(console: Console, owner: dict[str, Any] | None, server: str | None) -> None:
    if server:
        console.print(f"The server at {server} has no fleet: it does the work itself.", soft_wrap=True)
        return
    user = f"process {owner['pid']} ({printable(owner['command'])})" if owner else "no process"
    console.print(
        "No fleet is configured. One process at a time uses the data folder and does the work.", soft_wrap=True
    )
    console.print(f"In use by: {user}", soft_wrap=True)
    console.print(
        "`semantik serve` works continuously; `semantik index` and `semantik operations resume` work until they are "
        "done.",
        style="dim",
        soft_wrap=True,
    )


def _show_workers(console: Console, workers: list[dict[str, Any]], *, fleet: bool, server: str | None = None) -> None:
    up = [worker for worker in workers if worker["state"] != "stopped"]
    if not up:
        if fleet:
            console.print(f"{_none_running(server)}. {START}", style="yellow", soft_wrap=True)
        return
    rows = []
    for worker in up:
        stages = (worker["in_progress"] or {}).get("stages", {})
        hand = ", ".join(f"{count} {stage}" for stage, count in sorted(stages.items())) or "nothing"
        plugins = "current" if worker["plugin_state_current"] else "outdated: restart"
        failures = f", {len(worker['plugin_failures'])} failed" if worker["plugin_failures"] else ""
        heard = duration(worker["heartbeat_age_seconds"])
        asked = f" (asked: {worker['command']})" if worker["command"] else ""
        rows.append(
            (
                worker["id"],
                worker["profile"],
                worker["state"] + asked,
                duration(worker["uptime_seconds"]),
                heard,
                size(worker["memory_bytes"] or 0),
                plugins + failures,
                models_words(worker["models"] or ()),
                hand,
            )
        )
    header = ("WORKER", "PROFILE", "STATE", "UPTIME", "HEARTBEAT", "MEMORY", "PLUGIN STATE", "MODELS", "IN PROGRESS")
    spare, shrink = ("UPTIME", "MEMORY", "HEARTBEAT"), {"MODELS": 10, "IN PROGRESS": 14}
    print_table(console, header, rows, spare=spare, shrink=shrink)


def models_words(models: Sequence[dict[str, Any]]) -> str:
    """Format loaded models by device: "cuda: one model, another; cpu: a third".

    The device comes first, so that it stays visible when the cell is cut.
    """
    devices: dict[str, dict[str, None]] = {}
    for model in models:
        name, device = str(model.get("model") or model["plugin"]), str(model.get("device") or "")
        devices.setdefault(device, {})[name] = None
    told = [f"{device}: {', '.join(names)}" if device else ", ".join(names) for device, names in devices.items()]
    return "; ".join(told) or "-"


def _show_stages(console: Console, found: dict[str, Any]) -> None:
    console.print()
    rows = [
        (
            stage,
            f"{one['workers']}",
            f"{one['waiting']:,.0f}",
            f"{one['delayed']:,.0f}",
            f"{one['in_progress']:,.0f}",
            f"{one['suspects']:,.0f}",
            duration(one["oldest_seconds"]) if one["waiting"] else "-",
            f"{one['documents_per_second']:,.1f}",
        )
        for stage, one in found["stages"].items()
    ]
    print_table(
        console, ("STAGE", "WORKERS", "WAITING", "DELAYED", "IN PROGRESS", "SUSPECTS", "OLDEST", "DOCUMENTS/S"), rows
    )
    syncs = ", ".join(f"{count} {state}" for state, count in found["sources"].items() if count)
    console.print(f"\nsources: {syncs or 'none'}")


def _show_troubles(console: Console, found: dict[str, Any]) -> None:
    from semantik_pipeline.fleet import why_blocked

    if found["plugin_state"]["error"]:
        console.print(f"\nplugin state: {printable(found['plugin_state']['error'])}", style="red", soft_wrap=True)
    for worker in found["workers"]:
        if worker["state"] == "stopped":
            continue
        for plugin, reason in worker["plugin_failures"].items():
            console.print(f"{worker['id']}: plugin {plugin}: {printable(reason)}", style="yellow", soft_wrap=True)
        if worker["fatal_error"]:
            console.print(f"{worker['id']}: {printable(worker['fatal_error'])}", style="red", soft_wrap=True)
    for one in found["blocked"]:
        console.print(printable(f"blocked: {why_blocked(one)}"), style="red", soft_wrap=True)
    if found["stuck"]:
        console.print("\nstuck:", style="yellow")
    for one in found["stuck"]:
        tries = f" after {counted(one['attempts'], 'attempt')}" if one["attempts"] else ""
        what = place(one["document"]) if one["document"] else printable(one["source"])
        told = f"  {what}: {one['stage']}{tries}, {duration(one['seconds'])}: {one['reason']}"
        console.print(printable(told), soft_wrap=True)
