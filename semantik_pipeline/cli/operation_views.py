"""Text output for operations: a list, and one operation in full."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from semantik_pipeline.cli.pace import STAGES
from semantik_pipeline.cli.tables import print_facts, print_table
from semantik_pipeline.cli.wording import counted, duration, printable

if TYPE_CHECKING:
    from rich.console import Console

    from semantik_pipeline.cli.invocation import Invocation

#: Maximum number of sources and of problems that are listed.
NAMED = 10


def show_list(call: Invocation, console: Console, found: list[dict[str, Any]]) -> None:
    if not found:
        console.print(f"There are no operations yet. Start one: {call.command('index PATH')}", soft_wrap=True)
        return
    rows = [_row(one) for one in found]
    header = ["OPERATION", "STATE", "COLLECTION", "DOCUMENTS", "STARTED", "TOOK", "LEFT", "SOURCES"]
    if all(row[header.index("LEFT")] == "-" for row in rows):
        rows = [row[: header.index("LEFT")] + row[header.index("LEFT") + 1 :] for row in rows]
        header.remove("LEFT")
    spare = [name for name in ("COLLECTION", "STARTED", "LEFT") if name in header]
    print_table(console, header, rows, spare=spare, shrink={"SOURCES": 12}, ends=("SOURCES",))
    for one in found:
        if one["reason"]:
            console.print(f"{one['operation']}: {printable(one['reason'])}", style="yellow", soft_wrap=True)


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    left = (one.get("progress") or {}).get("seconds_left")
    sources = [printable(part["source"]) for part in one["sources"]]
    more = f" and {len(sources) - 1} more" if len(sources) > 1 else ""
    return (
        one["operation"],
        one["outcome"] or one["state"],
        printable(one["collection"]),
        f"{_number(one):,}",
        _when(one["created_at"]),
        duration(one["seconds"]),
        f"about {duration(left)}" if left is not None else "-",
        f"{sources[0]}{more}" if sources else "-",
    )


def _number(one: dict[str, Any]) -> int:
    """Return the number of documents that it has seen so far, or was started for, whichever is larger."""
    seen = one["result"]["documents"]["seen"] if one["result"] else (one.get("progress") or {}).get("seen", 0)
    return max(seen, one["documents"])


def show_operation(call: Invocation, console: Console, answer: dict[str, Any]) -> None:
    console.print(answer["operation"], style="bold")
    left = answer["progress"]["seconds_left"]
    slowest = answer["progress"]["bottleneck"]
    print_facts(
        console,
        [
            ("state", answer["state"] + (f": {answer['outcome']}" if answer["outcome"] else "")),
            ("phase", answer["progress"].get("phase") or ""),
            ("reason", printable(answer["reason"] or "")),
            ("collection", printable(answer["collection"])),
            ("started", f"{_when(answer['created_at'])}, {duration(answer['seconds'])} {_ago(answer)}"),
            ("left", f"about {duration(left)}, limited by {STAGES[slowest]}" if left is not None else ""),
            ("documents", _documents(answer)),
            ("unfinished", _unfinished(answer["unfinished"])),
        ],
    )
    for part in answer["sources"][:NAMED]:
        why = f": {printable(part['error'])}" if part["error"] else ""
        console.print(f"  source {printable(part['source'])} {part['state']}{why}", soft_wrap=True)
    if len(answer["sources"]) > NAMED:
        console.print(f"  … and {len(answer['sources']) - NAMED:,} more sources")
    for line in answer["problems"][:NAMED]:
        console.print(f"  could not be read: {printable(line)}", style="yellow", soft_wrap=True)
    if answer["state"] != "finished":
        _show_stages(console, answer["progress"])
    elif any(answer["unfinished"].values()):
        again = call.command(f"operations retry {answer['operation']}")
        console.print(f"\nRetry what is unfinished: {again}", soft_wrap=True)


def _documents(answer: dict[str, Any]) -> str:
    if not answer["result"]:
        seen = answer["progress"]["seen"]
        return f"{answer['documents']:,} to process" + (f", {seen:,} seen" if seen else "")
    counts = answer["result"]["documents"]
    parts = [
        f"{counts[name]:,} {name}" for name in ("new", "changed", "unchanged", "skipped", "deleted", "quarantined")
    ]
    parts += [
        f"{answer['result'][name]:,} {name}"
        for name in ("superseded", "cancelled", "unread")
        if answer["result"].get(name)
    ]
    return ": ".join(part for part in (f"{_number(answer):,}", ", ".join(parts)) if part)


def _unfinished(counts: dict[str, Any]) -> str:
    parts = []
    if counts["quarantined"]:
        parts.append(f"{counted(counts['quarantined'], 'document')} in quarantine")
    if counts["parked"]:
        parts.append(f"{counted(counts['parked'], 'document')} parked")
    if counts["sources"]:
        parts.append(f"{counted(counts['sources'], 'source')} to read again")
    if counts.get("rerun"):
        parts.append("documents that were not reached")
    return ", ".join(parts)


def _show_stages(console: Console, progress: dict[str, Any]) -> None:
    console.print()
    rows = [
        (
            name,
            f"{progress['stages'][stage]['done']:,} of {progress['documents']:,}",
            f"{progress['stages'][stage]['waiting']:,}",
            f"{progress['stages'][stage]['per_second']:,.1f}/s",
            "slowest" if stage == progress["bottleneck"] else "",
        )
        for stage, name in STAGES.items()
    ]
    print_table(console, ("STAGE", "DONE", "WAITING", "DOCUMENTS", ""), rows)
    chunks = progress["chunks"]
    console.print(f"{chunks['embedded']:,} of {chunks['total']:,} chunks embedded, {chunks['per_second']:,.1f}/s")


def _ago(answer: dict[str, Any]) -> str:
    return "in total" if answer["state"] == "finished" else "ago"


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
