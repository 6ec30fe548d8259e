"""``semantik collections``, ``reindex`` and ``rollback`` on a server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from semantik_pipeline.cli.collection_views import show_collection, show_list
from semantik_pipeline.cli.invocation import EXIT, Invocation
from semantik_pipeline.cli.reindex import asked_changes, filter_of, rolled_back, show_plan, show_reindex, would_rerun
from semantik_pipeline.cli.remote.following import followed
from semantik_pipeline.cli.source_options import parse_object
from semantik_pipeline.cli.trash import window
from semantik_pipeline.configurations import parse_changes
from semantik_pipeline.errors import UsageError

if TYPE_CHECKING:
    from semantik_pipeline.client import Client


def create(call: Invocation, client: Client, *, name: str, changes: list[str] | None, config_json: str | None) -> int:
    config = parse_object(config_json) if config_json else None
    made = client.collections.create(name, config=config, changes=parse_changes(changes or ()))
    return _give(call, made, "Created.")


def list_(call: Invocation, client: Client) -> int:
    found: list[Any] = [*client.collections.each()]
    way_on = call.command("collections create NAME")
    call.output.give({"collections": found}, lambda console: show_list(console, found, way_on))
    return 0


def show(call: Invocation, client: Client, *, name: str) -> int:
    return _give(call, client.collections.show(name), None)


def configure(
    call: Invocation,
    client: Client,
    *,
    name: str,
    changes: list[str] | None,
    unset: list[str] | None,
    if_match: str | None,
) -> int:
    asked = parse_changes(changes or ()) | dict.fromkeys(unset or ())
    if not asked:
        raise UsageError("No change is given.", "Write chunking.max_tokens=150, or --unset chunking.max_tokens.")
    return _give(call, client.collections.configure(name, asked, if_match=if_match), "Changed.")


def rename(call: Invocation, client: Client, *, name: str, new_name: str) -> int:
    renamed = cast("dict[str, Any]", client.collections.rename(name, new_name))
    call.output.give(renamed, lambda console: console.print(f"Renamed {name!r} to {new_name!r}.", soft_wrap=True))
    return 0


def delete(call: Invocation, client: Client, *, name: str, purge: bool) -> int:
    deleted = client.collections.delete(name, purge=purge)
    days = client.trash(limit=1)["retention_days"]
    more = "Its data is being removed." if purge or not days else window(call, days)
    answer = {**deleted, "gone": False}
    call.output.give(answer, lambda console: console.print(f"Deleted {name!r}. {more}", soft_wrap=True))
    return 0


def restore(call: Invocation, client: Client, *, name: str) -> int:
    client.collections.restore(name)
    return _give(call, client.collections.show(name), "Restored.")


def reindex(
    call: Invocation,
    client: Client,
    *,
    collection: str,
    set_: list[str] | None,
    dry_run: bool,
    where: list[str] | None,
    fresh: bool,
    accept_losses: bool,
    force: bool,
    wait: bool,
) -> int:
    changes = asked_changes(set_, where, fresh=fresh)
    if dry_run and where:
        return _would_rerun(call, client, collection, filter_of(where))
    if dry_run:
        found = cast("dict[str, Any]", client.collections.plan_reindex(collection, changes))
        call.output.give({**found, "dry_run": True}, lambda console: show_plan(console, found))
        return 0
    if where:
        begun = client.collections.rerun(collection, filter_of(where), fresh=fresh)
    else:
        begun = client.collections.reindex(collection, changes, accept_losses=accept_losses, force=force)
    answer: dict[str, Any] = {"operation": begun["operation"], "outcome": None}
    if wait:
        ended = followed(call, client, begun["operation"])
        answer = {"operation": ended["operation"], "outcome": ended["outcome"], **(ended["result"] or {})}
    if not where:
        answer["generations"] = client.collections.show(collection)["generations"]
    call.output.give(
        {**answer, "collection": collection}, lambda console: show_reindex(call, console, collection, answer)
    )
    return EXIT.get(answer["outcome"] or "", 0)


def _would_rerun(call: Invocation, client: Client, collection: str, where: dict[str, Any]) -> int:
    answer: dict[str, Any] = {**client.collections.plan_rerun(collection, where), "dry_run": True}
    told = would_rerun(collection, answer["documents"])
    call.output.give(answer, lambda console: console.print(told, soft_wrap=True))
    return 0


def rollback(call: Invocation, client: Client, *, collection: str, force: bool) -> int:
    answer = cast("dict[str, Any]", client.collections.rollback(collection, force=force))
    told = rolled_back(collection, answer)
    call.output.give(answer, lambda console: console.print(told, soft_wrap=True))
    return 0


def _give(call: Invocation, row: Any, done: str | None) -> int:
    call.output.give(row, lambda console: show_collection(console, row, done))
    return 0
