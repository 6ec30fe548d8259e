"""The task: it hears a bell and works on that stage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from semantik_pipeline import pipeline
from semantik_pipeline.queue import TASK

if TYPE_CHECKING:
    from celery import Celery

    from semantik_pipeline.queue import Bell
    from semantik_pipeline.runtime import Runtime


def register(app: Celery, runtime: Runtime, bell: Bell) -> None:
    """Give the app its task, bound to this process's runtime."""

    @app.task(name=TASK)
    def work(stage: str) -> None:
        bell.heard(stage)
        pipeline.work_on(runtime, stage)
