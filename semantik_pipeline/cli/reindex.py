"""``semantik reindex`` and ``semantik rollback``: build a collection's index anew while search goes on, and go back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semantik_pipeline.cli.invocation import Invocation, begin

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
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what it would cost.")] = False,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="Process only these documents again, in the current index: error.stage=chunk, or a JSON filter.",
        ),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="With --where: parse again instead of using stored results.")
    ] = False,
    accept_losses: Annotated[
        bool, typer.Option("--accept-losses", help="Switch even if documents fail with the new configuration.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Build even if nothing would change.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it ends.")] = True,
) -> int:
    """Build a new index beside the current one, and switch search to it once it has passed its checks.

    What changes meanwhile reaches both. Only what the changes concern is computed; nothing is asked of the sources. The
    index before is kept, and written to, for a while: `semantik rollback` goes back to it at once.
    """
    call = begin(context)
    changes = asked_changes(set_, where, fresh=fresh)
    if where:
        return _rerun(call, collection, filter_of(where), fresh=fresh, wait=wait, dry_run=dry_run)
    if dry_run:
        return _plan(call, collection, changes)
    return _reindex(call, collection, changes, wait=wait, accept_losses=accept_losses, force=force)


def asked_changes(set_: list[str] | None, where: list[str] | None, *, fresh: bool) -> dict[str, Any]:
    """The changes of the configuration. Raises UsageError for options that contradict each other."""
    from semantik_pipeline.configurations import parse_changes
    from semantik_pipeline.errors import UsageError

    changes = parse_changes(set_ or ())
    if where and changes:
        raise UsageError(
            "--where sends documents through the index that is there; --set builds another.", "Leave one out."
        )
    if fresh and not where:
        raise UsageError("--fresh goes with --where.", "`--where status=indexed --fresh` parses every document anew.")
    return changes


def rollback(
    context: typer.Context,
    collection: CollectionArgument,
    force: Annotated[
        bool, typer.Option("--force", help="Switch even if the embedding model of that index is not available.")
    ] = False,
) -> int:
    """Switch search back to the previous index, at once. What came since is in it, and what was read until
    now is kept: the same command goes forward again."""
    call = begin(context)
    from semantik_pipeline import generations
    from semantik_pipeline.cli.working import owning_or_beside

    with owning_or_beside(call) as runtime:
        answer = generations.rollback(runtime, collection, force=force)
    told = rolled_back(collection, answer)
    call.output.give(answer, lambda console: console.print(told, soft_wrap=True))
    return 0


def rolled_back(collection: str, answer: dict[str, Any]) -> str:
    late = (
        f" {answer['pending_documents']:,} documents are still brought up to date there."
        if answer["pending_documents"]
        else ""
    )
    return f"{collection!r} is searched in generation {answer['generation']} again; {answer['previous_generation']} is kept.{late}"


def filter_of(pairs: list[str]) -> dict[str, Any]:
    """A filter from ``KEY=VALUE`` pairs that all hold, or from one JSON object. Raises UsageError."""
    from semantik_pipeline.configurations import parse_value
    from semantik_pipeline.errors import UsageError

    if len(pairs) == 1 and pairs[0].lstrip().startswith("{"):
        try:
            return json.loads(pairs[0])
        except ValueError as error:
            raise UsageError(f"--where is no JSON: {error}.", 'As {"must": [{"key": "status", …}]}.') from None
    conditions = []
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not key or not equals:
            raise UsageError(f"--where {pair!r} is no KEY=VALUE.", "Write --where status=quarantined.")
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
    from semantik_pipeline.cli.wording import counted

    if dry_run:
        with call.runtime() as runtime:
            found = generations.matching(runtime, collection, where)
        told = f"{counted(found.documents, 'document')} of {collection!r} would go their way again."
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
    """A runtime, and whether this process does the work."""
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
    from semantik_pipeline.cli.wording import counted, duration, printable

    if answer["outcome"] is None:
        watch = call.command(f"operations show {answer['operation']} --watch")
        console.print(f"{answer['operation']} has begun. How far it is: {watch}", soft_wrap=True)
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
        console.print(f"  gate: {gate['found']:,} of {gate['probes']:,} sampled chunks find themselves", soft_wrap=True)
    for line in answer.get("errors", ()):
        console.print(f"  {printable(line)}", style="red", soft_wrap=True)
    if gate and answer["outcome"] in ("succeeded", "degraded"):
        back = call.command(f"rollback {collection}")
        console.print(f"\nSearch reads it now. Back to the one before: {back}", soft_wrap=True)


def show_plan(console: Console, plan: dict[str, Any]) -> None:
    """What a build would cost."""
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
            ("parses taken over", f"{reuse['parse']['documents']:,} of {reuse['parse']['total']:,} documents"),
            ("chunks taken over", f"{reuse['chunk']['documents']:,} of {reuse['chunk']['total']:,} documents"),
            ("extractions taken over", f"{reuse['extract']['texts']:,} of {reuse['extract']['total']:,}"),
            ("embeddings taken over", f"{about}{reuse['embed']['chunks']:,} of {reuse['embed']['total']:,}"),
            ("to embed", f"{about}{plan['texts_to_embed']:,}"),
            ("time to embed", "unknown here" if seconds is None else f"about {duration(seconds)}"),
            ("room while both are kept", f"about {size(plan['disk_bytes'])}"),
            ("foretold from", f"{plan['sampled_documents']} documents chunked anew" if plan["estimated"] else ""),
        ],
        indent=0,
    )
    for reason in plan["reasons"]:
        console.print(f"outdated: {reason}", style="yellow", soft_wrap=True)
