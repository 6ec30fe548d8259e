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

from semantik_pipeline import logs, maintenance
from semantik_pipeline.errors import PipelineError, SettingsError
from semantik_pipeline.ledger.ingestion import sync
from semantik_pipeline.ledger.queue import work
from semantik_pipeline.pipeline import STAGES
from semantik_pipeline.queue import Bell
from semantik_pipeline.runtime import Runtime
from workers.consumer_liveness import Pulse
from workers.heartbeat import Presence
from workers.malloc_arenas import few_arenas
from workers.metrics import Endpoint, ProcessCollector
from workers.profiles import POOL, Profile, concurrency

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
        self.runtime.embeds = "embed" in profile.queues
        self.bell = Bell(app, self.runtime.tally)
        self.runtime.ring = self.bell.ring
        self.presence = Presence(
            self.runtime, profile=name, queues=profile.queues, obey=self._obey, ended=self._end_by_itself
        )
        self._open = ExitStack()
        self._celery: Any = None
        self._queues: list[str] = []  # their names at the broker
        self._again = False  # once it has ended, it runs its program anew
        self._deaf_to_hangups, self._on_terminal = False, sys.stdout is not None and sys.stdout.isatty()

    def configure(self, app: Celery) -> None:
        """Pool, threads and prefetch; and what the profile says of queues."""
        app.conf.update(
            worker_pool=POOL,
            worker_concurrency=concurrency(self.profile, self.runtime.child_count),
            worker_prefetch_multiplier=1,
        )
        self._queues = [app.amqp.queues[name].name for name in self.profile.queues]
        app.amqp.queues.select(self._queues)

    def load(self, worker: Any) -> None:
        """Check the schema, load the plugins, take what is this process's alone. Ends the process where that fails:
        Celery would log the exception and work on without."""
        self._celery, self._loaded = worker, time.monotonic()
        self._deaf_to_hangups = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # nohup, which Celery overrides
        few_arenas()
        sys.setswitchinterval(SWITCH_INTERVAL)
        runtime = self._open.enter_context(self.runtime)
        try:
            self._check_options(worker)
            self.settings.require_shared()
            runtime.ledger  # noqa: B018 - raises for a schema that isn't ours
            runtime.host  # noqa: B018 - raises for a broken state file
            runtime.traces  # noqa: B018 - raises where they are wanted and OpenTelemetry is not there
        except PipelineError as error:
            self._fail(error)
        for entry in runtime.host.report.failed:
            log.error("The plugin %s can't be used: %s", entry.id, entry.reason)
        if self.settings.worker.supervisor_pipe is None:
            self.presence.hold_turn()
        signal.signal(signal.SIGTERM, self._end_early)  # until Celery has its own
        try:  # the broker may be away for long: operators and probes are told meanwhile that this process waits for it
            self._serve_probes()
            self.presence.announce()
        except PipelineError as error:
            self._fail(error)

    def _end_early(self, *_: object) -> NoReturn:
        self.presence.close()
        os._exit(0)

    def _fail(self, error: PipelineError) -> NoReturn:
        self._open.close()
        log.critical("This worker can't start: %s", error)
        raise SystemExit(1) from None

    def _check_options(self, worker: Any) -> None:
        """What Celery's own command line says must be what the profile says: other pools start processes of their own,
        in which nothing is loaded, and operators are shown, drain and resume the profile's queues."""
        from celery.concurrency import get_implementation

        if get_implementation(worker.pool_cls) is not get_implementation(POOL):
            raise SettingsError(
                f"This worker can't work in the pool {worker.pool_cls.__module__.rpartition('.')[2]!r}.",
                f"Leave out -P (--pool): its pool is {POOL!r}; more processes are more workers.",
            )
        answered = {queue.name for queue in worker.app.amqp.queues.consume_from.values()}
        if answered != set(self._queues):
            raise SettingsError(
                f"A worker answers its profile's queues ({', '.join(self.profile.queues)}), and no others.",
                "Leave out -Q and -X, and set SEMANTIK_WORKER_PROFILE instead.",
            )

    def begin(self) -> None:
        """The worker hears bells from now on: models are loaded, and it is ready. Ends the process where that fails;
        Celery would log the exception and let it work unseen."""
        try:
            self._hear_hangups()
            self._warm_up()
            self.presence.begin(Pulse(self._celery.consumer))
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
        """What the ledger says of the fleet, schedulers and the API tell: every worker would ask it for the same."""
        probes = {"live": self.presence.live, "ready": self.presence.ready}
        metrics = self.settings.metrics
        endpoint = Endpoint(metrics.host, metrics.port, [ProcessCollector(self.runtime)], **probes)
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
        """Finish the units in hand, or give them back when the time is over; take no more. Told so once more while it
        ends in order to run anew, it just ends."""
        if self.runtime.stopping.is_set():
            self._again = False
            return
        self.runtime.stopping.set()
        late = threading.Timer(self.settings.worker.soft_shutdown, self._give_back)
        late.daemon = True
        late.start()

    def end(self) -> None:
        """All threads have ended: nothing is in hand any more."""
        self.presence.close(anew=self._again)
        self._open.close()
        if self._again:
            self._leave()

    def _give_back(self) -> NoReturn:
        try:
            give_back(self.runtime)
            self.presence.close(anew=self._again)
        finally:
            self._leave()

    def _leave(self) -> NoReturn:
        """End at once, whatever other threads do; or run the program anew."""
        logging.shutdown()
        if self._again:
            run_anew()
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
        """A supervisor starts the next process first; without one, this one runs its program anew when it has ended."""
        if self.settings.worker.supervisor_pipe is not None:
            self._tell_supervisor("replace")
        elif not self.runtime.stopping.is_set():
            self._again = True
            os.kill(os.getpid(), signal.SIGTERM)

    def _hear_hangups(self) -> None:
        """SIGHUP restarts, as Celery has it; but gives back what is in hand first, and loses no lease on a terminal
        that closes: there it ends the worker."""
        signal.signal(signal.SIGHUP, signal.SIG_IGN if self._deaf_to_hangups else self._hang_up)

    def _hang_up(self, *_: object) -> None:
        if self._on_terminal:
            self.stop()  # before Celery's handler, which speaks to the terminal first, and fails
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            self._restart()

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


def run_anew() -> NoReturn:
    """This program from its beginning, under the process id that init systems and containers know. As it was typed:
    of ``python -m celery``, ``sys.argv`` keeps a file whose folder would be searched for modules before all others."""
    try:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    except OSError as error:
        log.critical("This worker can't run %s anew: %s", sys.executable, error)
        os._exit(1)


def give_back(runtime: Runtime) -> None:
    """Units and sources that take too long at the end go to another worker, or the next run, at once and without blame;
    what this process still writes of them is fenced."""
    tokens = runtime.keeper.tokens()
    log.warning("%d claims are not finished in time; they are given back.", len(tokens))
    for token in tokens:
        try:  # in a transaction of its own: units are locked by their keys, whichever claims they are of
            with runtime.ledger.write() as tx:
                sync.give_back_source(tx, token)
                work.give_back(tx, token)
        except Exception:  # its lease runs out by itself
            log.exception("A claim could not be given back.")
    try:
        maintenance.ring_due(runtime)
    except Exception:  # the next tick rings
        log.exception("Nobody was called for what is given back.")


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
        process.runtime.stopping.set()
        process.end()
