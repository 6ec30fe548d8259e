"""Wakes the fleet's workers from a process that does no work itself, such as a command that starts an operation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from semantik_pipeline.queue import Bell, configure
from semantik_pipeline.runtime import Runtime


@contextmanager
def ringing(runtime: Runtime) -> Iterator[None]:
    """Make the runtime wake workers through the broker until the block ends.

    An unavailable broker costs at most a short wait (``semantik_pipeline.queue.PATIENCE``). Nothing is lost: the
    workers' maintenance wakes them later.
    """
    from celery import Celery

    app = Celery("semantik", set_as_current=False)
    configure(app, runtime.settings)
    bell = Bell(app)
    runtime.ring = bell.ring
    try:
        yield
    finally:
        bell.close()
        app.close()
