"""The command tree and the global options."""

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
from semantik_pipeline.cli.arguments import EPILOG, given_path
from semantik_pipeline.cli.groups import Grouped
from semantik_pipeline.cli.invocation import Invocation
from semantik_pipeline.cli.routing import route

#: Help text of `--url`.
URL_HELP = "Run the command on this server. [env: SEMANTIK_URL]"

# Plain help, because importing rich takes longer than all other imports together.
app = typer.Typer(name="semantik", cls=Grouped, rich_markup_mode=None, no_args_is_help=True)


def _version(context: typer.Context, asked: bool) -> None:
    if asked:
        from semantik_pipeline import __version__

        context.obj.give({"version": __version__}, lambda console: console.print(f"semantik {__version__}"))
        raise typer.Exit


@app.callback()
def semantik(
    context: typer.Context,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", parser=given_path, help="Folder of the database and the index. [env: SEMANTIK_DATA_DIR]"
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", parser=given_path, help="Settings file (TOML). [env: SEMANTIK_CONFIG]"),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(metavar="URL", envvar="SEMANTIK_URL", show_envvar=False, help=URL_HELP),
    ] = None,
    api_key_env: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Environment variable that holds the API key (default: SEMANTIK_API_KEY)."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Print debug logs and tracebacks to standard error.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Index documents, keep the index up to date, and search it.

    Start with `semantik index FOLDER`, then `semantik search QUESTION`.

    Global options may stand before or after the command.

    \b
    Exit codes:
      0    done
      1    failed, or a check found a problem
      2    wrong usage
      3    done, but something needs attention, such as a document that failed
      130  interrupted with Ctrl-C
    """
    context.obj = Invocation(
        output=context.obj, data_dir=data_dir, config=config, verbose=verbose, url=url or None, api_key_env=api_key_env
    )


app.command("index", short_help="Index folders or files.", epilog=EPILOG)(index.index)
app.command("search", short_help="Search a collection.", epilog=EPILOG)(search.search)
app.add_typer(collections.app, name="collections")
app.add_typer(documents.app, name="documents")
app.add_typer(sources.app, name="sources")
app.command("trash", short_help="List deleted items that can be restored.", epilog=EPILOG)(trash.trash)
app.command("status", short_help="Show collections, operations, backlog and disk use.", epilog=EPILOG)(status.status)
app.command("verify", short_help="Compare the index with the database.", epilog=EPILOG)(verify.verify)
app.command("reindex", short_help="Build a new index and switch to it.", epilog=EPILOG)(reindex.reindex)
app.command("rollback", short_help="Switch back to the previous index.", epilog=EPILOG)(reindex.rollback)
app.add_typer(operations.app, name="operations")
app.add_typer(plugins.app, name="plugins")
app.add_typer(models.app, name="models")
app.add_typer(keys.app, name="keys")
app.command("eval", short_help="Measure search quality.", epilog=EPILOG)(evaluate.evaluate)
app.command("migrate", short_help="Upgrade the database schema.", epilog=EPILOG)(migrate.migrate)
app.command("doctor", short_help="Find problems and suggest fixes.", epilog=EPILOG)(doctor.doctor)
app.add_typer(fleet.app, name="fleet")
app.command("serve", short_help="Run the HTTP API server.", epilog=EPILOG)(serve.serve)
app.command("worker", short_help="Run a worker process.", epilog=EPILOG)(worker.worker)
app.command("scheduler", short_help="Run the scheduler for source syncs.", epilog=EPILOG)(scheduler.scheduler)
app.command("audit", short_help="Show the audit log.", epilog=EPILOG)(audit.audit)
route(app)
