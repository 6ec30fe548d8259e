"""``semantik scheduler``: start syncs of sources when they are due, until stopped."""

from __future__ import annotations

import logging

import typer

from semantik_pipeline.cli.invocation import Invocation, begin

log = logging.getLogger(__name__)


def scheduler(context: typer.Context) -> int:
    """Start scheduled syncs and run maintenance until stopped (SIGTERM or Ctrl-C).

    On a fleet it only notifies the workers at every tick (it is Celery beat), and you may run several. Without a fleet
    it owns the data folder and does the work too.
    """
    call = begin(context)
    from semantik_pipeline import logs

    settings = call.settings()
    logs.configure(settings.logs, level="debug" if call.verbose else None)
    if not settings.fleet:
        return _here(call)
    from workers.schedule import run_beat

    log.info("Notifying the workers every %g s.", settings.schedule.tick)
    run_beat(settings)
    return 0


def _here(call: Invocation) -> int:
    from threading import Event

    from semantik_pipeline.cli.working import at_work

    with at_work(call) as runtime:
        runtime.scheduling = True
        call.say("Running scheduled syncs. Press Ctrl-C to stop.")
        try:
            while runtime.fatal is None:
                Event().wait(1.0)  # a signal ends it
        except KeyboardInterrupt:
            return 0
        raise runtime.fatal
