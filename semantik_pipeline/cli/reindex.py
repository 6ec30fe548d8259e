"""``semantik reindex`` and ``semantik rollback``: rebuild a collection's index during searches, and switch back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semantik_pipeline.cli.invocation import Invocation, begin
from semantik_pipeline.cli.wording import counted

if TYPE_CHECKING:
    from rich.console import Console

    from semantik_pipeline.runtime import Runtime

CollectionArgument = Annotated[str, typer.Argument(metavar="COLLECTION", help="Name of the collection.")]


def reindex(
    context: typer.Context,
    collection: CollectionArgument,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change the configuration, e.g. chunking.max_tokens=150; repeatable."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be computed, and the cost.")] = False,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="Build no index; process matching documents again in the current one, e.g. status=quarantined; "
            "repeatable, or one JSON filter.",
        ),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="With --where: parse again instead of using stored results.")
    ] = False,
    accept_losses: Annotated[
        bool, typer.Option("--accept-losses", help="Switch even if documents fail with the new configuration.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Build even if nothing would change.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it has finished.")] = True,
) -> int:
    """Build a new index next to the current one, and switch search to it once it has passed its checks.

    Search continues in the current index, and new documents are written to both. Only what the changes affect is
    computed again; sources are not read. The previous index is kept up to date for `reindex.rollback_window` (one day
    by default), so that `semantik rollback` can switch back to it at once.
    """
    call = begin(context)
    changes = asked_changes(set_, where, fresh=fresh)
    if where:
        return _rerun(call, collection, filter_of(where), fresh=fresh, wait=wait, dry_run=dry_run)
    if dry_run:
        return _plan(call, collection, changes)
    return _reindex(call, collection, changes, wait=wait, accept_losses=accept_losses, force=force)


def asked_changes(set_: list[str] | None, where: list[str] | None, *, fresh: bool) -> dict[str, Any]:
    """Return the configuration changes. Raises UsageError for options that contradict each other."""
    from semantik_pipeline.configurations import parse_changes
    from semantik_pipeline.errors import UsageError

    changes = parse_changes(set_ or ())
    if where and changes:
        raise UsageError(
            "--where processes documents again in the current index, and --set builds a new one.", "Use one of them."
        )
    if fresh and not where:
        raise UsageError(
            "--fresh works only with --where.", "To parse all documents again: --where status=indexed --fresh."
        )
    return changes


def rollback(
    context: typer.Context,
    collection: CollectionArgument,
    force: Annotated[
        bool, typer.Option("--force", help="Switch even if the embedding model of that index is not available.")
    ] = False,
) -> int:
    """Switch back to the previous index, which has been kept up to date. Run the command again to switch forward."""
    call = begin(context)
    from semantik_pipeline import generations
    from semantik_pipeline.cli.working import owning_or_beside

    with owning_or_beside(call) as runtime:
        answer = generations.rollback(runtime, collection, force=force)
    told = rolled_back(collection, answer)
    call.output.give(answer, lambda console: console.print(told, soft_wrap=True))
    return 0


def rolled_back(collection: str, answer: dict[str, Any]) -> str:
    pending = answer["pending_documents"]
    late = (
        f" {counted(pending, 'document')} in it {'is' if pending == 1 else 'are'} still being updated."
        if pending
        else ""
    )
    return (
        f"Searches of {collection!r} now use generation {answer['generation']}. Generation "
        f"{answer['previous_generation']} is kept.{late}"
    )


def would_rerun(collection: str, documents: int) -> str:
    return f"{counted(documents, 'document')} of {collection!r} would be processed again."


def filter_of(pairs: list[str]) -> dict[str, Any]:
    """Return a filter that requires all ``KEY=VALUE`` pairs, or parse one JSON object.

    Raises UsageError if an argument is neither.
    """
    from semantik_pipeline.configurations import parse_value
    from semantik_pipeline.errors import UsageError

    if len(pairs) == 1 and pairs[0].lstrip().startswith("{"):
        try:
            return json.loads(pairs[0])
        except ValueError as error:
            example = '{"must": [{"key": "status", "match": {"value": "quarantined"}}]}'
            raise UsageError(f"--where is not valid JSON: {error}.", f"Write it like {example}.") from None
    conditions = []
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not key or not equals:
            raise UsageError(f"--where {pair!r} is not KEY=VALUE.", "Write --where status=quarantined.")
        conditions.append({"key": key, "match": {"value": parse_value(text)}})
    return {"must": conditions}


def _plan(call: Invocation, collection: str, changes: dict[str, Any]) -> int:
    from semantik_pipeline import generations

    with call.runtime() as runtime:
        found = generations.plan(runtime, collection, changes).to_dict()
    call.output.give({**found, "dry_run": True}, lambda console: show_plan(console, found))
    return 0


def _reindex(call: Invocation, collection: str, changes: dict[str, Any], *, wait: bool, **how: bool) -> int:
    from semantik_pipeline import collections, generations

    with _place(call, wait) as (runtime, here):
        operation_id = generations.reindex(runtime, collection, changes, **how)
        answer = _followed(runtime, operation_id, wait=wait)
        answer["generations"] = collections.show(runtime, collection)["generations"]
        if here and answer["outcome"] in ("succeeded", "degraded"):
            from semantik_pipeline import operations

            operations.optimize(runtime, collection)
    call.output.give(
        {**answer, "collection": collection}, lambda console: show_reindex(call, console, collection, answer)
    )
    return _exit_code(answer)


def _rerun(call: Invocation, collection: str, where: dict[str, Any], *, fresh: bool, wait: bool, dry_run: bool) -> int:
    from semantik_pipeline import generations

    if dry_run:
        with call.runtime() as runtime:
            found = generations.matching(runtime, collection, where)
        told = would_rerun(collection, found.documents)
        some = list(found.examples)
        answer = {"collection": collection, "documents": found.documents, "examples": some, "dry_run": True}
        call.output.give(answer, lambda console: console.print(told, soft_wrap=True))
        return 0
    with _place(call, wait) as (runtime, _):
        operation_id = generations.rerun(runtime, collection, where, fresh=fresh)
        answer = _followed(runtime, operation_id, wait=wait)
    call.output.give(
        {**answer, "collection": collection}, lambda console: show_reindex(call, console, collection, answer)
    )
    return _exit_code(answer)


def _place(call: Invocation, wait: bool) -> Any:
    """Return a context manager for a runtime, and whether this process does the work."""
    from contextlib import contextmanager

    from semantik_pipeline.cli.sources import beside
    from semantik_pipeline.cli.working import at_work_or_beside

    @contextmanager
    def unattended() -> Any:
        with beside(call) as runtime:
            yield runtime, False

    return at_work_or_beside(call) if wait else unattended()


def _followed(runtime: Runtime, operation_id: int, *, wait: bool) -> dict[str, Any]:
    from semantik_pipeline import operations
    from semantik_pipeline.cli.progress import watching

    if not wait:
        kind = operations.look(runtime, operation_id).kind
        return {"operation": f"{kind}-{operation_id}", "outcome": None}
    with watching() as watch:
        progress = operations.wait(runtime, operation_id, watch)
    return {"operation": f"{progress.kind}-{operation_id}", "outcome": progress.outcome, **(progress.result or {})}


def _exit_code(answer: dict[str, Any]) -> int:
    from semantik_pipeline.cli.invocation import EXIT

    return EXIT.get(answer["outcome"], 0)


def show_reindex(call: Invocation, console: Console, collection: str, answer: dict[str, Any]) -> None:
    from semantik_pipeline.cli.wording import duration, printable

    if answer["outcome"] is None:
        watch = call.command(f"operations show {answer['operation']} --watch")
        console.print(f"Started {answer['operation']}. Watch its progress: {watch}", soft_wrap=True)
        return
    documents, chunks = answer["documents"], answer["chunks"]
    console.print(f"{answer['operation']}: {answer['outcome']} in {duration(answer['seconds'])}.", soft_wrap=True)
    console.print(f"  {counted(documents['seen'], 'document')}, {documents['quarantined']:,} in quarantine")
    console.print(
        f"  {counted(chunks['total'], 'chunk')}: {chunks['embedded']:,} embedded, {chunks['reused']:,} reused",
        soft_wrap=True,
    )
    gate = answer.get("gate")
    if gate:
        console.print(
            f"  check: {gate['found']:,} of {gate['probes']:,} sampled chunks are found by their own text",
            soft_wrap=True,
        )
    for line in answer.get("errors", ()):
        console.print(f"  {printable(line)}", style="red", soft_wrap=True)
    if gate and answer["outcome"] in ("succeeded", "degraded"):
        back = call.command(f"rollback {collection}")
        console.print(f"\nSearch now uses the new index. To switch back: {back}", soft_wrap=True)


def show_plan(console: Console, plan: dict[str, Any]) -> None:
    """Print what a build would cost."""
    from semantik_pipeline.cli.tables import print_facts
    from semantik_pipeline.cli.wording import duration, size

    about = "about " if plan["estimated"] else ""
    reuse = plan["reuse"]
    seconds = plan["embed_seconds"]
    print_facts(
        console,
        [
            ("changes", "; ".join(plan["changes"]) or "none"),
            ("documents", f"{plan['documents']:,}"),
            ("chunks", f"{about}{plan['chunks']:,}"),
            ("reused parses", f"{reuse['parse']['documents']:,} of {reuse['parse']['total']:,} documents"),
            ("reused chunks", f"{reuse['chunk']['documents']:,} of {reuse['chunk']['total']:,} documents"),
            ("reused extractions", f"{reuse['extract']['texts']:,} of {reuse['extract']['total']:,}"),
            ("reused embeddings", f"{about}{reuse['embed']['chunks']:,} of {reuse['embed']['total']:,}"),
            ("to embed", f"{about}{plan['texts_to_embed']:,}"),
            ("time to embed", "unknown" if seconds is None else f"about {duration(seconds)}"),
            ("extra disk space", f"about {size(plan['disk_bytes'])}, while both are kept"),
            ("estimated from", f"{plan['sampled_documents']} documents, chunked again" if plan["estimated"] else ""),
        ],
        indent=0,
    )
    for reason in plan["reasons"]:
        console.print(f"outdated: {reason}", style="yellow", soft_wrap=True)
