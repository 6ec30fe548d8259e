"""Ringing from a process that does not work itself: a command that begins something which the fleet's workers do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from semantik_pipeline.queue import Bell, configure
from semantik_pipeline.runtime import Runtime


@contextmanager
def ringing(runtime: Runtime) -> Iterator[None]:
    """Let the runtime ring through the broker until the block ends. A broker that is away costs a second and nothing
    else: the workers' maintenance rings again."""
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
