"""Operations of a fleet: begin a sync, follow its progress, wait for its end, and ring bells."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from semantik_pipeline import operations, sources
from semantik_pipeline.ledger.operations import lifecycle
from semantik_pipeline.ledger.operations.lifecycle import Progress
from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.pipeline import QUEUES
from semantik_pipeline.schedules import Schedule
from semantik_pipeline.sources import NewSource
from tests.chaos.corpora import COLLECTION
from tests.chaos.fleet import Fleet


def begin(fleet: Fleet, source: Path | SourceRequest, **options: Any) -> int:
    """Begin to sync a folder or another source, and return the operation's id."""
    request = operations.folder_source(source) if isinstance(source, Path) else source
    return operations.begin_sync(fleet.runtime, [request], collection="default", config=COLLECTION, **options)


def schedule(fleet: Fleet, folder: Path, *, every: float) -> None:
    """Add a folder as a source that is due at once, and then every ``every`` seconds."""
    fleet.runtime.collection("default", COLLECTION)
    found = operations.folder_source(folder)
    new = NewSource(connector=found.connector, name=found.name, config=found.config, schedule=Schedule(every=every))
    sources.add(fleet.runtime, new, collection="default")


def progress_of(fleet: Fleet, operation: int) -> Progress:
    with fleet.ledger.read() as tx:
        return lifecycle.progress(tx, operation)


def indexed_of(fleet: Fleet, operation: int) -> int:
    """Return the number of an operation's documents that are indexed."""
    return progress_of(fleet, operation).stages.get("indexed", 0)


def wait(
    fleet: Fleet, operation: int, seconds: float, disturb: Callable[[], None] | None = None, every: float = 0.2
) -> Progress:
    """Wait for the end of an operation. Until then, call ``disturb`` every ``every`` seconds."""
    deadline = min(fleet.deadline, time.monotonic() + seconds)
    following = time.monotonic() + every
    while (progress := progress_of(fleet, operation)).state != "finished":
        over = f"not finished in {seconds:.0f} s, or before the time for all tests is over"
        assert time.monotonic() < deadline, f"{over}: {progress}\n{fleet.logs()}"
        if disturb is not None and time.monotonic() >= following:
            disturb()
            following = time.monotonic() + every
        time.sleep(0.1)
    return progress


def wait_until_indexed(fleet: Fleet, operation: int, count: int, seconds: float = 120) -> None:
    """Wait until at least ``count`` documents of an operation are indexed."""
    deadline = time.monotonic() + seconds
    while indexed_of(fleet, operation) < count:
        assert time.monotonic() < deadline, f"{progress_of(fleet, operation)}\n{fleet.logs()}"
        time.sleep(0.05)


@contextmanager
def in_mid_run(fleet: Fleet, operation: int, documents: int) -> Iterator[None]:
    """Check, when the block begins and when it ends, that an operation on so many documents is in its middle.

    If it were not, the outage in the block would not disturb it. The summary gets the number of documents that were
    indexed when the block began.
    """
    indexed = _check_mid_run(fleet, operation, documents)
    fleet.record("indexed when the outage began", f"{indexed} of {documents}")
    yield
    _check_mid_run(fleet, operation, documents)


def _check_mid_run(fleet: Fleet, operation: int, documents: int) -> int:
    progress = progress_of(fleet, operation)
    assert progress.state == "running", progress
    indexed = progress.stages.get("indexed", 0)
    assert 0 < indexed < documents, progress
    return indexed


def ring_more(fleet: Fleet) -> None:
    """Ring twenty superfluous bells for every stage, so that every worker hears the same ones."""
    from celery import Celery

    from semantik_pipeline.queue import TASK, configure

    with closing(Celery("ringer", set_as_current=False)) as app:
        configure(app, fleet.settings)
        for stage in QUEUES * 20:
            app.send_task(TASK, args=[stage], queue=stage)
