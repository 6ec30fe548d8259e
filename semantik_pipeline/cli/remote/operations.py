"""``semantik operations`` on a server."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Any

from semantik_pipeline.cli.invocation import EXIT, Invocation
from semantik_pipeline.cli.operation_views import show_list, show_operation
from semantik_pipeline.cli.operations import LISTED, LOOK, cancelled, paused
from semantik_pipeline.cli.pace import Pace
from semantik_pipeline.cli.remote.following import followed, shown

if TYPE_CHECKING:
    from semantik_pipeline.client import Client


def list_(call: Invocation, client: Client, *, all_: bool, watch: bool) -> int:
    paces: dict[int, Pace] = {}
    while True:
        found = listed(client, None if all_ else LISTED, paces)
        if watch and not call.output.as_json:
            call.output.console().clear()
        call.output.give({"operations": found}, lambda console, found=found: show_list(call, console, found))
        call.output.flush()
        if not watch:
            return 0
        time.sleep(LOOK)


def listed(client: Client, finished: int | None, paces: dict[int, Pace]) -> list[dict[str, Any]]:
    """Return operations, newest first: all unfinished ones with their progress, and the last finished ones.

    ``finished`` is the maximum number of finished ones (None: no limit).
    """
    left: list[Any] = [*client.operations.each(finished=False)]
    ended: list[Any] = [*islice(client.operations.each(finished=True), finished)] if finished != 0 else []
    rows = []
    for row in sorted([*left, *ended], key=lambda row: row["id"], reverse=True):
        if row["state"] != "finished":
            whole = shown(client.operations.show(row["id"]), paces.setdefault(row["id"], Pace()))
            row = {**row, "progress": whole["progress"]}
        rows.append(row)
    return rows


def show(call: Invocation, client: Client, *, operation: str, watch: bool) -> int:
    pace = Pace() if watch else None
    while True:
        answer = shown(client.operations.show(operation), pace)
        if watch and not call.output.as_json:
            call.output.console().clear()
        call.output.give(answer, lambda console, answer=answer: show_operation(call, console, answer))
        call.output.flush()
        if not watch or answer["state"] == "finished":
            return _exit_code(answer)
        time.sleep(LOOK)


def pause(call: Invocation, client: Client, *, operation: str) -> int:
    held = client.operations.pause(operation)["affected_documents"]
    answer = {**shown(client.operations.show(operation)), "affected_documents": held}
    again = call.command(f"operations resume {answer['operation']}")
    told = paused(answer["operation"], held, again)
    call.output.give(answer, lambda console: console.print(told, soft_wrap=True))
    return 0


def resume(call: Invocation, client: Client, *, operation: str, wait: bool) -> int:
    return _set_going(call, client, lambda: client.operations.resume(operation)["operation"]["id"], wait=wait)


def cancel(call: Invocation, client: Client, *, operation: str) -> int:
    parked = client.operations.cancel(operation)["affected_documents"]
    answer = {**shown(client.operations.show(operation)), "affected_documents": parked}
    told = cancelled(call, answer, parked)
    call.output.give(answer, lambda console: console.print(told, soft_wrap=True))
    return 0


def retry(call: Invocation, client: Client, *, operation: str, wait: bool) -> int:
    return _set_going(call, client, lambda: client.operations.retry(operation)["id"], wait=wait)


def _set_going(call: Invocation, client: Client, change: Callable[[], int], *, wait: bool) -> int:
    operation = change()
    if wait:
        followed(call, client, operation)
    answer = shown(client.operations.show(operation))
    call.output.give(answer, lambda console: show_operation(call, console, answer))
    return _exit_code(answer)


def _exit_code(answer: dict[str, Any]) -> int:
    return EXIT[answer["outcome"]] if answer["state"] == "finished" else 0
