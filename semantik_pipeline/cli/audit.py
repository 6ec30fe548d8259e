"""``semantik audit``: the log of who changed what, and when."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semantik_pipeline.cli.invocation import begin

if TYPE_CHECKING:
    from rich.console import Console

#: Maximum number of characters of an entry's details in the table.
DETAIL = 160


def audit(
    context: typer.Context,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="Maximum number of entries.")] = 50,
    since: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Only entries of the last DURATION, e.g. 30m, 12h or 2d.")
    ] = None,
) -> int:
    """List changes, newest first: of collections, documents, sources, operations, keys, plugins and workers."""
    call = begin(context)
    from semantik_pipeline.ledger.access import audit_trail
    from semantik_pipeline.schedules import parse_duration

    seconds = parse_duration(since) if since else None
    with call.runtime() as runtime, runtime.ledger.read() as tx:
        found = audit_trail.entries(tx, limit=limit, since=seconds)
    call.output.give({"entries": found}, lambda console: show_audit(console, found, limit))
    return 0


def show_audit(console: Console, found: list[dict[str, Any]], limit: int) -> None:
    import time

    from semantik_pipeline.cli.tables import print_table
    from semantik_pipeline.cli.wording import one_line, printable

    if not found:
        console.print("No changes are recorded.")
        return
    rows = [
        (
            time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry["at"])),
            printable(entry["actor"]),
            printable(entry["event"]),
            printable(entry["subject"]),
            one_line(", ".join(pairs(entry["detail"])), DETAIL),
        )
        for entry in found
    ]
    header, shrink = ("TIME", "ACTOR", "EVENT", "SUBJECT", "DETAIL"), {"SUBJECT": 30, "DETAIL": 30}
    print_table(console, header, rows, shrink=shrink, ends=("SUBJECT",))
    console.print("--json prints the details in full.", style="dim")
    if len(found) == limit:
        console.print(f"Only the latest {limit:,} are shown; --limit N shows more.", style="dim")


def pairs(detail: Any, name: str = "") -> Iterator[str]:
    """Yield an entry's details as ``operation=3`` or ``config.path=/srv/notes``, without empty or false values."""
    if isinstance(detail, dict):
        for key, value in detail.items():
            yield from pairs(value, f"{name}.{key}" if name else str(key))
    elif isinstance(detail, list) and any(isinstance(one, dict | list) for one in detail):
        yield f"{name}={len(detail)}"
    elif detail not in (None, False, "", []):
        yield f"{name}={'|'.join(map(str, detail)) if isinstance(detail, list) else detail}"
