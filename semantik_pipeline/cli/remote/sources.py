"""``semantik sources`` on a server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import time
from typing import TYPE_CHECKING, Any

from semantik_pipeline.cli import source_options as typed
from semantik_pipeline.cli.invocation import EXIT, Invocation
from semantik_pipeline.cli.remote.following import followed
from semantik_pipeline.cli.remote.trashed import trashed
from semantik_pipeline.cli.source_views import show_list, show_operations, show_source
from semantik_pipeline.errors import NotFound, UsageError

if TYPE_CHECKING:
    from semantik_pipeline.client import Client


def add(
    call: Invocation,
    client: Client,
    *,
    connector: str,
    place: str | None,
    name: str | None,
    options: list[str] | None,
    config_json: str | None,
    collection: str,
    every: str | None,
    cron: str | None,
    timezone: str | None,
    jitter: str | None,
    weight: float | None,
    principals: list[str] | None,
) -> int:
    schema = client.plugins.config_schema(connector)
    config = {} if config_json is None else typed.parse_object(config_json)
    if place is not None:
        option = typed.place_option(connector, schema)
        place = typed.place_value(connector, option, place, here=call.url is None)
        config |= typed.parse_options(schema, [f"{option}={place}"])
    config |= typed.parse_options(schema, options or ())
    if name is None:
        if place is None:
            raise UsageError("The source needs a name.", "Give its path or URL after the connector, or --name.")
        name = typed.source_name(connector, option, place, config)
    when = _when({"every": every, "cron": cron, "timezone": timezone, "jitter": jitter}, None)
    more: dict[str, Any] = {} if weight is None else {"weight": weight}
    added = client.sources.add(
        connector, name, config=config, collection=collection, schedule=when, principals=principals, **more
    )
    return _give(call, added, "Added.")


def list_(call: Invocation, client: Client, *, collection: str | None) -> int:
    if collection is not None:
        client.collections.show(collection)
    found = [_row(row) for row in client.sources.each(collection=collection)]
    way_on = call.command("sources add CONNECTOR PATH-or-URL")
    call.output.give({"sources": found}, lambda console: show_list(console, found, way_on))
    return 0


def show(call: Invocation, client: Client, *, source: str) -> int:
    return _give(call, named(client, source), None)


def set_(
    call: Invocation,
    client: Client,
    *,
    source: str,
    options: list[str] | None,
    unset: list[str] | None,
    config_json: str | None,
    name: str | None,
    every: str | None,
    cron: str | None,
    timezone: str | None,
    jitter: str | None,
    no_schedule: bool,
    weight: float | None,
    principals: list[str] | None,
    everybody: bool,
) -> int:
    before = named(client, source)
    changes: dict[str, Any] = {}
    if options or unset or config_json is not None:
        schema = client.plugins.config_schema(before["connector"])
        changes["config"] = typed.changed(before["config"], schema, options or (), unset or (), config_json)
    if name is not None:
        changes["name"] = name
    if weight is not None:
        changes["weight"] = weight
    if principals and everybody:
        raise UsageError("--principal and --everybody contradict each other.", "Use one of them.")
    if principals or everybody:
        changes["principals"] = principals or None
    asked = {"every": every, "cron": cron, "timezone": timezone, "jitter": jitter}
    if no_schedule and any(asked.values()):
        raise UsageError("--no-schedule and a schedule contradict each other.", "Use one of them.")
    if no_schedule or any(asked.values()):
        changes["schedule"] = None if no_schedule else _when(asked, before["schedule"])
    if not changes:
        raise UsageError(
            "No change is given.", "Use --set KEY=VALUE, --every, --cron, --weight, --principal or --name."
        )
    tag = before.get("etag") if "config" in changes else None  # all options are replaced: refuse if changed meanwhile
    return _give(call, client.sources.update(before["id"], if_match=tag, **changes), "Changed.")


def sync(call: Invocation, client: Client, *, names: list[str], wait: bool, full: bool, allow_deletions: bool) -> int:
    def begin(source: Any) -> Any:
        return client.sources.sync(source["id"], full=full, allow_deletions=allow_deletions)

    return _run(call, client, [named(client, name) for name in dict.fromkeys(names)], begin, wait=wait)


def pause(call: Invocation, client: Client, *, source: str, reason: str) -> int:
    return _give(call, client.sources.pause(named(client, source)["id"], reason=reason), "Paused.")


def resume(call: Invocation, client: Client, *, source: str, allow_deletions: bool) -> int:
    resumed = client.sources.resume(named(client, source)["id"], allow_deletions=allow_deletions)
    return _give(call, resumed, "Resumed.")


def remove(call: Invocation, client: Client, *, names: list[str], wait: bool, purge: bool) -> int:
    found = [named(client, name) for name in dict.fromkeys(names)]
    return _run(call, client, found, lambda source: client.sources.remove(source["id"], purge=purge), wait=wait)


def restore(call: Invocation, client: Client, *, names: list[str], wait: bool) -> int:
    there: list[Any] = trashed(client, documents=0)["sources"]
    found = [_one(there, name, "`semantik trash` lists its contents.") for name in dict.fromkeys(names)]
    return _run(call, client, found, lambda source: client.sources.restore(source["id"]), wait=wait)


def named(client: Client, name: str) -> dict[str, Any]:
    """Return the source with this id, name, or end of a name. Raises NotFound for none, UsageError for several."""
    return _one([*client.sources.each()], name, "`semantik sources list` shows ids and names.")


def _one(there: Sequence[Any], name: str, hint: str) -> dict[str, Any]:
    exact = [row for row in there if row["name"] == name or str(row["id"]) == name]
    found = exact or [row for row in there if row["name"].endswith(f"/{name}")]
    if not found:
        raise NotFound(f"There is no source {name!r}.", hint)
    if len(found) > 1:
        some = ", ".join(f"{row['id']} ({row['connector']}, collection {row['collection']})" for row in found[:5])
        raise UsageError(f"{name!r} matches {len(found)} sources: {some}.", "Give the id of one of them.")
    return found[0]


def _when(asked: dict[str, str | None], before: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the schedule for the API: the current one with the given options replaced. None if none is given."""
    given = {name: value for name, value in asked.items() if value is not None}
    if not given:
        return None
    there = {name: value for name, value in (before or {}).items() if name in asked and value is not None}
    if "every" in given or "cron" in given:
        there = {name: value for name, value in there.items() if name not in ("every", "cron")}
        if "every" in given:
            there.pop("timezone", None)
    told = {name: f"{value:g}s" if isinstance(value, int | float) else value for name, value in there.items()}
    return {**told, **given}


def _run(call: Invocation, client: Client, found: list[Any], begin: Callable[[Any], Any], *, wait: bool) -> int:
    """Start an operation for each source. With ``wait``, print the outcomes; otherwise print the operations' names."""
    begun = [(source, begin(source)) for source in found]
    answers = [_follow(call, client, source, operation["operation"], wait=wait) for source, operation in begun]
    way_on = f"The server does it. See its progress: {call.command('sources list')}"
    call.output.give({"sources": answers}, lambda console: show_operations(console, answers, way_on))
    codes = {EXIT.get(answer["outcome"] or "", 0) for answer in answers}
    return 1 if 1 in codes else max(codes)


def _follow(call: Invocation, client: Client, source: Any, operation: str, *, wait: bool) -> dict[str, Any]:
    answer: dict[str, Any] = {"source": source, "outcome": None, "documents": None, "chunks": None, "errors": []}
    if not wait:
        return {"operation": operation, **answer}
    ended = followed(call, client, operation)
    result = ended["result"] or {}
    answer |= {name: result.get(name, answer[name]) for name in ("documents", "chunks", "errors")}
    return {"operation": ended["operation"], **answer, "outcome": ended["outcome"]}


def _give(call: Invocation, row: Any, done: str | None) -> int:
    told = _row(row)
    call.output.give(told, lambda console: show_source(console, told, done))
    return 0


def _row(row: Any) -> dict[str, Any]:
    """Convert a source to the ledger's form. ``now`` is this host's time, from which relative times are computed."""
    return {name: value for name, value in row.items() if name != "etag"} | {"now": time()}
