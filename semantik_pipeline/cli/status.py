"""``semantik status``: collections, unfinished operations, backlog and disk use.

Reads only the ledger, so it works while another process owns the data folder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from semantik_pipeline.cli.invocation import Invocation, begin

if TYPE_CHECKING:
    from rich.console import Console


def status(context: typer.Context) -> int:
    """Show collections, running operations, backlog and disk use."""
    call = begin(context)
    from semantik_pipeline.cli.operations import unfinished
    from semantik_pipeline.disk import disk_use
    from semantik_pipeline.ledger.documents import document_reports

    with call.runtime() as runtime:
        with runtime.ledger.read() as tx:
            found = document_reports.totals(tx)
        answer = {"data_dir": str(runtime.settings.data_dir), "owner": runtime.owner(), **found}
        answer["operations"] = unfinished(call, runtime)
        answer["disk"] = disk_use(runtime)
        fleet = runtime.settings.fleet
    call.output.give(answer, lambda console: show_status(call, console, answer, fleet=fleet))
    return 0


def show_status(call: Invocation, console: Console, answer: dict[str, Any], *, fleet: bool) -> None:
    from semantik_pipeline.cli.disk_words import told
    from semantik_pipeline.cli.tables import print_facts
    from semantik_pipeline.cli.wording import printable, short_path

    owned = answer["owner"]
    nobody = f"the fleet; see {call.command('fleet status')}" if fleet else "no process"
    who = f"process {owned['pid']}: {printable(owned['command'])}" if owned else nobody
    left = [f"{one['operation']} {one['state']}" for one in answer["operations"]]
    facts = [
        ("data folder", short_path(answer["data_dir"])),
        ("in use by", who),
        ("disk", told(answer["disk"])),
        ("unfinished", ", ".join(left)),
    ]
    print_facts(console, facts, indent=0)
    _show_collections(call, console, answer["collections"])
    _show_backlog(console, answer["backlog"])
    for one in answer["operations"]:
        if one["reason"]:
            console.print(f"{one['operation']}: {printable(one['reason'])}", style="yellow", soft_wrap=True)
    for source in answer["paused_sources"]:
        reason = printable(str(source["reason"]).removeprefix(f"{source['source']}: "))
        console.print(f"paused: {printable(source['source'])}: {reason}", style="yellow", soft_wrap=True)


def _show_collections(call: Invocation, console: Console, found: dict[str, Any]) -> None:
    from semantik_pipeline.cli.tables import print_table
    from semantik_pipeline.cli.wording import states

    if not found:
        console.print(f"\nThere are no collections yet. Index a folder: {call.command('index PATH')}", soft_wrap=True)
        return
    console.print()
    rows = []
    for name, entry in found.items():
        rows.append((name, f"{entry['sources']:,}", f"{entry['chunks']:,}", states(entry["documents"]) or "none"))
    print_table(console, ("COLLECTION", "SOURCES", "CHUNKS", "DOCUMENTS"), rows)


def _show_backlog(console: Console, backlog: dict[str, dict[str, Any]]) -> None:
    from semantik_pipeline.cli.tables import print_table
    from semantik_pipeline.cli.wording import duration

    if backlog:
        console.print()
        rows = [
            (
                stage,
                f"{one['units']:,}",
                f"{one['in_progress']:,}",
                f"{one['blocked']:,}",
                duration(one["oldest_seconds"]),
            )
            for stage, one in backlog.items()
        ]
        print_table(console, ("WAITING FOR", "DOCUMENTS", "IN PROGRESS", "BLOCKED", "OLDEST"), rows)
