"""The tree of commands and the global options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from semantik_pipeline.cli import (
    audit,
    collections,
    doctor,
    documents,
    evaluate,
    fleet,
    index,
    keys,
    migrate,
    models,
    operations,
    plugins,
    reindex,
    scheduler,
    search,
    serve,
    sources,
    status,
    trash,
    verify,
    worker,
)
from semantik_pipeline.cli.arguments import EPILOG
from semantik_pipeline.cli.invocation import Invocation
from semantik_pipeline.cli.routing import route

#: Of `--url`.
URL_HELP = "A server to ask, instead of working here. [env: SEMANTIK_URL]"

# Plain help: rich would take longer to import than all the rest.
app = typer.Typer(name="semantik", rich_markup_mode=None, add_completion=False, no_args_is_help=True)


def _version(asked: bool) -> None:
    if asked:
        from semantik_pipeline import __version__

        typer.echo(f"semantik {__version__}")
        raise typer.Exit


@app.callback()
def semantik(
    context: typer.Context,
    data_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where ledger, blobs and index are. [env: SEMANTIK_DATA_DIR]")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A settings file (TOML). [env: SEMANTIK_CONFIG]")
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(metavar="URL", envvar="SEMANTIK_URL", show_envvar=False, help=URL_HELP),
    ] = None,
    api_key_env: Annotated[
        str | None, typer.Option(metavar="NAME", help="The variable that holds the key, if not SEMANTIK_API_KEY.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output, nothing else.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Say more on standard error, tracebacks too.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and end.")
    ] = False,
) -> None:
    """Keep a search index in step with your documents, and ask it.

    The options below may stand before or after the command. Exit codes: 0 done, 1 failed, 2 usage, 3 done, but a
    document is in quarantine.
    """
    context.obj = Invocation(
        output=context.obj, data_dir=data_dir, config=config, verbose=verbose, url=url or None, api_key_env=api_key_env
    )


app.command("index", short_help="Make folders or files searchable.", epilog=EPILOG)(index.index)
app.command("search", epilog=EPILOG)(search.search)
app.add_typer(collections.app, name="collections")
app.add_typer(documents.app, name="documents")
app.add_typer(sources.app, name="sources")
app.command("trash", short_help="List what was deleted and can be restored.", epilog=EPILOG)(trash.trash)
app.command("status", short_help="Show what there is, runs and waits.", epilog=EPILOG)(status.status)
app.command("verify", short_help="Compare ledger and index; mend.", epilog=EPILOG)(verify.verify)
app.command("reindex", short_help="Build a collection's index anew beside the old one.", epilog=EPILOG)(reindex.reindex)
app.command("rollback", short_help="Go back to the index before.", epilog=EPILOG)(reindex.rollback)
app.add_typer(operations.app, name="operations")
app.add_typer(plugins.app, name="plugins")
app.add_typer(models.app, name="models")
app.add_typer(keys.app, name="keys")
app.command("eval", short_help="Measure the answers on a dataset.", epilog=EPILOG)(evaluate.evaluate)
app.command("migrate", short_help="Bring the ledger to this program's schema.", epilog=EPILOG)(migrate.migrate)
app.command("doctor", short_help="Look for what is broken; say what to do.", epilog=EPILOG)(doctor.doctor)
app.add_typer(fleet.app, name="fleet")
app.command("serve", short_help="Answer HTTP requests until stopped.", epilog=EPILOG)(serve.serve)
app.command("worker", short_help="Work for a fleet until stopped.", epilog=EPILOG)(worker.worker)
app.command("scheduler", short_help="Sync sources when they are due, until stopped.", epilog=EPILOG)(
    scheduler.scheduler
)
app.command("audit", short_help="Show who changed what.", epilog=EPILOG)(audit.audit)
route(app)
