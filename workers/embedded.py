"""A worker in threads of this process, with Celery over ``memory://``. It uses the same tasks, stages and ledger as a
fleet."""

from __future__ import annotations

import logging
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from semantik_pipeline import fleet, maintenance, vocabulary
from semantik_pipeline.errors import PipelineError
from semantik_pipeline.ledger.queue import reconciling
from semantik_pipeline.ledger.queue.workers import EMBEDDED
from semantik_pipeline.pipeline import QUEUES
from semantik_pipeline.queue import Bell, configure
from semantik_pipeline.runtime import Runtime
from workers import tasks
from workers.heartbeat import Presence
from workers.malloc_arenas import few_arenas
from workers.optimizing import Optimizing
from workers.profiles import POOL, Profile, concurrency
from workers.startup import SWITCH_INTERVAL, give_back

if TYPE_CHECKING:
    from celery import Celery
    from celery.apps.worker import Worker

log = logging.getLogger(__name__)

#: Seconds that the maintenance thread has to finish its tick when the block ends.
STOP = 10.0

#: Maximum seconds between two maintenance ticks, unless ``work.poll`` is longer.
MOST_POLL = 3.0

#: Maximum seconds for learning words when the block ends. The next run learns the rest.
LEARN = 30.0

#: Maximum seconds, when the block ends, for reconciling what a killed run may have written. The next run does the rest.
RECONCILE = 10.0

#: Seconds between two checks whether the reconciling is finished.
LOOK = 0.05


@dataclass(frozen=True, kw_only=True)
class Process:
    """The runtime and the bell of this process, for the tasks (``workers.tasks.Working``)."""

    runtime: Runtime
    bell: Bell


@contextmanager
def embedded_worker(runtime: Runtime) -> Iterator[None]:
    """Run a worker and periodic maintenance in threads of this process until the block ends.

    The caller owns the data folder. Therefore every lease in the folder's own ledger belongs to a dead worker and is
    freed at once. When the block ends, units in progress are finished or given back; nothing is lost.

    The worker starts no scheduled syncs and optimises no indexes, because most commands end when their own work is
    done. Set ``runtime.scheduling`` inside the block to get both. Raises DataFolderInUse if another process works on
    the same ledger with another index.
    """
    _see_that_the_index_is_the_only_one(runtime)
    runtime.scheduling = False
    few_arenas()
    from celery import Celery
    from celery.platforms import SecurityWarning

    # Celery warns about running as root, but these threads have the rights of this process anyway
    warnings.filterwarnings("ignore", category=SecurityWarning)
    app = Celery("semantik", set_as_current=False)
    configure(app, runtime.settings)
    process = Process(runtime=runtime, bell=Bell(app, runtime.tally))
    runtime.ring = process.bell.ring
    tasks.register(app, process)
    sys.setswitchinterval(SWITCH_INTERVAL)
    maintenance.tick(runtime, alone=runtime.settings.database.url is None)
    presence = Presence(runtime, profile=EMBEDDED, queues=QUEUES)
    presence.begin()
    worker = _worker(app, runtime)
    threads = [
        threading.Thread(target=worker.start, name="embedded-worker", daemon=True),
        threading.Thread(target=_tick, args=(runtime,), name="embedded-schedule", daemon=True),
        threading.Thread(
            target=Optimizing(runtime).run, name="embedded-optimizer", daemon=True
        ),  # the store ends its work
        threading.Thread(target=_stop_optimizing, args=(runtime,), name="embedded-ending", daemon=True),
    ]
    for thread in threads:
        thread.start()
    try:
        yield
        _reconcile(runtime)
        _learn(runtime)
    finally:
        runtime.stopping.set()
        _stop(worker, threads[0], process.bell, runtime.settings.worker.soft_shutdown)
        if threads[0].is_alive():
            give_back(runtime)
        threads[1].join(STOP)
        presence.close()


def _see_that_the_index_is_the_only_one(runtime: Runtime) -> None:
    """Check that no other process works on this ledger with another index. Call it before this process registers,
    because registering records its index."""
    before = fleet.refuse_second_index(runtime)
    fleet.own_index(runtime, make=True)
    for row in before:
        log.warning(
            "The %s. Searches here do not find what it indexed until you run `semantik verify --repair`. Set the same"
            " qdrant.url for both.",
            fleet.other_index_words(row),
        )


def _stop_optimizing(runtime: Runtime) -> None:
    """Stop the store's optimisation as soon as the process is to end: it only makes searches faster, so the end does
    not wait for it."""
    runtime.stopping.wait()
    store = vars(runtime).get("_store")  # does not create a store that was never used
    if store is not None and hasattr(store, "stop_optimizing"):
        runtime.host.call(store.stop_optimizing)


def _reconcile(runtime: Runtime) -> None:
    """Reconcile the documents that a killed run may have written. No operation waits for them, and without a fleet no
    other process would work on them."""
    if runtime.settings.fleet:
        return
    until = time.monotonic() + RECONCILE
    try:
        # with a fatal error or an idle runtime, no thread takes units
        while time.monotonic() < until and runtime.fatal is None and not runtime.idle:
            with runtime.ledger.read() as tx:
                if not reconciling.under_way(tx):
                    return
            maintenance.reconcile(runtime)
            runtime.ring("upsert")
            time.sleep(LOOK)
    except PipelineError as error:
        log.warning("Points that an earlier run may have written could not be checked: %s", error)


def _learn(runtime: Runtime) -> None:
    """Learn the words that were just indexed, so that the next command's searches can correct typing errors in them."""
    try:
        vocabulary.advance(runtime, seconds=LEARN, last=True)
    except PipelineError as error:
        log.warning("The vocabulary could not be updated: %s", error)


def _worker(app: Celery, runtime: Runtime) -> Worker:
    return app.Worker(
        pool=POOL,
        concurrency=concurrency(Profile(queues=QUEUES), runtime.child_count),
        queues=list(QUEUES),
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        loglevel="ERROR",
        quiet=True,
    )


def _stop(worker: Worker, thread: threading.Thread, bell: Bell, patience: float) -> None:
    """Stop the worker without waiting for the consumer's poll, which sleeps for up to two seconds.

    The first message wakes the consumer, so that it checks the state. The second ends the last round of its loop.
    """
    from celery.worker import state

    state.should_stop = 0
    try:
        for stage in ("maintenance", "sync"):
            bell.heard(stage)
            bell.ring(stage)
        thread.join(patience)
    finally:
        state.should_stop = None
    worker.stop()


def _tick(runtime: Runtime) -> None:
    """Run maintenance ticks every ``work.poll`` seconds, even if a tick fails.

    While ticks find nothing left to do, the pause grows so that ticks take a fiftieth of the time, up to MOST_POLL
    seconds.
    """
    pause = poll = runtime.settings.work.poll
    while not runtime.stopping.wait(pause):
        began, more = time.monotonic(), False
        try:
            more = maintenance.tick(runtime)
        except PipelineError as error:
            log.warning("A maintenance tick failed: %s", error)
        except Exception:  # without this thread, maintenance would never run again
            log.exception("A maintenance tick failed.")
        pause = poll if more else max(poll, min(50 * (time.monotonic() - began), MOST_POLL))
