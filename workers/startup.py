"""The life of a worker process, driven by Celery's signals: load, register, work, give back unfinished work, end."""

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

#: ``sys.setswitchinterval``, in seconds. The thread that drives the device needs the interpreter's lock between any two
#: operations; a busy thread gives it up after this time.
SWITCH_INTERVAL = 0.0005


#: Seconds between two attempts to bind the metrics port, and seconds after which a replacement process logs that it
#: cannot get it.
PORT_LOOK, PORT_PATIENCE = 0.3, 120.0


class WorkerProcess:
    """One Celery worker of a profile. Celery's signals call the public methods in the order in which they are
    defined."""

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
        self._queues: list[str] = []  # the queues' names on the broker
        self._again = False  # run the program again when this worker has ended
        self._deaf_to_hangups, self._on_terminal = False, sys.stdout is not None and sys.stdout.isatty()

    def configure(self, app: Celery) -> None:
        """Set the app's pool, threads, prefetch count, and the profile's queues."""
        app.conf.update(
            worker_pool=POOL,
            worker_concurrency=concurrency(self.profile, self.runtime.child_count),
            worker_prefetch_multiplier=1,
        )
        self._queues = [app.amqp.queues[name].name for name in self.profile.queues]
        app.amqp.queues.select(self._queues)

    def load(self, worker: Any) -> None:
        """Check the schema, load the plugins and register the process. If that fails, end the process, because Celery
        would only log the exception and continue."""
        self._celery, self._loaded = worker, time.monotonic()
        self._deaf_to_hangups = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # set by nohup; Celery overrides it
        few_arenas()
        sys.setswitchinterval(SWITCH_INTERVAL)
        runtime = self._open.enter_context(self.runtime)
        try:
            self._check_options(worker)
            self.settings.require_shared()
            runtime.ledger  # noqa: B018 - raises if the schema does not match
            runtime.host  # noqa: B018 - raises if the plugin state file is broken
            runtime.traces  # noqa: B018 - raises if traces are configured but OpenTelemetry is not installed
        except PipelineError as error:
            self._fail(error)
        for entry in runtime.host.report.failed:
            log.error("The plugin %s can't be used: %s", entry.id, entry.reason)
        if self.settings.worker.supervisor_pipe is None:
            self.presence.hold_turn()
        signal.signal(signal.SIGTERM, self._end_early)  # until Celery sets its own handler
        try:  # before the broker is connected, so that operators and probes see a process that waits for it
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
        """Check that Celery's command line does not contradict the profile. Other pools start processes of their own,
        in which nothing is loaded. Other queues would not match those that operators see, drain and resume."""
        from celery.concurrency import get_implementation

        if get_implementation(worker.pool_cls) is not get_implementation(POOL):
            raise SettingsError(
                f"Workers can't use the pool {worker.pool_cls.__module__.rpartition('.')[2]!r}.",
                f"Leave out -P (--pool): workers always use {POOL!r}. To run more at once, start more processes.",
            )
        answered = {queue.name for queue in worker.app.amqp.queues.consume_from.values()}
        if answered != set(self._queues):
            raise SettingsError(
                f"A worker serves only the queues of its profile ({', '.join(self.profile.queues)}).",
                "Leave out -Q and -X, and set SEMANTIK_WORKER_PROFILE instead.",
            )

    def begin(self) -> None:
        """Load the models and report the worker as ready; Celery receives messages from now on. If that fails, end the
        process, because Celery would only log the exception and the worker would work without being listed."""
        try:
            self._hear_hangups()
            self._warm_up()
            self.presence.begin(Pulse(self._celery.consumer))
        except Exception as error:
            log.critical("This worker can't start its work: %s", error)
            raise SystemExit(1) from None
        self._tell_supervisor("ready")
        log.info("Ready: %s, queues %s.", self.runtime.worker_id, ", ".join(self.profile.queues))

    def _serve_probes(self) -> None:
        """Serve metrics and probes on this process's port.

        Under a supervisor, the process that this one replaces may still have the port. Then a thread waits until that
        process has ended, so that probes and Prometheus always find a place of the supervisor at the same port.
        """
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
        """Serve this process's own metrics. The scheduler and the API serve the fleet's metrics; otherwise every worker
        would query the ledger for the same figures."""
        probes = {"live": self.presence.live, "ready": self.presence.ready}
        metrics = self.settings.metrics
        endpoint = Endpoint(metrics.host, metrics.port, [ProcessCollector(self.runtime)], **probes)
        self._open.callback(endpoint.close)

    def _warm_up(self) -> None:
        """Load what the first units would otherwise wait for, so that the process that this one replaces does not end
        before this one can continue at once. Failures are only logged: the first unit fails the same way and reports
        it."""
        runtime = self.runtime
        for name in self.profile.queues:
            for generation in runtime.live_generations() if name in STAGES else ():
                try:
                    STAGES[name].prepare(runtime, runtime.generation(generation))
                except Exception as error:
                    log.warning("%s can't be prepared: %s", name, error)

    def stop(self) -> None:
        """Take no more units. Finish those in progress, or give them back after ``worker.soft_shutdown`` seconds. A
        second call cancels a restart, so that the process just ends."""
        if self.runtime.stopping.is_set():
            self._again = False
            return
        self.runtime.stopping.set()
        late = threading.Timer(self.settings.worker.soft_shutdown, self._give_back)
        late.daemon = True
        late.start()

    def end(self) -> None:
        """Report the end. All threads have ended, so nothing is in progress any more."""
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
        """End the process at once, whatever other threads are doing, or run the program again."""
        logging.shutdown()
        if self._again:
            run_anew()
        os._exit(0)

    # -- operators' commands -------------------------------------------------------------------------------------------

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
        """Restart. A supervisor starts the replacement first; without one, this process ends and runs its program
        again."""
        if self.settings.worker.supervisor_pipe is not None:
            self._tell_supervisor("replace")
        elif not self.runtime.stopping.is_set():
            self._again = True
            os.kill(os.getpid(), signal.SIGTERM)

    def _hear_hangups(self) -> None:
        """Replace Celery's SIGHUP handler. SIGHUP still restarts the worker, but work in progress is finished or given
        back first. If the worker runs on a terminal, SIGHUP means that the terminal closed, and ends the worker in the
        same orderly way. Under ``nohup`` it is ignored."""
        signal.signal(signal.SIGHUP, signal.SIG_IGN if self._deaf_to_hangups else self._hang_up)

    def _hang_up(self, *_: object) -> None:
        if self._on_terminal:
            self.stop()  # Celery's SIGTERM handler would first write to the closed terminal, and fail
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            self._restart()

    def _tell_supervisor(self, word: str) -> bool:
        """Write a line to the pipe of the supervisor that started this process. Returns False if that is not
        possible."""
        pipe = self.settings.worker.supervisor_pipe
        if pipe is None:
            return False
        try:
            os.write(pipe, f"{word}\n".encode())
        except OSError:  # the supervisor is gone; the heartbeat notices that and ends this process
            return False
        return True

    def _end_by_itself(self, reason: str) -> None:
        if not self.runtime.stopping.is_set():
            log.error("This worker stops: %s", reason)
            os.kill(os.getpid(), signal.SIGTERM)


def run_anew() -> NoReturn:
    """Replace this process by a new run of its program, with the process id that init systems and containers know.

    It uses the original command line. For ``python -m celery``, ``sys.argv`` starts with a file path instead, and
    Python would search that file's folder for modules before all others.
    """
    try:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    except OSError as error:
        log.critical("This worker can't run %s again: %s", sys.executable, error)
        os._exit(1)


def give_back(runtime: Runtime) -> None:
    """Release the claims that are not finished in time, so that another worker or the next run can take them at once.

    The release does not count as a failure of the documents. Anything that this process still writes under these claims
    is rejected.
    """
    tokens = runtime.keeper.tokens()
    log.warning("%d claims were not finished in time and are released.", len(tokens))
    for token in tokens:
        try:  # one transaction per claim: units are locked in the order of their keys, not of their claims
            with runtime.ledger.write() as tx:
                sync.give_back_source(tx, token)
                work.give_back(tx, token)
        except Exception:  # its lease expires by itself
            log.exception("A claim could not be released.")
    try:
        maintenance.ring_due(runtime)
    except Exception:  # the next maintenance tick wakes the workers
        log.exception("Other workers could not be notified of the released claims.")


def connect(process: WorkerProcess) -> None:
    """Connect Celery's signals to the process's methods, and configure the logs."""
    from celery import signals

    logs.configure(process.settings.logs)

    @signals.celeryd_init.connect(weak=False)
    def keep_quiet(instance: Any, **_: Any) -> None:
        instance.quiet = True  # no banner: the "Ready" log line has the same information

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
