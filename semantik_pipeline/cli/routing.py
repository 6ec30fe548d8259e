"""Where a command is carried out: in this process, or by a server.

Commands are written for this process. Those that a server can do have a second function, in ``cli/remote``, that asks
the client and answers the same; it takes the same arguments. Here one of both is chosen, for all commands alike.
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

#: Commands that a server can do -> their functions below ``cli/remote``.
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

#: Of these, what is about a host: done by a server only where one is named, for what the server does not see is asked too.
OF_A_HOST = {"doctor", "models list", "models where"}


def route(app: typer.Typer, above: str = "") -> None:
    """Let each command of the tree find who does it."""
    for command in app.registered_commands:
        assert command.callback is not None
        name = f"{above}{command.name or command.callback.__name__}"
        command.callback = _routed(name, command.callback)
    for group in app.registered_groups:
        assert group.typer_instance is not None
        route(group.typer_instance, f"{above}{group.name} ")


def narrowed(app: typer.Typer, args: Sequence[str]) -> typer.Typer:
    """The tree with nothing but the command that is asked for, because reading the signatures of all takes a while; the
    whole tree where no command is."""
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
    """What asks a server for this command."""
    module, _, function = REMOTE[name].partition(":")
    return getattr(import_module(f"semantik_pipeline.cli.remote.{module}"), function)


def _require_here(call: Invocation, name: str) -> None:
    """Raise UsageError for a command that no server carries out, if one is named."""
    if call.url is not None:
        from semantik_pipeline.errors import UsageError

        raise UsageError(
            f"`semantik {name}` can't run on the server {call.url}: it reads or writes files of its host, or is a process "
            "of its own.",
            "Run it on that host, without --url or SEMANTIK_URL.",
        )
