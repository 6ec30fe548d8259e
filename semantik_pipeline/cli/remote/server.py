"""``semantik fleet``, ``keys`` and ``trash`` on a server."""

from __future__ import annotations

from collections.abc import Callable
from time import sleep
from typing import TYPE_CHECKING, Any, cast

from semantik_pipeline.cli.fleet import LOOK
from semantik_pipeline.cli.fleet_views import asked_words, no_worker_words, show_fleet, waiting_words
from semantik_pipeline.cli.invocation import Invocation
from semantik_pipeline.cli.keys import show_keys, show_new
from semantik_pipeline.cli.remote.trashed import trashed
from semantik_pipeline.cli.trash import LISTED, show_trash
from semantik_pipeline.schedules import parse_duration

if TYPE_CHECKING:
    from semantik_pipeline.client import Client


#: Number of keys per request.
PAGE = 500


def trash(call: Invocation, client: Client, *, limit: int | None) -> int:
    limit = limit or (None if call.output.as_json else LISTED)
    found = trashed(client, documents=limit)
    call.output.give(found, lambda console: show_trash(console, found))
    return 0


# -- keys -------------------------------------------------------------------------------------------------------------


def create_key(
    call: Invocation,
    client: Client,
    *,
    name: str,
    role: str,
    collections: list[str] | None,
    principals: list[str] | None,
    expires: str | None,
) -> int:
    if expires is not None:
        parse_duration(expires)  # reject it here, with the command's own message
    made: dict[str, Any] = {
        **client.keys.create(name, role=role, collections=collections, principals=principals, expires_in=expires)
    }
    key = made.pop("key")
    call.output.give({"key": key, **made}, lambda console: show_new(console, key, made))
    return 0


def list_keys(call: Invocation, client: Client) -> int:
    rows: list[Any] = [*client.keys.each(limit=PAGE)]
    call.output.give({"keys": rows}, lambda console: show_keys(console, rows))
    return 0


def revoke_key(call: Invocation, client: Client, *, name: str) -> int:
    row = cast("dict[str, Any]", client.keys.revoke(name))
    call.output.give(row, lambda console: console.print(f"Revoked {row['name']}.", soft_wrap=True))
    return 0


# -- workers ----------------------------------------------------------------------------------------------------------


def fleet_status(call: Invocation, client: Client, *, watch: bool) -> int:
    while True:
        found = cast("dict[str, Any]", client.fleet.status())
        if watch and not call.output.as_json:
            call.output.console().clear()
        call.output.give(found, lambda console, found=found: show_fleet(console, found, server=call.url))
        call.output.flush()
        if not watch:
            return 1 if found["blocked"] else 0
        sleep(LOOK)


def drain(call: Invocation, client: Client, *, workers: list[str] | None, wait: bool) -> int:
    return _ask(call, client, client.fleet.drain, workers, wait=wait)


def resume(call: Invocation, client: Client, *, workers: list[str] | None, wait: bool) -> int:
    return _ask(call, client, client.fleet.resume, workers, wait=wait)


def restart(call: Invocation, client: Client, *, workers: list[str] | None, wait: bool) -> int:
    return _ask(call, client, client.fleet.restart, workers, wait=wait)


def _ask(call: Invocation, client: Client, ask: Callable[..., Any], names: list[str] | None, *, wait: bool) -> int:
    told = ask(names)
    asked, command = told["workers"], told["command"]
    lost = _await(call, client, asked, command) if wait else []
    answer: dict[str, Any] = {"command": command, "workers": asked, "done": not lost if wait else None}
    if asked:
        line = asked_words(command, asked, lost, wait=wait)
    else:
        line = no_worker_words(command, fleet=client.fleet.status()["distributed"], server=call.url)
    call.output.give(answer, lambda console: console.print(line, soft_wrap=True))
    return 0 if asked and not lost else 1


def _await(call: Invocation, client: Client, asked: list[str], command: str) -> list[str]:
    """Wait until the workers have done it. Returns the ids of the workers that died instead."""
    said: list[str] | None = None
    while True:
        workers = client.fleet.status()["workers"]
        left = _waiting_for(workers, asked, command)
        if not left:
            return [row["id"] for row in workers if row["id"] in asked and row["state"] == "lost"]
        if left != said:
            call.say(waiting_words(asked, left))
            said = left
        sleep(LOOK / 4)


def _waiting_for(workers: Any, asked: list[str], command: str) -> list[str]:
    """Return the workers that have not done it yet. After a restart, the new process is another worker."""
    living = {row["id"]: row for row in workers if row["state"] not in ("lost", "stopped")}
    mine = [living[name] for name in asked if name in living]
    if command == "restart":
        return [row["id"] for row in mine]
    wanted = "draining" if command == "drain" else "ready"
    busy = command == "drain"
    return [
        row["id"] for row in mine if row["state"] != wanted or (busy and (row.get("in_progress") or {}).get("stages"))
    ]
