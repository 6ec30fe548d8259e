"""The fleet's schedule: one static tick, at which maintenance is rung for and looks for what is due. What is due when
is in the ledger, where it is claimed, so several schedulers do no harm."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from semantik_pipeline.errors import PipelineError
from semantik_pipeline.queue import TASK, Bell, configure

if TYPE_CHECKING:
    from celery import Celery
    from celery.beat import Scheduler

    from semantik_pipeline.runtime import Runtime
    from semantik_pipeline.settings import Settings
    from workers.metrics import Endpoint

#: Ticks that may be missed before a probe says that the schedule stands still; at least so many seconds.
MISSED, STALLED = 4, 60.0


def beat_schedule(settings: Settings) -> dict[str, Any]:
    """One entry: a maintenance bell."""
    tick = settings.schedule.tick
    return {"tick": {"task": TASK, "args": ["maintenance"], "schedule": tick, "options": {"queue": "maintenance"}}}


def configure_beat(app: Celery, settings: Settings) -> None:
    """Give the app its schedule, for ``celery -A workers.app beat`` and :func:`run_beat`."""
    app.conf.update(beat_schedule=beat_schedule(settings), beat_scheduler=ringing_scheduler())


def ringing_scheduler() -> type[Scheduler]:
    """Celery's scheduler in memory (between two ticks there is nothing to remember, so no file), which rings as all
    others do: into an empty queue only, and without failing while the broker is away."""
    from celery.beat import Scheduler

    class RingingScheduler(Scheduler):
        ticked = time.monotonic()  # of the last tick, or the start

        def __init__(self, app: Celery, *args: Any, **options: Any) -> None:
            self._bell = Bell(app)
            super().__init__(app, *args, **options)

        def apply_async(self, entry: Any, producer: Any = None, advance: bool = True, **_: Any) -> None:
            if advance:
                self.reserve(entry)
            for stage in entry.args:
                self._bell.ring(stage)
            type(self).ticked = time.monotonic()

        def close(self) -> None:
            super().close()
            self._bell.close()

    return RingingScheduler


def run_beat(settings: Settings) -> None:
    """Ring for maintenance at every tick, until SIGTERM or Ctrl-C. Serves ``metrics.port``, where it is set: what the
    ledger says of the fleet is told even while no worker lives."""
    from celery import Celery

    from semantik_pipeline.runtime import Runtime

    app = Celery("semantik", set_as_current=False)
    configure(app, settings)
    configure_beat(app, settings)
    with ExitStack() as opened:
        if settings.metrics.port:
            runtime = opened.enter_context(Runtime(settings))
            opened.callback(serve(runtime, app.conf.beat_scheduler).close)
        app.Beat(quiet=True, loglevel="WARNING", redirect_stdouts=False, remote_control=False).run()


def serve(runtime: Runtime, scheduler: type[Any]) -> Endpoint:
    """Metrics of the fleet, and probes: it lives while it ticks, and is ready while the ledger answers, too."""
    from workers.metrics import Endpoint, FleetCollector

    schedule = runtime.settings.schedule

    def live() -> str | None:
        silent = time.monotonic() - scheduler.ticked
        return None if silent < max(STALLED, MISSED * schedule.tick) else f"there was no tick for {silent:.0f} s"

    def ready() -> str | None:
        try:
            with runtime.ledger.read():
                return live()
        except PipelineError as error:
            return str(error)

    metrics = runtime.settings.metrics
    return Endpoint(metrics.host, metrics.port, [FleetCollector(runtime)], live=live, ready=ready)
