"""The fleet's schedule: a fixed tick that wakes maintenance, which looks for work that is due.

The due times are in the ledger, where work is claimed. Therefore several schedulers may run at once.
"""

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

#: The liveness probe fails after this many missed ticks, but not before this many seconds.
MISSED, STALLED = 4, 60.0


def beat_schedule(settings: Settings) -> dict[str, Any]:
    """The schedule's one entry, which wakes maintenance."""
    tick = settings.schedule.tick
    return {"tick": {"task": TASK, "args": ["maintenance"], "schedule": tick, "options": {"queue": "maintenance"}}}


def configure_beat(app: Celery, settings: Settings) -> None:
    """Set the app's schedule, for ``celery -A workers.app beat`` and :func:`run_beat`."""
    app.conf.update(beat_schedule=beat_schedule(settings), beat_scheduler=ringing_scheduler())


def ringing_scheduler() -> type[Scheduler]:
    """Celery's in-memory scheduler, which sends its message through :class:`Bell`: only into an empty queue, and
    without failing while the broker is unavailable. Nothing has to be remembered between two ticks, so it needs no
    file."""
    from celery.beat import Scheduler

    class RingingScheduler(Scheduler):
        ticked = time.monotonic()  # time of the last tick, or of the start

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
    """Wake maintenance at every tick until SIGTERM or Ctrl-C. If ``metrics.port`` is set, also serve the fleet's
    metrics there, which come from the ledger and so are available even while no worker is alive."""
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
    """Serve the fleet's metrics and the probes. The scheduler is alive while it ticks, and ready while the ledger
    answers as well."""
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
