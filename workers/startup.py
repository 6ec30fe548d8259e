"""From Celery's signals to a process that works: load, register, work, give back, end."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NoReturn

from semantik_pipeline import logs
from semantik_pipeline.errors import PipelineError, SettingsError
from semantik_pipeline.ledger import sync, work
from semantik_pipeline.pipeline import STAGES
from semantik_pipeline.queue import Bell
from semantik_pipeline.runtime import Runtime
from workers.arenas import few_arenas
from workers.metrics import Endpoint, FleetCollector, ProcessCollector
from workers.presence import Presence
from workers.profiles import Profile, concurrency

if TYPE_CHECKING:
    from celery import Celery

    from semantik_pipeline.settings import Settings

log = logging.getLogger(__name__)

#: The device's thread asks for the interpreter between any two operations; a busy thread gives it up this soon.
SWITCH_INTERVAL = 0.0005


#: Seconds between two tries to get the port for metrics, and after which a replacement says that it can't have it.
PORT_LOOK, PORT_PATIENCE = 0.3, 120.0


class WorkerProcess:
    """One Celery worker of a profile. The methods are called in this order, by Celery's signals."""

    def __init__(self, app: Celery, settings: Settings, name: str, profile: Profile) -> None:
        self.settings = settings
        self.profile = profile
        self.runtime = Runtime(settings)
        self.bell = Bell(app, self.runtime.tally)
        self.runtime.ring = self.bell.ring
        self.presence = Presence(
            self.runtime, profile=name, queues=profile.queues, obey=self._obey, ended=self._end_by_itself
        )
        self._open = ExitStack()
        self._celery: Any = None
        self._queues: list[str] = []  # their names at the broker

    def configure(self, app: Celery) -> None:
        """What the profile says of pool, threads, prefetch and queues."""
        app.conf.update(
            worker_pool=self.profile.pool,
            worker_concurrency=concurrency(self.profile, self.runtime.child_count),
            worker_prefetch_multiplier=self.profile.prefetch,
        )
        self._queues = [app.amqp.queues[name].name for name in self.profile.queues]
        app.amqp.queues.select(self._queues)

    def load(self, worker: Any) -> None:
        """Check the schema, load the plugins, take what is this process's alone. Ends the process where that fails:
        Celery would log the exception and work on without."""
        self._celery, self._loaded = worker, time.monotonic()
        few_arenas()
        sys.setswitchinterval(SWITCH_INTERVAL)
        runtime = self._open.enter_context(self.runtime)
        try:
            self.settings.require_shared()
            runtime.ledger  # noqa: B018 - raises for a schema that isn't ours
            runtime.host  # noqa: B018 - raises for a broken state file
            runtime.traces  # noqa: B018 - raises where they are wanted and OpenTelemetry is not there
        except PipelineError as error:
            self._open.close()
            log.critical("This worker can't start: %s", error)
            raise SystemExit(1) from None
        for entry in runtime.host.report.failed:
            log.error("The plugin %s can't be used: %s", entry.id, entry.reason)

    def begin(self) -> None:
        """The worker hears bells from now on: models are loaded, probes answer, the ledger knows it. Ends the process
        where that fails; Celery would log the exception and let it work unseen."""
        try:
            self._serve_probes()
            self._warm_up()
            self.presence.begin()
        except Exception as error:
            log.critical("This worker can't begin: %s", error)
            raise SystemExit(1) from None
        self._tell_supervisor("ready")
        log.info("Ready: %s, queues %s.", self.runtime.worker_id, ", ".join(self.profile.queues))

    def _serve_probes(self) -> None:
        """On the port of this process's place. The process that it replaces still has it: then it is had as soon as that
        one has ended, so that probes and Prometheus find one place at one port."""
        if not self.settings.metrics.port:
            return
        replacing = self.settings.worker.supervisor_pipe is not None
        if replacing:
            threading.Thread(target=self._serve_when_free, name="metrics-port", daemon=True).start()
        else:
            self._open_endpoint()

    def _serve_when_free(self) -> None:
        told = False
        while not self.runtime.stopping.is_set():
            try:
                self._open_endpoint()
                return
            except SettingsError as error:
                if not told and time.monotonic() - self._loaded > PORT_PATIENCE:
                    log.error("%s", error)
                    told = True
                time.sleep(PORT_LOOK)

    def _open_endpoint(self) -> None:
        collectors = [ProcessCollector(self.runtime), FleetCollector(self.runtime)]
        probes = {"live": self.presence.live, "ready": self.presence.ready}
        endpoint = Endpoint(self.settings.metrics.port, collectors, **probes)
        self._open.callback(endpoint.close)

    def _warm_up(self) -> None:
        """Load what the first units would wait for, so that a process that this one replaces ends only when this one
        can go on at once. What fails here fails again with the first unit, which says so."""
        runtime = self.runtime
        for name in self.profile.queues:
            for generation in runtime.live_generations() if name in STAGES else ():
                try:
                    STAGES[name].prepare(runtime, runtime.generation(generation))
                except Exception as error:
                    log.warning("%s can't be prepared: %s", name, error)

    def stop(self) -> None:
        """Finish the units in hand, or give them back when the time is over; take no more."""
        self.runtime.stopping.set()
        late = threading.Timer(self.settings.worker.soft_shutdown, self._give_back)
        late.daemon = True
        late.start()

    def end(self) -> None:
        """All threads have ended: nothing is in hand any more."""
        self.presence.close()
        self._open.close()

    def _give_back(self) -> NoReturn:
        try:
            give_back(self.runtime)
            self.presence.close()
        finally:
            logging.shutdown()
            os._exit(0)

    # -- what operators ask ---------------------------------------------------------------------------------------------

    def _obey(self, command: str) -> None:
        if command == "restart":
            self._restart()
        else:
            consumer = self._celery.consumer
            draining = command == "drain"
            (self.runtime.resting.set if draining else self.runtime.resting.clear)()
            change = consumer.cancel_task_queue if draining else consumer.add_task_queue
            for name in self._queues:
                consumer.call_soon(change, name)

    def _restart(self) -> None:
        """A supervisor starts the next process first; without one, Celery runs this program anew when it has ended."""
        if not self._tell_supervisor("replace"):
            os.kill(os.getpid(), signal.SIGHUP)

    def _tell_supervisor(self, word: str) -> bool:
        """Write a line to the pipe of the supervisor that started this process; False if there is none."""
        pipe = self.settings.worker.supervisor_pipe
        if pipe is None:
            return False
        try:
            os.write(pipe, f"{word}\n".encode())
        except OSError:  # it is gone: the presence notices that, too
            return False
        return True

    def _end_by_itself(self, reason: str) -> None:
        if not self.runtime.stopping.is_set():
            log.error("This worker ends: %s", reason)
            os.kill(os.getpid(), signal.SIGTERM)


def give_back(runtime: Runtime) -> None:
    """Units and sources that take too long at the end go to another worker, or the next run, at once and without blame;
    what this process still writes of them is fenced."""
    tokens = runtime.keeper.tokens()
    log.warning("%d claims are not finished in time; they are given back.", len(tokens))
    try:
        with runtime.ledger.write() as tx:
            for token in tokens:  # sources first, as everybody locks
                sync.give_back_source(tx, token)
            for token in tokens:
                work.give_back(tx, token)
    except Exception:  # the leases run out by themselves
        log.exception("Giving back failed.")


def connect(process: WorkerProcess) -> None:
    """Let Celery's signals of this program drive the process; its logs are ours from here on."""
    from celery import signals

    logs.configure(process.settings.logs)

    @signals.celeryd_init.connect(weak=False)
    def keep_quiet(instance: Any, **_: Any) -> None:
        instance.quiet = True  # no banner: the line that says "Ready" has what it says, in the form of all others

    @signals.worker_init.connect(weak=False)
    def load(sender: Any, **_: Any) -> None:
        process.load(sender)

    @signals.worker_ready.connect(weak=False)
    def begin(**_: Any) -> None:
        process.begin()

    @signals.worker_shutting_down.connect(weak=False)
    def stop(**_: Any) -> None:
        process.stop()

    @signals.worker_shutdown.connect(weak=False)
    def end(**_: Any) -> None:
        process.runtime.stopping.set()  # a restart by SIGHUP says nothing before
        process.end()
