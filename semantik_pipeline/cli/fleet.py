"""``semantik fleet``: the workers, and what operators ask of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from semantik_pipeline.cli.arguments import EPILOG
from semantik_pipeline.cli.invocation import Invocation, begin

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime

app = typer.Typer(help="Show and control workers.", no_args_is_help=True, rich_markup_mode=None)

#: Seconds between two looks of ``--watch`` and ``--wait``.
LOOK = 2.0

NO_FLEET = "No worker is up: there is no fleet here, and each command does its work itself."

Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="WORKER", help="Worker ids, hosts or profiles (default: all live workers)."),
]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is done.")]


@app.command("status", epilog=EPILOG)
def status(
    context: typer.Context,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh every two seconds.")] = False,
) -> int:
    """Show workers, backlogs and what is stuck.

    Of each worker, whether its plugins are current; of each stage, its backlog; of what is stuck, why. Exit code 1 if
    work waits that no living worker takes. Without a fleet it says who has the data folder.
    """
    call = begin(context)
    from time import sleep

    from semantik_pipeline import fleet
    from semantik_pipeline.cli.fleet_views import show_fleet

    with call.runtime() as runtime:
        while True:
            found = fleet.view(runtime)
            if watch and not call.output.as_json:
                call.output.console().clear()
            call.output.give(found, lambda console, found=found: show_fleet(console, found))
            call.output.flush()
            if not watch:
                return 1 if found["blocked"] else 0
            sleep(LOOK)


@app.command("drain", epilog=EPILOG)
def drain(context: typer.Context, workers: Names = None, wait: Wait = True) -> int:
    """Pause workers. They finish what they are processing and take nothing more until `resume`."""
    return _ask(begin(context), workers, "drain", wait=wait)


@app.command("resume", epilog=EPILOG)
def resume(context: typer.Context, workers: Names = None, wait: Wait = True) -> int:
    """Resume drained workers."""
    return _ask(begin(context), workers, "resume", wait=wait)


@app.command("restart", epilog=EPILOG)
def restart(context: typer.Context, workers: Names = None, wait: Wait = True) -> int:
    """Restart worker processes one by one. It applies changed plugins or a new release without downtime."""
    return _ask(begin(context), workers, "restart", wait=wait)


def _ask(call: Invocation, names: list[str] | None, command: str, *, wait: bool) -> int:
    from semantik_pipeline import fleet
    from semantik_pipeline.cli.fleet_views import asked_words

    with call.runtime() as runtime:
        nobody = "No worker is up." if runtime.settings.fleet else NO_FLEET
        asked = fleet.ask(runtime, names or [], command)
        if wait:
            _await(call, runtime, asked, command)
        lost = fleet.lost(runtime, asked) if wait else []
    answer: dict[str, Any] = {"command": command, "workers": asked, "done": not lost if wait else None}
    told = asked_words(command, asked, lost, wait=wait)
    call.output.give(answer, lambda console: console.print(told if asked else nobody, soft_wrap=True))
    return 0 if asked and not lost else 1


def _await(call: Invocation, runtime: Runtime, asked: list[str], command: str) -> None:
    from time import sleep

    from semantik_pipeline import fleet
    from semantik_pipeline.cli.fleet_views import waiting_words

    said: list[str] | None = None
    while left := fleet.waiting_for(runtime, asked, command):
        if left != said:
            call.say(waiting_words(asked, left))
            said = left
        sleep(LOOK / 4)
