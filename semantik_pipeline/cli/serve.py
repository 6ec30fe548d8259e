"""``semantik serve``: run the HTTP API. Without a fleet, the same process also runs the worker and the schedule."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from semantik_pipeline.cli.invocation import Invocation, begin

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime

log = logging.getLogger(__name__)


def serve(
    context: typer.Context,
    host: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Address to listen on. [env: SEMANTIK_API_HOST]")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, metavar="N", help="Port; 0 picks a free one. [env: SEMANTIK_API_PORT]"),
    ] = None,
) -> int:
    """Run the HTTP API server until stopped (SIGTERM or Ctrl-C).

    Without a fleet it also does the work, including scheduled syncs, and other commands find it by themselves. On a
    fleet it only answers requests, and the workers do the work.
    """
    call = begin(context)
    from contextlib import closing

    from semantik_pipeline import logs
    from semantik_pipeline.api import server
    from semantik_pipeline.api.trusted import is_loopback
    from semantik_pipeline.cli.working import at_work

    settings = call.settings()
    logs.configure(settings.logs, level="debug" if call.verbose else None)
    where = settings.api.host if host is None else host, settings.api.port if port is None else port
    with closing(server.listen(*where)) as listening, at_work(call) as runtime:
        url = server.url_of(listening)
        if not settings.fleet:
            runtime.scheduling = True
            _tell_local(call, runtime, url)
        call.say(f"The API listens at {url}/api/v2. Press Ctrl-C to stop.")
        if not is_loopback(listening.getsockname()[0]):
            log.warning("Other hosts can reach the API without TLS. Put a proxy with TLS in front of it.")
        try:
            left = server.serve(runtime, listening)
        except KeyboardInterrupt:  # before the server handles signals itself
            return 0
        call.say("Stopping: finishing work in progress, or handing it back.")
        if left:
            _leave(call, runtime, left)
    return 0


def _leave(call: Invocation, runtime: Runtime, left: int) -> NoReturn:
    """Exit the process although requests are in progress.

    The runtime can't be closed while their threads use it, and the threads can't be stopped. Nothing is lost: units are
    released, and the store keeps what it has acknowledged, as after any kill.
    """
    from semantik_pipeline.cli.failures import describe
    from workers.startup import give_back

    log.warning("Stopping, although %d requests are not finished.", left)
    give_back(runtime)
    failure = describe(runtime.fatal) if runtime.fatal is not None else None
    for line in failure.lines(verbose=call.verbose) if failure else ():
        call.say(line)
    call.output.flush()
    logging.shutdown()
    os._exit(failure.exit_code if failure else 0)


def _tell_local(call: Invocation, runtime: Runtime, url: str) -> None:
    """Write the URL and the admin key to the data folder, where other commands find them, and print the key's path."""
    from semantik_pipeline import access

    key_file = access.first_key(runtime)
    runtime.announce(url)
    call.say(f"The admin key is in {key_file}.")
