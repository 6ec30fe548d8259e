"""``semantik trash``: what people deleted, and until when it can be restored."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semantik_pipeline.cli.invocation import Invocation, begin

if TYPE_CHECKING:
    from rich.console import Console

#: Documents that are listed for people unless told otherwise.
LISTED = 100


def trash(
    context: typer.Context,
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="Maximum number of documents.")] = None,
) -> int:
    """List deleted collections, sources and documents, until when each can be restored, and how."""
    call = begin(context)
    from semantik_pipeline.trash import contents

    with call.runtime() as runtime:
        found = contents(runtime, limit=limit or (None if call.output.as_json else LISTED))
    call.output.give(found, lambda console: show_trash(console, found))
    return 0


def window(call: Invocation) -> str:
    """What to say to somebody who deleted something; empty where it is gone at once."""
    days = call.settings().retention.trash_days
    return f"It can be restored for {days:g} days: {call.command('trash')} lists it." if days else ""


def show_trash(console: Console, found: dict[str, Any]) -> None:
    from semantik_pipeline.cli.tables import print_table
    from semantik_pipeline.cli.wording import place, printable, short_path

    rows = []
    for row in found["collections"]:
        way = f"semantik collections restore {row['name']}"
        rows.append(("collection", printable(row["name"]), f"{row['documents']:,}", *_times(row, way)))
    for row in found["sources"]:
        way = f"semantik sources restore {row['id']}"
        rows.append(("source", short_path(row["name"]), f"{row['documents']:,}", *_times(row, way)))
    for row in found["documents"]:
        way = f"semantik documents restore {place(row['document'])}"
        rows.append(("document", place(row["document"]), "", *_times(row, way)))
    if not rows:
        console.print("There is nothing in the trash.")
        return
    print_table(console, ("WHAT", "NAME", "DOCUMENTS", "DELETED", "GOES", "BACK BY"), rows)


def _times(row: dict[str, Any], way: str) -> tuple[str, str, str]:
    """When it was deleted, when it goes for good, and what brings it back."""
    if row["purge_at"] is None:
        return "", "on its way out", "-"
    return _when(row["trashed_at"]), _when(row["purge_at"]), way


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
