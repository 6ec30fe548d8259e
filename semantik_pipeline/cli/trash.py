"""``semantik trash``: list deleted items, and until when they can be restored."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semantik_pipeline.cli.invocation import Invocation, begin

if TYPE_CHECKING:
    from rich.console import Console

#: Default maximum number of documents in the list.
LISTED = 100


def trash(
    context: typer.Context,
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help=f"Maximum number of documents (default: {LISTED}; all with --json)."),
    ] = None,
) -> int:
    """List deleted collections, sources and documents, until when you can restore each of them, and how."""
    call = begin(context)
    from semantik_pipeline.trash import contents

    with call.runtime() as runtime:
        found = contents(runtime, limit=limit or (None if call.output.as_json else LISTED))
    call.output.give(found, lambda console: show_trash(console, found))
    return 0


def window(call: Invocation, days: float | None = None) -> str:
    """Return the message that says for how long a deleted item can be restored, and how.

    ``days`` is taken from the settings if it is None. The message is empty if there is no trash (0 days).
    """
    days = call.settings().retention.trash_days if days is None else days
    return f"You can restore it for {days:g} days: {call.command('trash')}" if days else ""


def show_trash(console: Console, found: dict[str, Any]) -> None:
    from semantik_pipeline.cli.tables import print_table
    from semantik_pipeline.cli.wording import as_argument, place, printable

    rows = []
    for row in found["collections"]:
        way = f"semantik collections restore {row['name']}"
        rows.append(("collection", printable(row["name"]), f"{row['documents']:,}", *_times(row, way)))
    for row in found["sources"]:
        way = f"semantik sources restore {row['id']}"
        rows.append(("source", printable(row["name"]), f"{row['documents']:,}", *_times(row, way)))
    for row in found["documents"]:
        way = printable(f"semantik documents restore {as_argument(row['document'])}")
        rows.append(("document", place(row["document"]), "", *_times(row, way)))
    if not rows:
        console.print("The trash is empty.")
        return
    print_table(console, ("TYPE", "NAME", "DOCUMENTS", "DELETED", "KEPT UNTIL", "RESTORE WITH"), rows)


def _times(row: dict[str, Any], way: str) -> tuple[str, str, str]:
    """Return when the item was deleted, until when it is kept, and the command that restores it."""
    if row["purge_at"] is None:
        return "", "being removed", "-"
    return _when(row["trashed_at"]), _when(row["purge_at"]), way


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
