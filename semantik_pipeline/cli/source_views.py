"""Text output for sources: a table, one source in full, and the result of a change.

Names are not shortened, so that users can copy them into filters.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from semantik_pipeline.cli.tables import print_facts, print_table
from semantik_pipeline.cli.wording import counted, duration, one_line, printable, roughly

if TYPE_CHECKING:
    from rich.console import Console

#: Maximum number of characters of a state and its reason in the table.
REASON = 120


def show_list(console: Console, found: list[dict[str, Any]], way_on: str) -> None:
    if not found:
        console.print(f"There are no sources yet. Add one: {way_on}", soft_wrap=True)
        return
    header = ["ID", "NAME", "CONNECTOR", "COLLECTION", "SCHEDULE", "NEXT", "LAST SYNC", "DOCUMENTS"]
    rows, shrink = [_row(row) for row in found], {"STATE": 20, "NAME": 17}
    if any(row["quarantined"] for row in found):
        header.append("QUARANTINED")
        rows = [(*cells, f"{row['quarantined']:,}") for cells, row in zip(rows, found, strict=True)]
        shrink = {"STATE": 12, "NAME": 14}
    header.append("STATE")
    rows = [(*cells, one_line(state(row), REASON)) for cells, row in zip(rows, found, strict=True)]
    print_table(console, header, rows, spare=("COLLECTION", "CONNECTOR", "SCHEDULE"), shrink=shrink, ends=("NAME",))


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    due, synced = next_at(row), row["last_sync_at"]
    return (
        str(row["id"]),
        printable(row["name"]),
        printable(row["connector"]),
        printable(row["collection"]),
        schedule(row) or "on request",
        "-" if due is None else "now" if due <= row["now"] else f"in {roughly(due - row['now'])}",
        "never" if synced is None else f"{roughly(row['now'] - synced)} ago",
        f"{row['documents']:,}",
    )


def schedule(row: dict[str, Any]) -> str:
    """Format the schedule: ``every 15m``, ``0 3 * * * Europe/Berlin``, or an empty string if there is none."""
    from semantik_pipeline.schedules import Schedule

    return str(Schedule.of(row["schedule"])) if row["schedule"] else ""


def next_at(row: dict[str, Any]) -> float | None:
    """Return the time of the next sync or retry, or None if none is planned."""
    if row["state"] == "retrying":
        return row["retry_at"]
    return None if row["state"] in ("paused", "removing") else row["next_sync_at"]


def last_sync(row: dict[str, Any]) -> str:
    """Format when the last sync ended, and whether it failed. Other outcomes are shown by its operation."""
    if row["last_sync_at"] is None:
        return "never"
    return when(row["last_sync_at"], row["now"]) + (", failed" if row["consecutive_failures"] else "")


def when(at: float, now: float) -> str:
    """Format a time in this host's time zone: ``2026-11-23 03:00 (in 4 h 21 min)``."""
    distance = at - now
    if abs(distance) < 1:
        relative = "now"
    else:
        relative = f"in {duration(distance)}" if distance > 0 else f"{duration(-distance)} ago"
    return f"{time.strftime('%Y-%m-%d %H:%M', time.localtime(at))} ({relative})"


def state(row: dict[str, Any]) -> str:
    """Format the state with its reason: ``running``, ``paused: REASON``, ``failing ×3: REASON``."""
    message = row["last_error"]["message"].removeprefix(f"{row['name']}: ") if row["last_error"] else ""
    if row["state"] == "paused":
        return printable(f"paused: {row['paused_reason'].removeprefix(row['name'] + ': ')}")
    if row["state"] == "failing":
        return printable(f"failing ×{row['consecutive_failures']}: {message}")
    if row["state"] == "retrying":
        return printable(f"retrying after {counted(row['attempts'], 'attempt')}: {message}")
    if row["state"] == "waiting" and row.get("held_by"):
        return f"waiting: operation {row['held_by']} is paused"
    if row["state"] == "waiting" and row["last_error"] and row["last_error"].get("blocked"):
        return printable(f"waiting: {message}")
    return row["state"]


def show_source(console: Console, row: dict[str, Any], done: str | None = None) -> None:
    """Print everything about a source, after the line ``done``, which says what the command did."""
    if done:
        console.print(done, soft_wrap=True)
    console.print(f"{row['id']}: {printable(row['name'])}", style="bold", soft_wrap=True)
    error, due = row["last_error"] or {}, next_at(row)
    print_facts(
        console,
        [
            ("state", state(row)),
            ("connector", printable(row["connector"])),
            ("collection", printable(row["collection"])),
            ("schedule", schedule(row) or "on request"),
            ("next sync", "-" if due is None else when(due, row["now"])),
            ("last sync", last_sync(row)),
            ("documents", f"{row['documents']:,}"),
            ("in quarantine", f"{row['quarantined']:,}" if row["quarantined"] else ""),
            ("operation", str(row["operation_id"] or "")),
            ("weight", f"{row['weight']:g}"),
            (
                "visible to",
                "" if row["principals"] is None else ", ".join(map(printable, row["principals"])) or "nobody",
            ),
            ("added", when(row["created_at"], row["now"])),
            ("last error", printable(f"{error['type']}: {error['message']}") if error else ""),
        ],
    )
    for name, value in row["config"].items():
        console.print(f"  {printable(name)} = {printable(str(value))}", style="dim", soft_wrap=True)
    for line in row["problems"] or ():
        console.print(f"  could not be read: {printable(line)}", style="yellow", soft_wrap=True)


def show_operations(console: Console, answers: list[dict[str, Any]], way_on: str) -> None:
    """Print the outcomes of syncs, removals or restores, or the operations that do them, if not finished."""
    for answer in answers:
        name, operation = printable(answer["source"]["name"]), answer["operation"]
        if answer["outcome"] is None:
            console.print(f"{name}: {operation}. {way_on}", soft_wrap=True)
            continue
        counts = answer["documents"]
        if operation.startswith("delete-") and answer["outcome"] == "succeeded":
            gone = counted(counts["deleted"], "document")
            console.print(f"{name}: {operation} removed it and {gone} from the index.", soft_wrap=True)
            continue
        if operation.startswith("restore-") and answer["outcome"] == "succeeded":
            back = counted(answer["source"]["documents"], "document")
            console.print(f"{name}: {operation} restored it with {back}.", soft_wrap=True)
            continue
        parts = [f"{counts[kind]:,} {kind}" for kind in ("new", "changed", "unchanged", "skipped", "deleted")]
        console.print(f"{name}: {operation} {answer['outcome']}: {', '.join(parts)}", soft_wrap=True)
        for line in answer["errors"]:
            console.print(f"  {printable(line)}", style="red", soft_wrap=True)
