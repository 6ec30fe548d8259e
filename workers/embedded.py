"""A worker inside this process: Celery over ``memory://``, in threads. The same tasks, stages and ledger as a fleet's."""

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

#: Seconds that the schedule has to finish its tick at the end.
STOP = 10.0

#: Seconds between two maintenance ticks, at most, unless the settings want more.
MOST_POLL = 3.0

#: Seconds that learning words may take at the end; what is left is learned by the next run.
LEARN = 30.0

#: Seconds that looking again at what a killed run may have written can take at the end; what is left is the next run's.
RECONCILE = 10.0

#: Seconds between two looks at whether that is done.
LOOK = 0.05


@dataclass(frozen=True, kw_only=True)
class Process:
    """This process, as its task sees it."""

    runtime: Runtime
    bell: Bell


@contextmanager
def embedded_worker(runtime: Runtime) -> Iterator[None]:
    """Run a worker in threads of this process, and a maintenance tick beside it, until the block ends.

    The caller owns the data folder, so every lease in the folder's own ledger is a dead worker's and is freed at once. At the end
    units in hand are finished or given back; nothing is lost.
    It begins no scheduled syncs and optimises no index, since most commands end with their own work; set
    ``runtime.scheduling`` for that. Raises DataFolderInUse where another process is at work on the ledger with another index.
    """
    _see_that_the_index_is_the_only_one(runtime)
    runtime.scheduling = False
    few_arenas()
    from celery import Celery
    from celery.platforms import SecurityWarning

    # about running as root: these threads have this process's rights anyway
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
    """Before this process registers itself, and its index by that."""
    before = fleet.refuse_second_index(runtime)
    fleet.own_index(runtime, make=True)
    for row in before:
        log.warning(
            "The %s: what it indexed is not found here before `semantik verify --repair`. Set one qdrant.url for both.",
            fleet.other_index_words(row),
        )


def _stop_optimizing(runtime: Runtime) -> None:
    """As soon as the process is to end, nobody waits for what only makes searches faster."""
    runtime.stopping.wait()
    store = vars(runtime).get("_store")  # what was never made is not made now
    if store is not None and hasattr(store, "stop_optimizing"):
        runtime.host.call(store.stop_optimizing)


def _reconcile(runtime: Runtime) -> None:
    """Nobody works on these documents when this process is gone, and no operation waits for them."""
    if runtime.settings.fleet:
        return
    until = time.monotonic() + RECONCILE
    try:
        while time.monotonic() < until and runtime.fatal is None and not runtime.idle:  # else nobody takes them
            with runtime.ledger.read() as tx:
                if not reconciling.under_way(tx):
                    return
            maintenance.reconcile(runtime)
            runtime.ring("upsert")
            time.sleep(LOOK)
    except PipelineError as error:
        log.warning("What a run before may have written could not be looked at again: %s", error)


def _learn(runtime: Runtime) -> None:
    """What was indexed just now can be asked for with typing errors by the next command."""
    try:
        vocabulary.advance(runtime, seconds=LEARN, last=True)
    except PipelineError as error:
        log.warning("Words could not be learned: %s", error)


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
    """Stop at once: the consumer sleeps for up to two seconds for a message. One wakes it to look at the state, another
    ends the last round that it then makes."""
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
    """The embedded schedule: maintenance at its interval, whatever a tick runs into; where nothing is left to go on with,
    as much less often as it takes a fiftieth of the time."""
    pause = poll = runtime.settings.work.poll
    while not runtime.stopping.wait(pause):
        began, more = time.monotonic(), False
        try:
            more = maintenance.tick(runtime)
        except PipelineError as error:
            log.warning("A maintenance tick failed: %s", error)
        except Exception:  # without this thread no bell is rung again
            log.exception("A maintenance tick failed.")
        pause = poll if more else max(poll, min(50 * (time.monotonic() - began), MOST_POLL))
