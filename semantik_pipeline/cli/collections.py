"""``semantik collections``: create, configure, delete, export and import collections."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semantik_pipeline.cli.arguments import EPILOG, given_path
from semantik_pipeline.cli.invocation import Invocation, begin
from semantik_pipeline.cli.sources import beside

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime

app = typer.Typer(
    help="Create, configure, delete and export collections.\n\nA collection is a set of documents that are searched "
    "together, with one configuration. It is filled by sources.",
    rich_markup_mode=None,
    no_args_is_help=True,
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the collection.")]

#: Seconds that `delete --purge` waits for workers that hold leases on units of the collection.
PURGE = 60.0


@app.command(epilog=EPILOG)
def create(
    context: typer.Context,
    name: NameArgument,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Configuration, e.g. chunking.max_tokens=150; repeatable."),
    ] = None,
    config_json: Annotated[str | None, typer.Option(metavar="JSON", help="Configuration as a JSON object.")] = None,
) -> int:
    """Create a collection. Options that you leave out come from the settings file, then from the defaults."""
    call = begin(context)
    from semantik_pipeline import collections
    from semantik_pipeline.cli.source_options import parse_object
    from semantik_pipeline.configurations import parse_changes

    with beside(call) as runtime:
        config = parse_object(config_json) if config_json else None
        made = collections.create(runtime, name, config=config, changes=parse_changes(changes or ()))
    return _give(call, made, "Created.")


@app.command("list", short_help="List collections.", epilog=EPILOG)
def list_(context: typer.Context) -> int:
    """List collections with their documents, chunks, sources and models."""
    call = begin(context)
    from semantik_pipeline import collections
    from semantik_pipeline.cli.collection_views import show_list

    with call.runtime() as runtime:
        found = collections.list_all(runtime)
    way_on = call.command("collections create NAME")
    call.output.give({"collections": found}, lambda console: show_list(console, found, way_on))
    return 0


@app.command(epilog=EPILOG)
def show(context: typer.Context, name: NameArgument) -> int:
    """Show a collection.

    The output has its configuration, generations and sources, and says why its index is outdated, if it is.
    """
    call = begin(context)
    from semantik_pipeline import collections

    with call.runtime() as runtime:
        return _give(call, collections.show(runtime, name), None)


@app.command(epilog=EPILOG)
def configure(
    context: typer.Context,
    name: NameArgument,
    changes: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Changes, e.g. chunking.max_tokens=150; null resets to the default."),
    ] = None,
    unset: Annotated[list[str] | None, typer.Option(metavar="KEY", help="Reset to the default; repeatable.")] = None,
    if_match: Annotated[
        str | None, typer.Option(metavar="ETAG", help="Only if unchanged since `show` printed this ETag.")
    ] = None,
) -> int:
    """Change a collection's configuration. Changes to `search` and `default_reranker` apply at once, all others with
    the next `semantik reindex`."""
    call = begin(context)
    from semantik_pipeline import collections
    from semantik_pipeline.configurations import parse_changes
    from semantik_pipeline.errors import UsageError

    asked = parse_changes(changes or ()) | dict.fromkeys(unset or ())
    if not asked:
        raise UsageError("No change is given.", "Write chunking.max_tokens=150, or --unset chunking.max_tokens.")
    with beside(call) as runtime:
        changed = collections.configure(runtime, name, asked, if_match=if_match)
    return _give(call, changed, "Changed.")


@app.command(epilog=EPILOG)
def rename(
    context: typer.Context,
    name: NameArgument,
    new_name: Annotated[str, typer.Argument(metavar="NEW", help="New name.")],
) -> int:
    """Rename a collection, even one in the trash."""
    call = begin(context)
    from semantik_pipeline import collections

    with beside(call) as runtime:
        renamed = collections.rename(runtime, name, new_name)
    call.output.give(renamed, lambda console: console.print(f"Renamed {name!r} to {new_name!r}.", soft_wrap=True))
    return 0


@app.command(epilog=EPILOG)
def delete(
    context: typer.Context,
    name: NameArgument,
    purge: Annotated[bool, typer.Option("--purge", help="Delete permanently, without the trash.")] = False,
) -> int:
    """Delete a collection and cancel its operations. It stays in the trash for `retention.trash_days` (7 by
    default)."""
    call = begin(context)
    from semantik_pipeline import trash
    from semantik_pipeline.cli.trash import window
    from semantik_pipeline.cli.working import at_work_or_beside

    at_once = purge or call.settings().retention.trash_days == 0
    with at_work_or_beside(call) as (runtime, here):
        deleted = trash.delete_collection(runtime, name, purge=purge)
        gone = _purged(runtime, name) if here and at_once else False
    answer = {**deleted, "gone": gone}
    more = "" if gone else " Its data is being removed." if at_once else f" {window(call)}"
    call.output.give(answer, lambda console: console.print(f"Deleted {name!r}.{more}", soft_wrap=True))
    return 0


def _purged(runtime: Runtime, name: str) -> bool:
    """Remove the collection's data, and return whether all of it is gone.

    Waits up to ``PURGE`` seconds for workers that hold leases on its units.
    """
    import time

    from semantik_pipeline import trash

    until = time.monotonic() + PURGE
    while any(row["name"] == name for row in trash.contents(runtime, limit=1)["collections"]):
        trash.advance(runtime, seconds=PURGE)
        if time.monotonic() >= until:
            return False
        time.sleep(0.05)
    return True


@app.command(epilog=EPILOG)
def restore(context: typer.Context, name: NameArgument) -> int:
    """Restore a collection from the trash."""
    call = begin(context)
    from semantik_pipeline import collections, trash

    with beside(call) as runtime:
        trash.restore_collection(runtime, name)
        back = collections.show(runtime, name)
    return _give(call, back, "Restored.")


@app.command(epilog=EPILOG)
def export(
    context: typer.Context,
    name: NameArgument,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", parser=given_path, help="File to write: notes.tar or notes.tar.gz.")
    ],
) -> int:
    """Export a collection to a file.

    The file holds its documents with their content, chunks and vectors, and its sources without secrets.
    """
    return export_here(begin(context), name, file)


def export_here(call: Invocation, name: str, file: Path) -> int:
    from semantik_pipeline import transfer
    from semantik_pipeline.cli.collection_views import counting, show_transfer

    with call.runtime() as runtime, counting("exported") as progress:
        told = transfer.export(runtime, name, file.expanduser(), progress)
    call.output.give(told, lambda console: show_transfer(console, told, f"Exported {name!r} to {file}"))
    return 0


@app.command("import", epilog=EPILOG)
def import_(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", parser=given_path, help="File written by `collections export`.")
    ],
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the new collection (default: the one in the file).")
    ] = None,
) -> int:
    """Import a collection from an export. The vectors in the file are not computed again. Its sources are paused."""
    return import_here(begin(context), file, name)


def import_here(call: Invocation, file: Path, name: str | None) -> int:
    from semantik_pipeline import operations, transfer
    from semantik_pipeline.cli.collection_views import counting, show_transfer
    from semantik_pipeline.cli.invocation import EXIT
    from semantik_pipeline.cli.progress import watching
    from semantik_pipeline.cli.working import at_work_or_beside

    require_file(file)
    with at_work_or_beside(call) as (runtime, _):
        with counting("imported") as progress:
            told = transfer.import_collection(runtime, file.expanduser(), name=name, on_progress=progress)
        with watching() as watch:
            ended = operations.wait(runtime, told["operation"], watch)
    answer = {**told, "operation": f"{ended.kind}-{told['operation']}", "outcome": ended.outcome}
    call.output.give(answer, lambda console: show_transfer(console, answer, f"Imported {answer['collection']!r}"))
    return EXIT.get(ended.outcome or "", 0)


def require_file(file: Path) -> None:
    """Raise UsageError if the file does not exist."""
    from semantik_pipeline.errors import UsageError

    if not file.expanduser().is_file():
        raise UsageError(f"The file {file} does not exist.", "`semantik collections export` writes one.")


def _give(call: Invocation, row: dict[str, Any], done: str | None) -> int:
    from semantik_pipeline.cli.collection_views import show_collection

    call.output.give(row, lambda console: show_collection(console, row, done))
    return 0
