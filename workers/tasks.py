"""The Celery tasks: one works on the stage that its message names, one answers a search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from semantik_pipeline import pipeline
from semantik_pipeline.errors import PipelineError
from semantik_pipeline.queue import SEARCH_TASK, TASK

if TYPE_CHECKING:
    from celery import Celery

    from semantik_pipeline.queue import Bell
    from semantik_pipeline.runtime import Runtime


class Working(Protocol):
    """A process that works: its runtime, and the bell with which it wakes other workers."""

    @property
    def runtime(self) -> Runtime: ...

    @property
    def bell(self) -> Bell: ...


def register(app: Celery, process: Working) -> None:
    """Register the tasks, which use this process's runtime, with the app."""

    @app.task(name=TASK, shared=False)  # for this app only: another app in this process has its own runtime
    def work(stage: str) -> None:
        process.bell.heard(stage)
        try:
            pipeline.work_on(process.runtime, stage)
        except PipelineError:
            if not process.runtime.closed:  # after that its units are given back, so errors no longer matter
                raise

    @app.task(name=SEARCH_TASK, shared=False, ignore_result=False)
    def search(asked: dict[str, Any]) -> dict[str, Any]:
        from workers.remote_search import answered  # imported here: an embedded worker never gets a search task

        return answered(process.runtime, asked)
