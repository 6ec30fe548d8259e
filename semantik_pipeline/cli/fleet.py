"""``semantik fleet``: show workers, and ask them to drain, resume or restart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from semantik_pipeline.cli.arguments import EPILOG
from semantik_pipeline.cli.invocation import Invocation, begin

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime

app = typer.Typer(
    help="Show and control workers.\n\nThe workers of a fleet are processes started with `semantik worker`, on one or "
    "more hosts. They share a database, a message broker and a Qdrant server.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

#: Seconds between two refreshes of ``--watch``. ``--wait`` polls four times as often.
LOOK = 2.0

Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="WORKER", help="Worker ids, hosts or profiles (default: all live workers)."),
]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the workers have done it.")]


@app.command("status", short_help="Show workers, backlog and what is stuck.", epilog=EPILOG)
def status(
    context: typer.Context,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh every two seconds.")] = False,
) -> int:
    """Show workers, the backlog of each stage, and what is stuck and why.

    Exit code 1 if work is waiting that no live worker can take. Without a fleet, shows which process is using the data
    folder.
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


@app.command("drain", short_help="Drain workers.", epilog=EPILOG)
def drain(context: typer.Context, workers: Names = None, wait: Wait = True) -> int:
    """Drain workers. They finish what they are processing and take no more work until `resume`."""
    return _ask(begin(context), workers, "drain", wait=wait)


@app.command("resume", short_help="Resume drained workers.", epilog=EPILOG)
def resume(context: typer.Context, workers: Names = None, wait: Wait = True) -> int:
    """Resume drained workers."""
    return _ask(begin(context), workers, "resume", wait=wait)


@app.command("restart", short_help="Restart workers one by one.", epilog=EPILOG)
def restart(context: typer.Context, workers: Names = None, wait: Wait = True) -> int:
    """Restart workers one by one, so that changed plugins or a new release take effect without downtime."""
    return _ask(begin(context), workers, "restart", wait=wait)


def _ask(call: Invocation, names: list[str] | None, command: str, *, wait: bool) -> int:
    from semantik_pipeline import fleet
    from semantik_pipeline.cli.fleet_views import asked_words, no_worker_words

    with call.runtime() as runtime:
        nobody = no_worker_words(command, fleet=runtime.settings.fleet)
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
