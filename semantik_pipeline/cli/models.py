"""``semantik models``: list, locate, download and verify models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semantik_pipeline.cli.arguments import EPILOG, given_path
from semantik_pipeline.cli.invocation import begin

if TYPE_CHECKING:
    from rich.console import Console

    from semantik_pipeline.cli.invocation import Invocation
    from semantik_pipeline.contracts.models import ModelFiles
    from semantik_pipeline.models.checking import Checked

app = typer.Typer(help="List, locate, download and verify models.", no_args_is_help=True, rich_markup_mode=None)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Hugging Face model name, or a folder.")]


@app.command("list", epilog=EPILOG)
def list_models(context: typer.Context) -> int:
    """List models in use, and others in the models folder."""
    call = begin(context)
    from semantik_pipeline.models.inventory import inventory

    with call.runtime() as runtime:
        found = [model.to_dict() for model in inventory(runtime)]
        folder = runtime.settings.models_dir
    call.output.give({"models": found, "models_dir": str(folder)}, lambda console: show_models(console, found, folder))
    return 0


@app.command("where", epilog=EPILOG)
def where(context: typer.Context, name: Name) -> int:
    """Show which files are used for a model, and why. Exit code 1 if none are found."""
    call = begin(context)
    from semantik_pipeline.models import inventory

    with call.runtime() as runtime:
        files = inventory.where(runtime.host, name)
        why = inventory.why(files, runtime.settings.models_dir)
    answer = {**_facts(files), "reason": why}
    call.output.give(answer, lambda console: show_place(console, answer))
    return 0


@app.command("pull", epilog=EPILOG)
def pull(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Hugging Face model name: OWNER/NAME.")],
    revision: Annotated[str | None, typer.Option(metavar="SHA", help="Commit, branch or tag (default: main).")] = None,
    to: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", parser=given_path, help="Folder to download into (default: models.dir in the settings)."
        ),
    ] = None,
    pickles: Annotated[
        bool, typer.Option("--pickles", help="Allow pickled weights, which can run code when they are loaded.")
    ] = False,
) -> int:
    """Download a model into the models folder.

    Without --revision, the newest commit of the main branch is downloaded and pinned. Every file is checked against the
    hub's checksum. Run the command again to resume an interrupted download.
    """
    call = begin(context)
    from semantik_pipeline.cli.wording import size
    from semantik_pipeline.models.pull import pull

    folder = to.absolute() if to else call.settings().models_dir
    if not call.output.as_json:
        call.say(f"Downloading {name} into {folder} ...")
    done = pull(name, folder, revision=revision, pickles=pickles)
    answer = {**_facts(done.files), "fetched": done.fetched, "size": done.bytes, "models_dir": str(folder)}
    what = "downloaded and verified" if done.fetched else "already downloaded, and intact"
    told = f"{done.files.name} at {done.files.revision}: {what}, {len(done.files.sha256)} files, {size(done.bytes)}."
    call.output.give(answer, lambda console: console.print(f"{told}\n{done.files.path}", soft_wrap=True))
    return 0


@app.command("verify", epilog=EPILOG)
def verify(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Only this model.")] = None,
) -> int:
    """Verify the checksums of model files.

    Exit code 1 if a file is missing or differs.
    """
    call = begin(context)
    from semantik_pipeline.models.checking import check

    files, missing = _asked(call, name)
    found = [(one, check(one)) for one in files]
    rows = [*(_row(one, checked) for one, checked in found), *missing]
    bad = [row["name"] for row in rows if row["state"] in ("broken", "missing")]
    call.output.give({"models": rows, "broken": bad}, lambda console: _show_checks(console, rows))
    return 1 if bad else 0


def _asked(call: Invocation, name: str | None) -> tuple[list[ModelFiles], list[dict[str, Any]]]:
    """Return the models to check, and a row for each model that is in use but not found."""
    from semantik_pipeline.contracts.models import place_of, pulled
    from semantik_pipeline.models import inventory

    with call.runtime() as runtime:
        folder = runtime.settings.models_dir
        if name is not None:
            place = place_of(folder, name)
            several = [one for one in inventory.stored(folder) if one.name == name] if place and pulled(place) else []
            return several or [inventory.where(runtime.host, name)], []
        models = inventory.inventory(runtime)
    missing = [
        {"name": one.name, "path": None, "state": "missing", "by": None, "files": 0, "problems": [one.reason]}
        for one in models
        if one.state == "missing"
    ]
    return list({one.files.path: one.files for one in models if one.files}.values()), missing


def _facts(files: ModelFiles) -> dict[str, Any]:
    return {"name": files.name, "path": str(files.path), "origin": files.origin, "revision": files.revision}


def _row(files: ModelFiles, checked: Checked) -> dict[str, Any]:
    return {**_facts(files), **vars(checked)}


def show_models(console: Console, models: list[dict[str, Any]], folder: Path | str) -> None:
    from semantik_pipeline.cli.tables import print_table
    from semantik_pipeline.cli.wording import printable, size

    rows = [
        (
            printable(one["name"]),
            one["state"],
            size(one["size"]) if one["size"] is not None else "-",
            (one["revision"] or "-")[:12],
            printable(", ".join(one["used_by"]) or "-"),
            printable(f"{one['origin']}: {one['path']}" if one["path"] else one["reason"] or one["plugin"] or "-"),
        )
        for one in models
    ]
    print_table(console, ("MODEL", "STATE", "SIZE", "REVISION", "USED BY", "FROM"), rows)
    console.print(f"Models folder: {folder}", style="dim", soft_wrap=True)


def show_place(console: Console, facts: dict[str, Any]) -> None:
    from semantik_pipeline.cli.tables import print_facts
    from semantik_pipeline.cli.wording import printable

    console.print(printable(facts["path"]), soft_wrap=True)
    print_facts(console, [(key, printable(str(facts[key]))) for key in ("origin", "revision", "reason") if facts[key]])


def _show_checks(console: Console, rows: list[dict[str, Any]]) -> None:
    from semantik_pipeline.cli.tables import print_table
    from semantik_pipeline.cli.wording import counted, printable

    told = {"unknown": "no checksums to compare with; models from `semantik models pull` have them"}
    lines = [
        (
            printable(row["name"]),
            row["state"],
            printable(
                "; ".join(row["problems"])
                or told.get(row["state"], f"{counted(row['files'], 'file')} checked against {row['by']}")
            ),
            printable(row["path"] or ""),
        )
        for row in rows
    ]
    print_table(console, ("MODEL", "STATE", "DETAIL", "PATH"), lines)
