"""The fleet's schedule: one static tick, which lets maintenance look for what is due. What is due when is in the
ledger, where it is claimed, so several schedulers do no harm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from semantik_pipeline.queue import TASK

if TYPE_CHECKING:
    from celery import Celery

    from semantik_pipeline.settings import Settings


def beat_schedule(settings: Settings) -> dict[str, Any]:
    """One entry: a maintenance bell, which nobody needs to hear once the next one rings."""
    tick = settings.schedule.tick
    options = {"queue": "maintenance", "expires": tick}
    return {"tick": {"task": TASK, "args": ["maintenance"], "schedule": tick, "options": options}}


def configure_beat(app: Celery, settings: Settings) -> None:
    """Give the app its schedule. It is kept in memory: there is nothing to remember between two ticks, so no file."""
    app.conf.update(beat_schedule=beat_schedule(settings), beat_scheduler="celery.beat:Scheduler")


def run_beat(settings: Settings) -> None:
    """Ring for maintenance at every tick, until SIGTERM or Ctrl-C."""
    from celery import Celery

    from semantik_pipeline.queue import configure

    app = Celery("semantik", set_as_current=False)
    configure(app, settings)
    configure_beat(app, settings)
    app.Beat(quiet=True, loglevel="WARNING", redirect_stdouts=False).run()
