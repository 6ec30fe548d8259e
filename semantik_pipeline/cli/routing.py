"""Chooses where a command runs: in this process, or on a server.

Each command has a function that works in this process. Commands that a server can run have a second function, in
``cli/remote``, that takes the same arguments, uses the client, and gives the same answer. :func:`route` wraps each
command, so that the choice is made in one place.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from semantik_pipeline.cli.arguments import command_word

if TYPE_CHECKING:
    import typer

    from semantik_pipeline.cli.invocation import Invocation

#: Maps the commands that a server can run to their functions in ``cli/remote``.
REMOTE = {
    "index": "index:index",
    "search": "search:search",
    "documents list": "documents:list_",
    "documents show": "documents:show",
    "documents retry": "documents:retry",
    "documents drop": "documents:drop",
    "documents restore": "documents:restore",
    "operations list": "operations:list_",
    "operations show": "operations:show",
    "operations pause": "operations:pause",
    "operations resume": "operations:resume",
    "operations cancel": "operations:cancel",
    "operations retry": "operations:retry",
    "collections create": "collections:create",
    "collections list": "collections:list_",
    "collections show": "collections:show",
    "collections configure": "collections:configure",
    "collections rename": "collections:rename",
    "collections delete": "collections:delete",
    "collections restore": "collections:restore",
    "collections export": "transfers:export",
    "collections import": "transfers:import_",
    "reindex": "collections:reindex",
    "rollback": "collections:rollback",
    "verify": "verifying:verify",
    "sources add": "sources:add",
    "sources list": "sources:list_",
    "sources show": "sources:show",
    "sources set": "sources:set_",
    "sources sync": "sources:sync",
    "sources pause": "sources:pause",
    "sources resume": "sources:resume",
    "sources remove": "sources:remove",
    "sources restore": "sources:restore",
    "plugins list": "plugins:list_",
    "plugins show": "plugins:show",
    "plugins enable": "plugins:enable",
    "plugins disable": "plugins:disable",
    "plugins configure": "plugins:configure",
    "plugins health": "plugins:health",
    "keys create": "server:create_key",
    "keys list": "server:list_keys",
    "keys revoke": "server:revoke_key",
    "fleet status": "server:fleet_status",
    "fleet drain": "server:drain",
    "fleet resume": "server:resume",
    "fleet restart": "server:restart",
    "trash": "server:trash",
    "status": "status:status",
    "audit": "status:audit",
    "doctor": "host:doctor",
    "models list": "host:list_models",
    "models where": "host:where",
}

#: Commands of ``REMOTE`` that report on a host. They run on a server only if the user gives a URL. Otherwise this
#: process looks at this host itself, including what a server does not see.
OF_A_HOST = {"doctor", "models list", "models where"}


def route(app: typer.Typer, above: str = "") -> None:
    """Wrap each command of the tree, so that it runs in this process or on a server."""
    for command in app.registered_commands:
        assert command.callback is not None
        name = f"{above}{command.name or command.callback.__name__}"
        command.callback = _routed(name, command.callback)
    for group in app.registered_groups:
        assert group.typer_instance is not None
        route(group.typer_instance, f"{above}{group.name} ")


def narrowed(app: typer.Typer, args: Sequence[str]) -> typer.Typer:
    """Return the tree with only the requested command or group, or the whole tree if no known command is given.

    Typer reads the signatures of all commands in the tree, which takes noticeable time.
    """
    word = command_word(args)
    names = {command.name for command in app.registered_commands} | {group.name for group in app.registered_groups}
    if word not in names:
        return app
    one = copy.copy(app)
    one.registered_commands = [command for command in app.registered_commands if command.name == word]
    one.registered_groups = [group for group in app.registered_groups if group.name == word]
    return one


def _routed(name: str, command: Callable[..., int]) -> Callable[..., int]:
    @functools.wraps(command)
    def run(context: typer.Context, **given: Any) -> int:
        call: Invocation = context.find_root().obj
        if name not in REMOTE:
            _require_here(call, name)
            return command(context, **given)
        client = None if name in OF_A_HOST and call.url is None else call.server()
        if client is None:
            return command(context, **given)
        from semantik_pipeline.cli.invocation import begin

        begin(context)
        with client:
            return remote(name)(call, client, **given)

    return run


def remote(name: str) -> Callable[..., int]:
    """Return the function that runs this command on a server."""
    module, _, function = REMOTE[name].partition(":")
    return getattr(import_module(f"semantik_pipeline.cli.remote.{module}"), function)


def _require_here(call: Invocation, name: str) -> None:
    """Raise UsageError if a URL is given, for a command that no server can run."""
    if call.url is not None:
        from semantik_pipeline.errors import UsageError

        raise UsageError(
            f"`semantik {name}` can't run on the server {call.url}: it reads or writes files of its host, or is a "
            "process of its own.",
            "Run it on that host, without --url or SEMANTIK_URL.",
        )
