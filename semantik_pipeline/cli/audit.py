"""``semantik audit``: who changed what, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from semantik_pipeline.cli.invocation import begin

if TYPE_CHECKING:
    from rich.console import Console


def audit(
    context: typer.Context,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="Maximum number of entries.")] = 50,
    since: Annotated[
        str | None, typer.Option(metavar="2d", help="Only entries of this period, e.g. 30m, 12h, 2d.")
    ] = None,
) -> int:
    """List what people changed, newest first: collections, documents, sources, operations, keys, plugins, workers."""
    call = begin(context)
    from semantik_pipeline.ledger.access import audit_trail
    from semantik_pipeline.schedules import parse_duration

    seconds = parse_duration(since) if since else None
    with call.runtime() as runtime, runtime.ledger.read() as tx:
        found = audit_trail.entries(tx, limit=limit, since=seconds)
    call.output.give({"entries": found}, lambda console: show_audit(console, found, limit))
    return 0


def show_audit(console: Console, found: list[dict[str, Any]], limit: int) -> None:
    import json
    import time

    from semantik_pipeline.cli.tables import print_table
    from semantik_pipeline.cli.wording import printable

    if not found:
        console.print("Nothing was changed.")
        return
    rows = [
        (
            time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry["at"])),
            printable(entry["actor"]),
            printable(entry["event"]),
            printable(entry["subject"]),
            printable(json.dumps(entry["detail"], ensure_ascii=False)),
        )
        for entry in found
    ]
    print_table(console, ("WHEN", "WHO", "WHAT", "OF", "DETAIL"), rows)
    if len(found) == limit:
        console.print(f"These are the latest {limit:,}; --limit N shows more.", style="dim")
