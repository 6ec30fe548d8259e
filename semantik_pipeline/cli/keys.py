"""``semantik keys``: create, list and revoke API keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from semantik_pipeline.cli.arguments import EPILOG
from semantik_pipeline.cli.invocation import begin

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(help="Create, list and revoke API keys.", rich_markup_mode=None, no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the key.")]


@app.command(short_help="Create an API key.", epilog=EPILOG)
def create(
    context: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Who or what will use the key; the audit log shows it as key:NAME.")
    ],
    role: Annotated[
        str, typer.Option(metavar="reader|writer|admin", help="What the key may do: read, also write, or everything.")
    ] = "reader",
    collections: Annotated[
        list[str] | None,
        typer.Option("--collection", metavar="C", help="Limit the key to this collection; repeatable."),
    ] = None,
    principals: Annotated[
        list[str] | None,
        typer.Option("--principal", metavar="P", help="Limit search to what this user or group may see; repeatable."),
    ] = None,
    expires: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Lifetime, e.g. 90d (default: it does not expire).")
    ] = None,
) -> int:
    """Create an API key. It is shown only once."""
    call = begin(context)
    from semantik_pipeline import access
    from semantik_pipeline.schedules import parse_duration

    seconds = parse_duration(expires) if expires is not None else None
    with call.runtime() as runtime:
        made = access.create_key(
            runtime, name, role=role, collections=collections, principals=principals, seconds=seconds
        )
    call.output.give({"key": made.key, **made.row}, lambda console: show_new(console, made.key, made.row))
    return 0


@app.command("list", short_help="List keys.", epilog=EPILOG)
def list_(context: typer.Context) -> int:
    """List keys with their roles, limits and last use, including revoked and expired ones. The keys themselves are not
    stored."""
    call = begin(context)
    from semantik_pipeline import access

    with call.runtime() as runtime:
        rows = access.list_keys(runtime)
    call.output.give({"keys": rows}, lambda console: show_keys(console, rows))
    return 0


@app.command(short_help="Revoke a key.", epilog=EPILOG)
def revoke(context: typer.Context, name: NameArgument) -> int:
    """Revoke a key. Servers refuse it within a few seconds. Its name can't be used again."""
    call = begin(context)
    from semantik_pipeline import access

    with call.runtime() as runtime:
        row = access.revoke_key(runtime, name)
    call.output.give(row, lambda console: console.print(f"Revoked {row['name']}.", soft_wrap=True))
    return 0


def show_new(console: Console, key: str, row: dict[str, Any]) -> None:
    from semantik_pipeline.cli.tables import print_facts

    console.print(key, soft_wrap=True)
    print_facts(console, zip(("name", "role", "collections", "principals", "expires"), _cells(row), strict=False))
    console.print("Store the key now: it is not shown again.", style="dim")


def show_keys(console: Console, rows: list[dict[str, Any]]) -> None:
    from semantik_pipeline.cli.tables import print_table

    if not rows:
        console.print("There are no keys yet. Create one: semantik keys create NAME")
        return
    header = ("NAME", "ROLE", "COLLECTIONS", "PRINCIPALS", "EXPIRES", "STATE", "LAST USED", "CREATED BY")
    shown = [(*_cells(row), row["state"], _when(row["last_used_at"]) or "never", row["created_by"]) for row in rows]
    print_table(console, header, shown)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    from semantik_pipeline.cli.wording import printable

    lists = [row["collections"], row["principals"]]
    named = ["all" if names is None else ", ".join(map(printable, names)) or "none" for names in lists]
    return (printable(row["name"]), row["role"], *named, _when(row["expires_at"]) or "never")


def _when(at: float | None) -> str:
    import time

    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at)) if at is not None else ""
