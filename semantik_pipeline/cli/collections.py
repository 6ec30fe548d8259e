"""``semantik collections``: what is searched together, and what it is made of."""

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
    help="Create, configure, delete and export collections.",
    rich_markup_mode=None,
    no_args_is_help=True,
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the collection.")]

#: Seconds that `delete --purge` waits for workers that hold something of the collection.
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
    """Create a collection. Options not given come from the settings file, then from the defaults."""
    call = begin(context)
    from semantik_pipeline import collections
    from semantik_pipeline.cli.source_options import parse_object
    from semantik_pipeline.configurations import parse_changes

    with beside(call) as runtime:
        config = parse_object(config_json) if config_json else None
        made = collections.create(runtime, name, config=config, changes=parse_changes(changes or ()))
    return _give(call, made, "Created.")


@app.command("list", epilog=EPILOG)
def list_(context: typer.Context) -> int:
    """List collections with their models, documents and chunks."""
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

    Its configuration, generations and documents, and whether its index is outdated, and by what.
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
    """Change a collection's configuration. `search` and `default_reranker` apply at once, the rest from the next
    `semantik reindex` on."""
    call = begin(context)
    from semantik_pipeline import collections
    from semantik_pipeline.configurations import parse_changes
    from semantik_pipeline.errors import UsageError

    asked = parse_changes(changes or ()) | dict.fromkeys(unset or ())
    if not asked:
        raise UsageError(
            "There is nothing to change.", "Write chunking.max_tokens=150, or --unset chunking.max_tokens."
        )
    with beside(call) as runtime:
        changed = collections.configure(runtime, name, asked, if_match=if_match)
    return _give(call, changed, "Changed.")


@app.command(epilog=EPILOG)
def rename(
    context: typer.Context,
    name: NameArgument,
    new_name: Annotated[str, typer.Argument(metavar="NEW", help="New name.")],
) -> int:
    """Rename a collection, also one in the trash."""
    call = begin(context)
    from semantik_pipeline import collections

    with beside(call) as runtime:
        renamed = collections.rename(runtime, name, new_name)
    call.output.give(renamed, lambda console: console.print(f"{name} is called {new_name} now.", soft_wrap=True))
    return 0


@app.command(epilog=EPILOG)
def delete(
    context: typer.Context,
    name: NameArgument,
    purge: Annotated[bool, typer.Option("--purge", help="Delete permanently; no restore.")] = False,
) -> int:
    """Delete a collection and cancel its operations. It can be restored until the trash's window is over."""
    call = begin(context)
    from semantik_pipeline import trash
    from semantik_pipeline.cli.trash import window
    from semantik_pipeline.cli.working import at_work_or_beside

    at_once = purge or call.settings().retention.trash_days == 0
    with at_work_or_beside(call) as (runtime, here):
        deleted = trash.delete_collection(runtime, name, purge=purge)
        gone = _purged(runtime, name) if here and at_once else False
    answer = {**deleted, "gone": gone}
    on_its_way = "" if gone else " It is being dropped." if at_once else f" {window(call)}"
    call.output.give(answer, lambda console: console.print(f"{name} is deleted.{on_its_way}", soft_wrap=True))
    return 0


def _purged(runtime: Runtime, name: str) -> bool:
    """Drop what is there; waits a while for who holds something of it. Returns whether it is gone."""
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
    """Bring a collection back from the trash, as it was."""
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
    """Write a collection into a file.

    The file has its documents, bodies, chunks, vectors and sources, and no secret.
    """
    return export_here(begin(context), name, file)


def export_here(call: Invocation, name: str, file: Path) -> int:
    from semantik_pipeline import transfer
    from semantik_pipeline.cli.collection_views import counting, show_transfer

    with call.runtime() as runtime, counting("exported") as progress:
        told = transfer.export(runtime, name, file.expanduser(), progress)
    call.output.give(told, lambda console: show_transfer(console, told, f"{name} is in {file}."))
    return 0


@app.command("import", epilog=EPILOG)
def import_(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", parser=given_path, help="File written by `collections export`.")
    ],
    name: Annotated[str | None, typer.Option(metavar="N", help="New name of the collection.")] = None,
) -> int:
    """Create a collection from an export. Nothing is embedded that the file has; its sources are paused."""
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
    call.output.give(answer, lambda console: show_transfer(console, answer, f"{answer['collection']} is there."))
    return EXIT.get(ended.outcome or "", 0)


def require_file(file: Path) -> None:
    """Raise UsageError if there is none."""
    from semantik_pipeline.errors import UsageError

    if not file.expanduser().is_file():
        raise UsageError(f"There is no file {file}.", "`semantik collections export` writes one.")


def _give(call: Invocation, row: dict[str, Any], done: str | None) -> int:
    from semantik_pipeline.cli.collection_views import show_collection

    call.output.give(row, lambda console: show_collection(console, row, done))
    return 0
