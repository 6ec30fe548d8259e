"""Text output for collections: a table, one collection in full, and the result of an export or import."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from semantik_pipeline.cli.tables import print_facts, print_table
from semantik_pipeline.cli.wording import counted, printable, size, states

if TYPE_CHECKING:
    from rich.console import Console

#: Seconds between two progress lines of an export or import.
EVERY = 2.0


def show_list(console: Console, found: list[dict[str, Any]], way_on: str) -> None:
    if not found:
        console.print(f"There are no collections yet. Create one: {way_on}", soft_wrap=True)
        return
    print_table(console, ("NAME", "DOCUMENTS", "CHUNKS", "SOURCES", "EMBEDDING"), [_row(row) for row in found])


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    failed = row["documents"].get("quarantined", 0)
    return (
        printable(row["name"]),
        f"{row['total']:,}" + (f" ({failed:,} in quarantine)" if failed else ""),
        f"{row['chunks']:,}",
        f"{len(row['sources']):,}",
        step(row["config"]["embedding"]),
    )


def step(choice: Any) -> str:
    """Format a plugin and its options: ``recursive (max_tokens=150)``."""
    if choice is None or isinstance(choice, str):
        return printable(choice or "")
    options = ", ".join(f"{name}={value}" for name, value in (choice.get("options") or {}).items())
    return printable(f"{choice['plugin']} ({options})" if options else choice["plugin"])


def show_collection(console: Console, row: dict[str, Any], done: str | None = None) -> None:
    """Print everything about a collection, after the line ``done``, which says what the command did."""
    if done:
        console.print(done, soft_wrap=True)
    console.print(printable(row["name"]), style="bold", soft_wrap=True)
    config = row["config"]
    extraction = config["extraction"]
    extractors = [step(one) for one in (*extraction["chunk"], *extraction["document"])] if extraction["enabled"] else []
    print_facts(
        console,
        [
            ("documents", states(row["documents"]) or "0"),
            ("chunks", f"{row['chunks']:,}"),
            ("embedding", step(config["embedding"])),
            ("chunking", step(config["chunking"])),
            ("extraction", ", ".join(extractors) or "none"),
            ("sparse", ", ".join(f"{name}={value}" for name, value in config["sparse"].items() if value is not None)),
            ("reranker", step(config["default_reranker"])),
            ("etag", row["etag"]),
            ("created", _when(row["created_at"])),
        ],
    )
    for one in row["generations"]:
        since = f", since {_when(one['activated_at'])}" if one["activated_at"] else ""
        console.print(f"  generation {one['id']}: {one['state']}, {one['dimension']} dimensions{since}", style="dim")
    for one in row["sources"]:
        console.print(f"  source {one['id']}: {printable(one['connector'])} {printable(one['name'])}", style="dim")
    for reason in row["outdated"]:
        console.print(f"  outdated: {printable(reason)}", style="yellow", soft_wrap=True)


def show_transfer(console: Console, told: dict[str, Any], done: str) -> None:
    """Print the result of an export or an import."""
    parts = [counted(told["documents"], "document"), counted(told["chunks"], "chunk")]
    parts += [counted(told["vectors"], "vector")]
    if told.get("bytes"):
        parts.append(size(told["bytes"]))
    console.print(printable(f"{done}: {', '.join(parts)}."), soft_wrap=True)
    for reason in (*told.get("recomputed", ()), *told.get("warnings", ())):
        console.print(f"  {printable(reason)}", style="yellow", soft_wrap=True)


@contextmanager
def counting(done: str) -> Iterator[Callable[[int], None]]:
    """Yield a function that prints the number of documents to standard error, at most every ``EVERY`` seconds.

    It prints only on a terminal. ``done`` is the verb, such as "exported".
    """
    last = time.monotonic()

    def told(number: int) -> None:
        nonlocal last
        if sys.stderr.isatty() and time.monotonic() - last > EVERY:
            last = time.monotonic()
            print(f"{counted(number, 'document')} {done}", file=sys.stderr, flush=True)

    yield told


def _when(seconds: float | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds)) if seconds else ""
