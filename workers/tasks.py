"""The tasks: one hears a bell and works on that stage, one answers a search."""

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
    """Who works: a process's runtime, and the bell by which it rings others."""

    @property
    def runtime(self) -> Runtime: ...

    @property
    def bell(self) -> Bell: ...


def register(app: Celery, process: Working) -> None:
    """Give the app its tasks, which work with this process's runtime."""

    @app.task(name=TASK, shared=False)  # of this app alone: a second one in this process has a runtime of its own
    def work(stage: str) -> None:
        process.bell.heard(stage)
        try:
            pipeline.work_on(process.runtime, stage)
        except PipelineError:
            if not process.runtime.closed:  # its units were given back: what fails afterwards is nobody's concern
                raise

    @app.task(name=SEARCH_TASK, shared=False, ignore_result=False)
    def search(asked: dict[str, Any]) -> dict[str, Any]:
        from workers.remote_search import answered  # an embedded worker is asked nothing

        return answered(process.runtime, asked)
