"""``semantik index``: index folders and files, and update the index when run again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semantik_pipeline.cli.arguments import given_path
from semantik_pipeline.cli.invocation import EXIT, Invocation, begin

if TYPE_CHECKING:
    from rich.console import Console

    from semantik_pipeline.operations import SourceRequest
    from semantik_pipeline.runtime import Runtime

#: Maps outcomes to the words that the output begins with.
DONE = {
    "succeeded": "Indexed",
    "degraded": "Indexed with errors",
    "failed": "Failed",
    "cancelled": "Cancelled",
}

#: Maximum number of quarantined documents, of problems and of errors that are listed.
SHOWN = 10


def index(
    context: typer.Context,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", parser=given_path, help="Folders or files to index.")],
    collection: Annotated[str, typer.Option(metavar="NAME", help="Collection to index into.")] = "default",
    include: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="Only files that match; repeatable.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="Skip files that match; repeatable.")
    ] = None,
    recursive: Annotated[bool, typer.Option("--recursive/--no-recursive", help="Include subfolders.")] = True,
    connector: Annotated[
        str, typer.Option(metavar="ID", help="Connector that reads the paths, e.g. directory or jsonl.")
    ] = "directory",
    allow_deletions: Annotated[
        bool, typer.Option("--allow-deletions", help="Delete even if most documents of a source have disappeared.")
    ] = False,
) -> int:
    """Index folders or files. A second run processes only what changed, and deletes documents whose files are gone."""
    call = begin(context)
    rules = {"include": include or (), "exclude": exclude or (), "recursive": recursive}
    sources = sources_of(paths, connector, rules)
    answer, quarantined = run_sync(call, sources, collection, allow_deletions=allow_deletions)
    call.output.give(answer, lambda console: show(call, console, answer, quarantined))
    return EXIT[answer["outcome"]]


def sources_of(paths: list[Path], connector: str, rules: dict[str, Any]) -> list[SourceRequest]:
    """Return a source for each path on the command line. A path that is given twice is one source."""
    return list({source.name: source for source in (source_of(path, connector, rules) for path in paths)}.values())


def source_of(path: Path, connector: str, rules: dict[str, Any]) -> SourceRequest:
    """Return the source for a path on the command line. Raises UsageError if the path does not exist."""
    from semantik_pipeline.errors import UsageError
    from semantik_pipeline.operations import SourceRequest, folder_source

    source = folder_source(path, **rules)
    if connector == "directory":
        return source
    if rules["include"] or rules["exclude"] or not rules["recursive"]:
        raise UsageError(
            "--include, --exclude and --no-recursive work with the connector 'directory' only, not with "
            f"{connector!r}.",
            "Leave them out.",
        )
    return SourceRequest(connector=connector, name=source.name, config={"path": source.config["path"]})


def run_sync(
    call: Invocation,
    sources: list[SourceRequest],
    collection: str,
    *,
    config: dict[str, Any] | None = None,
    allow_deletions: bool = False,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Sync the sources, in this process or on the fleet.

    Returns the JSON answer, and the quarantined documents of these sources.
    """
    from semantik_pipeline import operations
    from semantik_pipeline.cli.progress import watching
    from semantik_pipeline.cli.working import at_work
    from semantik_pipeline.ledger.operations.outcomes import problems as problems_of

    with at_work(call) as runtime:
        operation = operations.begin_sync(
            runtime, sources, collection=collection, config=config, allow_deletions=allow_deletions
        )
        with watching() as watch:
            progress = operations.wait(runtime, operation, watch)
        if not runtime.settings.fleet and (progress.result or {}).get("chunks", {}).get("embedded"):
            operations.optimize(runtime, collection)
        restored = 0 if runtime.settings.fleet else _restored(runtime, collection, progress.result or {})
        with runtime.ledger.read() as tx:
            problems = problems_of(tx, operation)
        quarantined = operations.list_documents(runtime, collection=collection, status="quarantined")
    result = dict(progress.result or {})
    answer = {
        "operation": f"{progress.kind}-{operation}",
        "collection": collection,
        "outcome": progress.outcome,
        "documents": result["documents"],
        "chunks": result["chunks"],
        "seconds": result["seconds"],
        "restored": restored,
        "unread": result.get("unread", 0),
        "problems": problems,
        "errors": [*result.get("errors", []), *result.get("taken_over", [])],
    }
    names = {source.name for source in sources}
    return answer, [document for document in quarantined if document["source"] in names]


def _restored(runtime: Runtime, collection: str, result: dict[str, Any]) -> int:
    """Restore points that the index has lost, because its folder was wiped or damaged. Returns their number.

    ``result`` is the result of the sync that has just ended.
    """
    from semantik_pipeline import operations, verification
    from semantik_pipeline.cli.progress import watching

    def wait(operation: int) -> str | None:
        with watching() as watch:
            return operations.wait(runtime, operation, watch).outcome

    wrote = any(result.get("documents", {}).get(kind) for kind in ("new", "changed", "deleted"))
    if not verification.lacks_points(runtime, collection, wrote=wrote):
        return 0
    return verification.restore(runtime, collection, wait)


def show(call: Invocation, console: Console, answer: dict[str, Any], quarantined: list[dict[str, Any]]) -> None:
    """Print the outcome, the errors, and the command to type next."""
    from semantik_pipeline.cli.wording import counted, duration

    documents, chunks = answer["documents"], answer["chunks"]
    done = DONE[answer["outcome"]]
    console.print(f"{done} in {duration(answer['seconds'])}, collection {answer['collection']!r}.", soft_wrap=True)
    parts = [f"{documents[kind]:,} {kind}" for kind in ("new", "changed", "unchanged", "skipped")]
    gone = f"; {documents['deleted']:,} deleted" if documents["deleted"] else ""
    console.print(f"  {counted(documents['seen'], 'document')}: {', '.join(parts)}{gone}", soft_wrap=True)
    if documents["skipped"]:
        which = call.command(f"documents list --collection {answer['collection']} --status skipped")
        console.print(f"  See which were skipped, and why: {which}", style="dim", soft_wrap=True)
    console.print(
        f"  {counted(chunks['total'], 'chunk')}: {chunks['embedded']:,} embedded, {chunks['reused']:,} reused",
        soft_wrap=True,
    )
    if answer["restored"]:
        lost = counted(answer["restored"], "point")
        console.print(f"  {lost} missing from the index: restored from the ledger", soft_wrap=True)
    _show_lines(console, "Errors:", answer["errors"], "red")
    if answer["unread"]:
        told = f"\n{counted(answer['unread'], 'document')} could not be read. What is indexed of them stays searchable."
        console.print(told, style="yellow", soft_wrap=True)
        which = call.command(f"documents list --collection {answer['collection']} --status unread")
        console.print(f"  See which: {which}", style="dim", soft_wrap=True)
    _show_lines(console, "Could not be read:", answer["problems"], "yellow")
    _show_quarantined(call, console, answer, quarantined)
    _show_next(call, console, answer)


def _show_lines(console: Console, title: str, lines: list[str], style: str) -> None:
    from semantik_pipeline.cli.wording import printable

    if lines:
        console.print(f"\n{title}", style=style)
    for line in lines[:SHOWN]:
        console.print(f"  {printable(line)}", soft_wrap=True)
    if len(lines) > SHOWN:
        console.print(f"  … and {len(lines) - SHOWN:,} more")


def _show_quarantined(
    call: Invocation, console: Console, answer: dict[str, Any], quarantined: list[dict[str, Any]]
) -> None:
    from semantik_pipeline.cli.wording import as_argument, counted, place, printable, reason_of

    if not quarantined:
        return
    there = "is" if len(quarantined) == 1 else "are"
    console.print(f"\n{counted(len(quarantined), 'document')} {there} in quarantine:", style="yellow")
    for document in quarantined[:SHOWN]:
        reason = reason_of(document["document"], document["reason"] or "no reason is known")
        console.print(f"  {place(document['document'])}: {reason}", soft_wrap=True)
    if len(quarantined) > SHOWN:
        every = call.command(f"documents list --collection {answer['collection']} --status quarantined")
        console.print(f"  … and {len(quarantined) - SHOWN:,} more: {every}", soft_wrap=True)
    name = as_argument(quarantined[0]["document"])
    name = name if len(quarantined) == 1 and name == printable(name) else "NAME"
    console.print(f"  Why: {call.command(f'documents show {name}')}", style="dim", soft_wrap=True)


def _show_next(call: Invocation, console: Console, answer: dict[str, Any]) -> None:
    of = "" if answer["collection"] == "default" else f" --collection {answer['collection']}"
    if answer["chunks"]["total"] and answer["outcome"] in ("succeeded", "degraded"):
        ask = call.command(f'search{of} "your question"')
        console.print(f"\nSearch it: {ask}", soft_wrap=True)
