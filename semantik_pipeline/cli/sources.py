"""``semantik sources``: add, schedule, sync, pause, remove and restore sources."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semantik_pipeline.cli.arguments import EPILOG
from semantik_pipeline.cli.invocation import Invocation, begin

if TYPE_CHECKING:
    from collections.abc import Iterator

    from semantik_pipeline.runtime import Runtime

app = typer.Typer(
    help="Add, schedule, sync, pause and remove sources.\n\nA source is a place whose documents are indexed, such as a "
    "folder, a git repository, a mailbox, a bucket or a website.",
    rich_markup_mode=None,
    no_args_is_help=True,
)

SourceArgument = Annotated[str, typer.Argument(metavar="SOURCE", help="Id, name, or end of the name.")]
SourcesArgument = Annotated[
    list[str], typer.Argument(metavar="SOURCE", help="Ids, names, or ends of names of sources.")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Connector option; repeatable.")
]
EveryOption = Annotated[str | None, typer.Option(metavar="DURATION", help="Sync at this interval, e.g. 15m, 2h or 1d.")]
CronOption = Annotated[str | None, typer.Option(metavar="CRON", help='Sync on this cron schedule, e.g. "0 3 * * *".')]
ZoneOption = Annotated[str | None, typer.Option(metavar="ZONE", help="Time zone of --cron, e.g. Europe/Berlin.")]
JitterOption = Annotated[
    str | None, typer.Option(metavar="DURATION", help="Spread the sources of one schedule over this time, e.g. 30s.")
]
WeightOption = Annotated[
    float | None, typer.Option(metavar="W", help="Share of the workers, relative to other sources, which have 1.")
]
PrincipalOption = Annotated[
    list[str] | None,
    typer.Option("--principal", metavar="P", help="User or group that may see the documents; repeatable."),
]
WaitOption = Annotated[bool, typer.Option("--wait", help="Wait until it has finished.")]


@app.command(short_help="Add a source.", epilog=EPILOG)
def add(
    context: typer.Context,
    connector: Annotated[str, typer.Argument(metavar="CONNECTOR", help="Connector, e.g. directory, git or s3.")],
    place: Annotated[str | None, typer.Argument(metavar="PATH-or-URL", help="Location of the documents.")] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the source (default: the path or URL).")
    ] = None,
    options: SetOption = None,
    config_json: Annotated[str | None, typer.Option(metavar="JSON", help="Connector options as a JSON object.")] = None,
    collection: Annotated[str, typer.Option(metavar="NAME", help="Collection to index into.")] = "default",
    every: EveryOption = None,
    cron: CronOption = None,
    timezone: ZoneOption = None,
    jitter: JitterOption = None,
    weight: WeightOption = None,
    principals: PrincipalOption = None,
) -> int:
    """Add a source. Without a schedule, it is synced by `sources sync` only. Give secrets by the name of an environment
    variable: --set password_env=NAME."""
    call = begin(context)
    from semantik_pipeline import sources
    from semantik_pipeline.cli import source_options as typed
    from semantik_pipeline.errors import UsageError
    from semantik_pipeline.schedules import parse_schedule

    with beside(call) as runtime:
        settings, schema = runtime.settings, _schema(runtime, connector)
        config = {} if config_json is None else typed.parse_object(config_json)
        if place is not None:
            option = typed.place_option(connector, schema)
            place = typed.place_value(connector, option, place, here=not settings.fleet)
            config |= typed.parse_options(schema, [f"{option}={place}"])
        config |= typed.parse_options(schema, options or ())
        _require(runtime, connector, config)
        if name is None:
            if place is None:
                raise UsageError("The source needs a name.", "Give its path or URL after the connector, or --name.")
            name = typed.source_name(connector, option, place, config)
        due = parse_schedule(every, cron, timezone, jitter, default_zone=settings.schedule.timezone)
        share = 1.0 if weight is None else weight
        new = sources.NewSource(
            connector=connector, name=name, config=config, schedule=due, weight=share, principals=principals
        )
        added = sources.add(runtime, new, collection=collection)
    return _give(call, added, "Added.")


@app.command("list", short_help="List sources.", epilog=EPILOG)
def list_(
    context: typer.Context,
    collection: Annotated[str | None, typer.Option(metavar="NAME", help="Only sources of this collection.")] = None,
) -> int:
    """List sources with their schedule, next and last sync, documents, state, and the reason for it."""
    call = begin(context)
    from semantik_pipeline.cli.source_views import show_list
    from semantik_pipeline.ledger.catalog import collections
    from semantik_pipeline.ledger.ingestion import sources as ledger

    with call.runtime() as runtime, runtime.ledger.read() as tx:
        if collection is not None:
            collections.get_collection(tx, collection)
        found = ledger.list_sources(tx, collection=collection)
    way_on = call.command("sources add CONNECTOR PATH-or-URL")
    call.output.give({"sources": found}, lambda console: show_list(console, found, way_on))
    return 0


@app.command(short_help="Show a source.", epilog=EPILOG)
def show(context: typer.Context, source: SourceArgument) -> int:
    """Show a source: options, schedule, last error, and what could not be read."""
    call = begin(context)
    with call.runtime() as runtime:
        return _give(call, named(runtime, source), None)


@app.command("set", short_help="Change a source.", epilog=EPILOG)
def set_(
    context: typer.Context,
    source: SourceArgument,
    options: SetOption = None,
    unset: Annotated[list[str] | None, typer.Option(metavar="KEY", help="Remove this option; repeatable.")] = None,
    config_json: Annotated[
        str | None, typer.Option(metavar="JSON", help="Replace all options, as a JSON object.")
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="New name.")] = None,
    every: EveryOption = None,
    cron: CronOption = None,
    timezone: ZoneOption = None,
    jitter: JitterOption = None,
    no_schedule: Annotated[bool, typer.Option("--no-schedule", help="Remove the schedule.")] = False,
    weight: WeightOption = None,
    principals: PrincipalOption = None,
    everybody: Annotated[bool, typer.Option("--everybody", help="Let everybody see the documents.")] = False,
) -> int:
    """Change a source. Indexed documents stay; new options apply from its next sync."""
    call = begin(context)
    from semantik_pipeline import sources
    from semantik_pipeline.errors import UsageError

    with beside(call) as runtime:
        before = named(runtime, source)
        changes: dict[str, Any] = {}
        if options or unset or config_json is not None:
            changes["config"] = _changed_config(runtime, before, options or [], unset or [], config_json)
        if name is not None:
            changes["name"] = name
        if weight is not None:
            changes["weight"] = weight
        if principals and everybody:
            raise UsageError("--principal and --everybody contradict each other.", "Use one of them.")
        if principals or everybody:
            changes["principals"] = principals or None
        changes |= _schedule(runtime, before, (every, cron, timezone, jitter), no_schedule)
        if not changes:
            raise UsageError(
                "No change is given.", "Use --set KEY=VALUE, --every, --cron, --weight, --principal or --name."
            )
        changed = sources.change(runtime, before, **changes)
    return _give(call, changed, "Changed.")


def _changed_config(
    runtime: Runtime, before: dict[str, Any], options: list[str], unset: list[str], config_json: str | None
) -> dict[str, Any]:
    """Return the source's options with the changes.

    Raises UsageError for an argument that can't be applied, or if a required option would be missing.
    """
    from semantik_pipeline.cli.source_options import changed

    config = changed(before["config"], _schema(runtime, before["connector"]), options, unset, config_json)
    _require(runtime, before["connector"], config)
    return config


@app.command(short_help="Sync sources now.", epilog=EPILOG)
def sync(
    context: typer.Context,
    names: SourcesArgument,
    wait: WaitOption = False,
    full: Annotated[bool, typer.Option("--full", help="List the whole source again, not only its changes.")] = False,
    allow_deletions: Annotated[
        bool, typer.Option("--allow-deletions", help="Delete even if most documents of a source have disappeared.")
    ] = False,
) -> int:
    """Sync sources now, regardless of their schedules. Without a fleet, --wait does the work in this process unless
    another process (such as `semantik serve`) is working."""
    from semantik_pipeline import sources
    from semantik_pipeline.cli.source_work import run_for

    def begin_one(runtime: Runtime, source: dict[str, Any]) -> int:
        return sources.sync(runtime, source, full=full, allow_deletions=allow_deletions)

    return run_for(begin(context), names, begin_one, wait=wait)


@app.command(short_help="Pause a source.", epilog=EPILOG)
def pause(
    context: typer.Context,
    source: SourceArgument,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Reason, shown in listings.")] = "paused by hand",
) -> int:
    """Pause a source until you resume it. A running sync stops and continues later; indexed documents stay."""
    call = begin(context)
    from semantik_pipeline import sources

    with beside(call) as runtime:
        paused = sources.pause(runtime, named(runtime, source), reason)
    return _give(call, paused, "Paused.")


@app.command(short_help="Resume a paused source.", epilog=EPILOG)
def resume(
    context: typer.Context,
    source: SourceArgument,
    allow_deletions: Annotated[
        bool, typer.Option("--allow-deletions", help="Sync now, and delete the documents that have disappeared.")
    ] = False,
) -> int:
    """Resume a paused source and clear its last error."""
    call = begin(context)
    from semantik_pipeline import sources

    with beside(call) as runtime:
        found = named(runtime, source)
        sources.resume(runtime, found, allow_deletions=allow_deletions)
        resumed = named(runtime, str(found["id"]))
    return _give(call, resumed, "Resumed.")


@app.command(short_help="Remove sources and their documents.", epilog=EPILOG)
def remove(
    context: typer.Context,
    names: SourcesArgument,
    wait: WaitOption = False,
    purge: Annotated[bool, typer.Option("--purge", help="Delete permanently, without the trash.")] = False,
) -> int:
    """Remove sources and their documents from the index. They stay in the trash for `retention.trash_days` (7 by
    default). The files, repositories and mailboxes themselves are not changed.

    --wait returns when the documents are removed. Without a fleet or a running server, the command always waits.
    """
    from functools import partial

    from semantik_pipeline import sources
    from semantik_pipeline.cli.source_work import run_for

    call = begin(context)
    removed = partial(sources.remove, purge=purge)
    find = anywhere if purge else named
    return run_for(call, names, removed, wait=wait or not call.settings().fleet, find=find)


@app.command(short_help="Restore removed sources.", epilog=EPILOG)
def restore(context: typer.Context, names: SourcesArgument, wait: WaitOption = False) -> int:
    """Restore sources from the trash, with the documents that were removed with them. Their schedules apply again."""
    from semantik_pipeline import trash
    from semantik_pipeline.cli.source_work import run_for

    call = begin(context)
    here = not call.settings().fleet
    return run_for(call, names, trash.restore_source, wait=wait or here, find=in_trash)


@contextmanager
def beside(call: Invocation) -> Iterator[Runtime]:
    """Yield a runtime that changes only the ledger and, on a fleet, notifies the workers."""
    from semantik_pipeline.cli.working import beside_a_fleet

    with beside_a_fleet(call) if call.settings().fleet else call.runtime() as runtime:
        yield runtime


def named(runtime: Runtime, name: str) -> dict[str, Any]:
    """Return the source with this id, name or end of a name. Raises UsageError if there is not exactly one."""
    from semantik_pipeline.ledger.ingestion import sources as ledger

    with runtime.ledger.read() as tx:
        return ledger.find_source(tx, name)


def in_trash(runtime: Runtime, name: str) -> dict[str, Any]:
    """Return the source in the trash with this id or name. Raises UsageError if there is not exactly one."""
    from semantik_pipeline.ledger.retention import trash_contents as ledger

    with runtime.ledger.read() as tx:
        return {**ledger.find_source(tx, name), "removed_at": None}


def anywhere(runtime: Runtime, name: str) -> dict[str, Any]:
    """Return the source with this id or name, in the trash or not. Raises UsageError if there is not exactly one."""
    from semantik_pipeline.errors import UsageError

    try:
        return named(runtime, name)
    except UsageError as error:
        try:
            return in_trash(runtime, name)
        except UsageError:
            raise error from None


def _schema(runtime: Runtime, connector: str) -> dict[str, Any] | None:
    from semantik_pipeline.plugins.configuration import schema_of

    return schema_of(runtime.host.registry.get(connector, "connector"))


def _require(runtime: Runtime, connector: str, config: dict[str, Any]) -> None:
    """Raise UsageError if a required option is missing."""
    from semantik_pipeline.errors import UsageError
    from semantik_pipeline.plugins.configuration import missing_options

    host = runtime.host
    for name in missing_options(host.registry.get(connector, "connector"), host.state, config):
        raise UsageError(f"The connector {connector!r} needs the option {name!r}.", f"Add --set {name}=VALUE.")


def _schedule(
    runtime: Runtime, before: dict[str, Any], given: tuple[str | None, ...], no_schedule: bool
) -> dict[str, Any]:
    """Return ``{"schedule": ...}`` if the schedule changes, otherwise an empty dict."""
    from semantik_pipeline.errors import UsageError
    from semantik_pipeline.schedules import Schedule, parse_schedule

    if no_schedule and any(given):
        raise UsageError("--no-schedule and a schedule contradict each other.", "Use one of them.")
    if no_schedule:
        return {"schedule": None}
    if not any(given):
        return {}
    there = Schedule.of(before["schedule"]) if before["schedule"] else None
    zone = runtime.settings.schedule.timezone
    return {"schedule": parse_schedule(*given, default_zone=zone, before=there)}


def _give(call: Invocation, row: dict[str, Any], done: str | None) -> int:
    from semantik_pipeline.cli.source_views import show_source

    call.output.give(row, lambda console: show_source(console, row, done))
    return 0
