"""Text output for documents: a list, one document in full, and the result of a retry, drop or restore."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from semantik_pipeline.cli.output import text_width
from semantik_pipeline.cli.tables import print_facts
from semantik_pipeline.cli.wording import counted, duration, one_line, place, printable, reason_of, size

if TYPE_CHECKING:
    from rich.console import Console

#: Maximum number of chunks of a document that are shown.
CHUNKS = 8


def show_list(console: Console, found: list[dict[str, Any]], limit: int | None) -> None:
    if not found:
        console.print("No documents found.")
        return
    several = len({row["collection"] for row in found}) > 1
    width = max(len(row["status"]) for row in found)
    for row in found:
        chunks = counted(row["chunks"], "chunk") if row["chunks"] else ""
        where = f"{printable(row['collection'])}: " if several else ""
        console.print(f"{row['status']:<{width}}  {chunks:>12}  {where}{place(row['document'])}", soft_wrap=True)
        if row["reason"]:
            reason = reason_of(row["document"], row["reason"])
            console.print(f"{'':<{width + 16}}{reason}", style="dim", soft_wrap=True)
    if limit is not None and len(found) == limit:
        console.print(f"Only the first {limit:,} are shown; --limit N shows more.", style="dim")


def show_changed(console: Console, done: str, documents: list[dict[str, Any]]) -> None:
    console.print(f"{counted(len(documents), 'document')} {done}.")
    if documents:
        show_list(console, documents, None)


def show_documents(console: Console, found: list[dict[str, Any]], *, tracebacks: bool) -> None:
    """Print for each document everything that explains why search does not find it.

    ``tracebacks`` adds the tracebacks of errors.
    """
    for number, shown in enumerate(found):
        if number:
            console.print()
        _show_document(console, shown, tracebacks=tracebacks)


def _show_document(console: Console, shown: dict[str, Any], *, tracebacks: bool) -> None:
    console.print(place(shown["document"]), style="bold", soft_wrap=True)
    gone = f"deleted {_when(shown['deleted_at'])}" if shown["deleted_at"] else ""
    print_facts(
        console,
        [
            ("unique id", printable(shown["document"])),
            ("collection", printable(shown["collection"])),
            ("source", printable(shown["source"])),
            ("title", printable(shown["title"] or "")),
            ("content", ", ".join(part for part in (shown["media_type"], _size(shown["size"]), gone) if part)),
            ("revision", f"{shown['revision']}, {_when(shown['changed_at'])}"),
        ],
    )
    for unit in shown["generations"]:
        _show_unit(console, unit, tracebacks=tracebacks)


def _show_unit(console: Console, unit: dict[str, Any], *, tracebacks: bool) -> None:
    error = unit["error"] or {}
    waits = f"next attempt in {duration(unit['retry_in_seconds'])}" if unit["retry_in_seconds"] else ""
    console.print(f"\n  generation {unit['generation_id']}")
    print_facts(
        console,
        [
            ("status", f"{unit['status']}{'' if unit['searchable'] else ', not searchable'}"),
            ("reason", printable(unit["reason"] or "")),
            ("stages", ", ".join(f"{stage} {mark}" for stage, mark in unit["stages"].items())),
            ("worker", printable(unit["worker"] or "")),
            ("waiting", ", ".join(part for part in (waits, printable(unit["blocked_reason"] or "")) if part)),
            ("attempts", f"{unit['attempts']} failed" if unit["attempts"] else ""),
            ("extractors", printable(str(unit["extractor_errors"])) if unit["extractor_errors"] else ""),
            (
                "error",
                printable(f"{error.get('type')} in {error.get('stage')}: {error.get('message')}") if error else "",
            ),
            ("traceback", "--verbose shows it" if error.get("traceback") and not tracebacks else ""),
        ],
        indent=4,
    )
    if error.get("traceback") and tracebacks:
        for line in error["traceback"].rstrip().splitlines():
            console.print(f"      {printable(line)}", style="dim", soft_wrap=True)
    _show_chunks(console, unit["chunks"])


def _show_chunks(console: Console, chunks: list[dict[str, Any]]) -> None:
    if not chunks:
        return
    embedded = sum(1 for chunk in chunks if chunk["embedded"])
    console.print(f"    {counted(len(chunks), 'chunk')}, {embedded:,} embedded")
    for chunk in chunks[:CHUNKS]:
        page = (chunk["metadata"] or {}).get("page")
        about = f"{chunk['ordinal']:>4}  {chunk['token_count']:>4} tokens  {f'page {page}  ' if page else ''}"
        console.print(f"    {about}{one_line(chunk['text'], max(20, text_width(console) - 30))}", soft_wrap=True)
    if len(chunks) > CHUNKS:
        console.print(f"          … and {len(chunks) - CHUNKS:,} more", style="dim")


def _when(seconds: float | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds)) if seconds else ""


def _size(number: int | None) -> str:
    return size(number) if number is not None else ""
