"""``semantik documents``: list, show, retry, drop and restore documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from semantik_pipeline.cli.arguments import EPILOG
from semantik_pipeline.cli.invocation import Invocation, begin

if TYPE_CHECKING:
    from collections.abc import Callable

    from semantik_pipeline.ledger import Transaction
    from semantik_pipeline.runtime import Runtime

app = typer.Typer(help="List, show, retry, drop and restore documents.", rich_markup_mode=None, no_args_is_help=True)

CollectionOption = Annotated[str | None, typer.Option(metavar="NAME", help="Only this collection.")]
NamesArgument = Annotated[list[str] | None, typer.Argument(metavar="URI", help="Unique ids, paths, or ends of paths.")]

#: Default maximum number of documents in a list.
LISTED = 100


@app.command("list", short_help="List documents with their status.", epilog=EPILOG)
def list_(
    context: typer.Context,
    collection: CollectionOption = None,
    status: Annotated[
        str | None,
        typer.Option(
            metavar="STATUS",
            help="Only documents that are indexed, quarantined (failed), skipped, deleted or unread, or wait for "
            "chunk, extract, embed or upsert.",
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help=f"Maximum number of documents (default: {LISTED}; all with --json)."),
    ] = None,
) -> int:
    """List documents with their status, and why they failed, were skipped or are waiting."""
    call = begin(context)
    from semantik_pipeline.cli.document_views import show_list
    from semantik_pipeline.ledger.catalog import collections
    from semantik_pipeline.ledger.documents import document_reports

    limit = limit or (None if call.output.as_json else LISTED)
    with call.runtime() as runtime, runtime.ledger.read() as tx:
        if collection is not None:
            collections.get_collection(tx, collection)
        found = document_reports.list_documents(tx, collection=collection, status=status, limit=limit)
    call.output.give({"documents": found}, lambda console: show_list(console, found, limit))
    return 0


@app.command(short_help="Show a document and its last error.", epilog=EPILOG)
def show(
    context: typer.Context,
    uri: Annotated[str, typer.Argument(metavar="URI", help="Unique id, path, or end of the path.")],
    collection: CollectionOption = None,
) -> int:
    """Show a document: status of each stage, chunks, and the last error. --verbose adds the error's traceback."""
    call = begin(context)
    from semantik_pipeline.cli.document_views import show_documents
    from semantik_pipeline.ledger.documents import document_reports

    with call.runtime() as runtime, runtime.ledger.read() as tx:
        rows = _named(tx, [uri], collection)
        found = [{**row, **document_reports.show_document(tx, row["id"])} for row in rows]
    answer = {**found[0], "others": found[1:]}  # the same document from other sources or in other collections
    call.output.give(answer, lambda console: show_documents(console, found, tracebacks=call.verbose))
    return 0


@app.command(short_help="Retry failed (quarantined) documents.", epilog=EPILOG)
def retry(context: typer.Context, uris: NamesArgument = None, collection: CollectionOption = None) -> int:
    """Retry failed (quarantined) documents: those that you name, or all of them, in every collection unless you give
    --collection."""
    call = begin(context)
    from semantik_pipeline import operations
    from semantik_pipeline.ledger.catalog import collections
    from semantik_pipeline.ledger.documents import document_reports

    def choose(tx: Transaction) -> list[dict[str, Any]]:
        if uris:
            return _named(tx, uris, collection)
        if collection is not None:
            collections.get_collection(tx, collection)
        return document_reports.list_documents(tx, collection=collection, status="quarantined")

    def begin_all(runtime: Runtime, rows: list[dict[str, Any]]) -> int:
        return operations.begin_retry_of_quarantined(runtime, rows[0]["collection"])

    return _change(call, choose, operations.begin_retry if uris else begin_all, "retried")


@app.command(epilog=EPILOG)
def drop(
    context: typer.Context,
    uris: NamesArgument = None,
    collection: CollectionOption = None,
    purge: Annotated[bool, typer.Option("--purge", help="Delete permanently, without the trash.")] = False,
) -> int:
    """Remove documents from the index.

    They stay in the trash for `retention.trash_days` (7 by default). The next sync indexes a document again if its
    source still has it; exclude or delete it there.
    """
    call = begin(context)
    from functools import partial

    from semantik_pipeline import operations
    from semantik_pipeline.errors import UsageError

    if not uris:
        raise UsageError("No document is named.", "`semantik documents list` shows the names.")
    begin_change = partial(operations.begin_drop, purge=purge)
    return _change(call, lambda tx: _named(tx, uris, collection), begin_change, "dropped")


@app.command(short_help="Restore dropped documents.", epilog=EPILOG)
def restore(context: typer.Context, uris: NamesArgument = None, collection: CollectionOption = None) -> int:
    """Restore documents from the trash. Their stored content is used; their sources are not read."""
    call = begin(context)
    from semantik_pipeline import trash
    from semantik_pipeline.errors import UsageError
    from semantik_pipeline.ledger.retention import trash_contents

    if not uris:
        raise UsageError("No document is named.", "`semantik trash` lists what you can restore.")

    def choose(tx: Transaction) -> list[dict[str, Any]]:
        return _named(tx, uris, collection, find=trash_contents.find_documents)

    return _change(call, choose, trash.restore_documents, "restored")


def _named(
    tx: Transaction,
    names: list[str],
    collection: str | None,
    *,
    find: Callable[..., list[dict[str, Any]]] | None = None,
) -> list[dict[str, Any]]:
    """Return the documents with these names. ``find`` looks them up (None: ``document_reports.find_documents``).

    Raises UsageError for an unknown name, and for a path suffix that several documents share.
    """
    from semantik_pipeline.cli.wording import place
    from semantik_pipeline.errors import UsageError
    from semantik_pipeline.ledger.catalog import collections
    from semantik_pipeline.ledger.documents import document_reports

    if collection is not None:
        collections.get_collection(tx, collection)
    find = find or document_reports.find_documents
    found = []
    for name in names:
        rows = find(tx, [name], collection=collection)
        ids = sorted({row["document"] for row in rows})
        if len(ids) > 1:
            some = ", ".join(place(one) for one in ids[:5])
            raise UsageError(f"{name!r} matches {len(ids)} documents: {some}.", "Give the full path of one of them.")
        found += rows
    return found


def _change(
    call: Invocation,
    choose: Callable[[Transaction], list[dict[str, Any]]],
    begin_change: Callable[..., int],
    done: str,
) -> int:
    """Run one operation per collection on the chosen documents, and print each document's status afterwards."""
    from semantik_pipeline import operations
    from semantik_pipeline.cli.document_views import show_changed
    from semantik_pipeline.cli.progress import watching
    from semantik_pipeline.cli.working import at_work
    from semantik_pipeline.ledger.documents import document_reports

    names = []
    with at_work(call) as runtime:
        with runtime.ledger.read() as tx:
            chosen = choose(tx)
        for collection in sorted({row["collection"] for row in chosen}):
            mine = [row for row in chosen if row["collection"] == collection]
            operation = begin_change(runtime, mine)
            with watching() as watch:
                names.append(f"{operations.wait(runtime, operation, watch).kind}-{operation}")
        with runtime.ledger.read() as tx:
            after = {
                row["id"]: row for row in document_reports.documents_by_id(tx, sorted({row["id"] for row in chosen}))
            }
    documents = [after[one] for one in dict.fromkeys(row["id"] for row in chosen) if one in after]
    failed = any(row["status"] == "quarantined" for row in documents)
    answer = {
        "operations": names,
        "outcome": "degraded" if failed else "succeeded",
        done: len(documents),
        "documents": documents,
    }
    call.output.give(answer, lambda console: show_changed(console, done, documents))
    return 3 if failed else 0
