"""The fleet for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from semantik_pipeline.cli.tables import print_table
from semantik_pipeline.cli.wording import counted, duration, place, printable, size

if TYPE_CHECKING:
    from rich.console import Console


def show_fleet(console: Console, found: dict[str, Any]) -> None:
    """Workers, stages, and what needs an operator."""
    if not found["distributed"]:
        _show_owner(console, found["owner"])
    _show_workers(console, found["workers"], fleet=found["distributed"])
    _show_stages(console, found)
    _show_troubles(console, found)


_DONE = {"drain": "drained", "resume": "at work again", "restart": "restarted"}


def asked_words(command: str, asked: Sequence[str], lost: Sequence[str], *, wait: bool) -> str:
    """What became of the workers that were asked for something."""
    if not wait:
        return f"{counted(len(asked), 'worker')} asked to {command}; `semantik fleet status` shows how far they are."
    told = f"{counted(len(asked) - len(lost), 'worker')} {_DONE[command]}."
    return f"{told} Lost meanwhile, and what they held goes on elsewhere: {', '.join(lost)}." if lost else told


def waiting_words(asked: Sequence[str], left: Sequence[str]) -> str:
    return f"{len(asked) - len(left)} of {len(asked)} done; waiting for {', '.join(left[:3])}"


def _show_owner(console: Console, owner: dict[str, Any] | None) -> None:
    has = f"process {owner['pid']} has it: {owner['command']}" if owner else "nobody has it now"
    console.print(
        f"There is no fleet here: one process at a time has the data folder and works; {printable(has)}.",
        soft_wrap=True,
    )
    console.print(
        "`semantik index` does the work itself, `semantik operations resume` goes on with what is left, and"
        " `semantik scheduler` keeps at it.",
        soft_wrap=True,
    )


def _show_workers(console: Console, workers: list[dict[str, Any]], *, fleet: bool) -> None:
    up = [worker for worker in workers if worker["state"] != "stopped"]
    if not up:
        if fleet:
            console.print("No worker is up: `semantik worker` starts one.", style="yellow")
        return
    rows = []
    for worker in up:
        stages = (worker["in_progress"] or {}).get("stages", {})
        hand = ", ".join(f"{count} {stage}" for stage, count in sorted(stages.items())) or "nothing"
        plugins = "current" if worker["plugin_state_current"] else "older: restart"
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
    header = ("WORKER", "PROFILE", "STATE", "UP", "HEARD", "MEMORY", "PLUGIN STATE", "MODELS", "IN PROGRESS")
    spare, shrink = ("UP", "MEMORY", "HEARD"), {"MODELS": 10, "IN PROGRESS": 14}
    print_table(console, header, rows, spare=spare, shrink=shrink)


def models_words(models: Sequence[dict[str, Any]]) -> str:
    """The device first, which is left when the cell is cut: "cuda: one model, another; cpu: a third"."""
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
        what = place(one["document"] or one["source"])
        told = f"  {what}: {one['stage']}{tries}, {duration(one['seconds'])}: {one['reason']}"
        console.print(printable(told), soft_wrap=True)
