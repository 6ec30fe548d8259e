"""Keeps a worker process's row in the ledger: what it loaded, its heartbeat, what it is doing, and operators'
commands."""

from __future__ import annotations

import logging
import os
import platform
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from semantik_pipeline import __version__, fleet
from semantik_pipeline.errors import PipelineError
from semantik_pipeline.ledger.queue import workers as ledger_workers
from semantik_pipeline.pipeline import STAGES
from semantik_pipeline.settings import visible_gpus
from semantik_pipeline.stages.unit_errors import told

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime
    from semantik_pipeline.tally import Tally
    from workers.consumer_liveness import Pulse

log = logging.getLogger(__name__)

#: Maximum number of documents and sources in progress that a heartbeat lists by name.
NAMED = 5

#: Seconds that a draining worker waits for claims that are just being made.
CLAIMING = 5.0

#: Seconds after a unit's deadline at which its process ends, because a hanging thread cannot be stopped from outside.
HUNG = 60.0

#: Seconds between two reports of fingerprints.
FINGERPRINTS = 60.0

#: Seconds without a heartbeat recorded in the ledger after which a process is not ready.
STALLED = 60.0

#: Seconds after which a process is not alive, if one heartbeat takes that long or the consumer gives no sign of life. A
#: ledger that stops answering delays a heartbeat by about ten seconds for each statement
#: (``ledger/database/connection.py``), which must not get every worker killed.
DEAD = 300.0

#: Seconds over which rates are averaged.
RATE_WINDOW = 30.0


class Paces:
    """What each stage has done in this process, and its rate over the last RATE_WINDOW seconds."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._looks: deque[tuple[float, dict[str, dict[str, float]]]] = deque()

    def look(self) -> dict[str, dict[str, float]]:
        """Map each stage to its ``units``, ``chunks``, ``units_per_second`` and ``chunks_per_second``."""
        now, totals = time.monotonic(), self._totals()
        self._looks.append((now, totals))
        while len(self._looks) > 2 and now - self._looks[1][0] >= RATE_WINDOW:
            self._looks.popleft()
        began, before = self._looks[0]
        seconds = max(now - began, 1e-9)
        return {
            stage: {
                **done,
                **{
                    f"{name}_per_second": (value - before.get(stage, {}).get(name, 0)) / seconds
                    for name, value in done.items()
                },
            }
            for stage, done in totals.items()
        }

    def _totals(self) -> dict[str, dict[str, float]]:
        totals: dict[str, dict[str, float]] = {}
        for name in ("units", "chunks"):
            for labels, value in self._tally.counts(name).items():
                known = dict(labels)
                stage = totals.setdefault(known["stage"], {"units": 0, "chunks": 0})
                if known.get("outcome", "done") == "done":
                    stage[name] += value
        return totals


class Presence:
    """Reports this process to the ledger every few seconds, from its own thread.

    ``obey(command)`` carries out an operator's command (``drain``, ``resume`` or ``restart``). If it is None, the
    process takes no commands. ``ended(reason)`` is called when the process should end by itself: its parent is gone, a
    fatal error makes all its work fail, or a unit hangs.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        profile: str,
        queues: tuple[str, ...],
        obey: Callable[[str], None] | None = None,
        ended: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self._runtime = runtime
        self._profile = profile
        self._queues = queues
        self._obey = obey
        self._ended = ended
        self._parent = os.getppid()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="presence", daemon=True)
        self._restarting = False
        self._paces = Paces(runtime.tally)
        self._fingerprinted: tuple[float, dict[str, Any]] = (float("-inf"), {})
        self._looked: float | None = None  # time.monotonic() of the last attempt at a heartbeat
        self.beaten: float | None = None  # time.monotonic() of the last heartbeat recorded in the ledger
        self._pulse: Pulse | None = None
        self._deaf = 0.0  # seconds since the consumer's last sign of life
        self._loading = threading.Event()
        self._starting = False

    def hold_turn(self) -> None:
        """If this process restarted itself, keep its turn at restarting until :meth:`begin`, so that the next worker
        does not restart before this one is ready."""
        self._loading.set()
        threading.Thread(target=self._hold_turn, name="presence-turn", daemon=True).start()

    def _hold_turn(self) -> None:
        while self._loading.is_set() and not self._stop.is_set():
            try:
                with self._runtime.ledger.write() as tx:
                    ledger_workers.keep_turn(tx, host=socket.gethostname(), pid=os.getpid())
            except Exception as error:  # the next worker may restart too early
                log.warning("The turn to restart can't be kept: %s", error)
            self._stop.wait(self._runtime.settings.worker.heartbeat)

    def announce(self) -> None:
        """Register this process once its plugins are loaded and the schema is checked. From then on it is listed and
        its probes reflect its heartbeat. Until it is connected to the broker, it is ``starting`` and carries out no
        commands."""
        runtime = self._runtime
        with runtime.ledger.write() as tx:
            ledger_workers.announce(
                tx,
                runtime.worker_id,
                host=socket.gethostname(),
                pid=os.getpid(),
                profile=self._profile,
                report=self.report(),
            )
        self._starting = True
        self._looked = self.beaten = time.monotonic()
        self._thread.start()

    def begin(self, pulse: Pulse | None = None) -> None:
        """Report that this process takes work from now on. ``pulse`` watches the consumer that receives its
        messages."""
        if not self._thread.is_alive():
            self.announce()
        self._loading.clear()
        self._pulse = pulse
        self._starting = False  # before the ledger records it: a heartbeat in between sees this and repeats itself
        with self._runtime.ledger.write() as tx:
            ledger_workers.ready(tx, self._runtime.worker_id, host=socket.gethostname(), pid=os.getpid())

    def close(self, *, anew: bool = False) -> None:
        """Report that the process ended in an orderly way. With ``anew``, it runs its program again: if a restart was
        requested, it keeps its turn at restarting until the new program has registered."""
        self._stop.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(timeout=5)
        try:
            with self._runtime.ledger.write() as tx:
                if anew and self._restarting:
                    ledger_workers.keep_turn(tx, host=socket.gethostname(), pid=os.getpid())
                else:
                    ledger_workers.end(tx, self._runtime.worker_id)
        except PipelineError as error:  # the ledger is unavailable; the row goes stale by itself
            log.warning("The ledger could not record that this worker has stopped: %s", error)

    def live(self) -> str | None:
        """Return why this process should be killed and restarted, or None if it is alive. An unavailable ledger is not
        a reason, because a new process could not reach it either."""
        if self._looked is None:
            return None
        silent = time.monotonic() - self._looked
        if silent >= DEAD:
            return f"there was no heartbeat for {silent:.0f} s"
        if self._deaf >= DEAD and not self._runtime.stopping.is_set():
            return f"the message consumer has not responded for {self._deaf:.0f} s"
        return None

    def ready(self) -> str | None:
        """Return why this process takes no work now, or None if it does."""
        if self.beaten is None and self.state != "ready":
            return self.state  # not registered in the ledger yet
        if self.beaten is None or time.monotonic() - self.beaten > STALLED:
            return "the ledger has not answered recently"
        return None if self.state == "ready" else self.state

    def report(self) -> dict[str, Any]:
        """The facts about this process that do not change while it lives."""
        host = self._runtime.host
        return {
            "version": __version__,
            "python": platform.python_version(),
            "queues": list(self._queues),
            "heartbeat": self._runtime.settings.worker.heartbeat,
            "cpus": os.cpu_count(),
            "gpus": visible_gpus(),
            "index": fleet.own_index(self._runtime),
            "children": self._runtime.child_count,
            "plugin_state": {"revision": host.state.revision, "hash": host.state.digest},
            "plugins": host.report.to_dict(),
        }

    def activity(self) -> dict[str, Any]:
        """What this process is doing at this moment."""
        import psutil

        runtime = self._runtime
        return {
            "rss": psutil.Process().memory_info().rss,
            "in_hand": runtime.in_hand(NAMED),
            "stages": self._paces.look(),
            "refusals": runtime.refusals(stage for stage in STAGES if stage in self._queues),
            "fingerprints": self._fingerprints(),
            "models": runtime.models(),
            "fatal": told(runtime.fatal) if runtime.fatal else None,
        }

    def _fingerprints(self) -> dict[str, Any]:
        if time.monotonic() - self._fingerprinted[0] > FINGERPRINTS:
            self._fingerprinted = (time.monotonic(), self._runtime.fingerprints())
        return self._fingerprinted[1]

    def _too_large(self, rss: int) -> bool:
        limit = self._runtime.settings.worker.memory_mb
        return bool(limit) and rss > limit * 1024 * 1024

    @property
    def state(self) -> str:
        if self._starting or self._restarting:
            return "starting" if self._starting else "restarting"
        return "draining" if self._runtime.resting.is_set() else "ready"

    def beat(self) -> None:
        """Send one heartbeat, and carry out the operator's command that it returns, if any."""
        runtime, activity, state = self._runtime, self.activity(), self.state
        with runtime.ledger.write() as tx:
            command = ledger_workers.beat(tx, runtime.worker_id, state=state, activity=activity)
        if state == "starting":  # commands wait until the broker is connected
            if not self._starting:  # begin() ran in between: record the new state
                self.beat()
            return
        if command is None and self._too_large(activity["rss"]):
            command = "restart"
        if command is None or self._restarting or self._obey is None:
            return
        if command == "restart":
            with runtime.ledger.write() as tx:
                if not ledger_workers.take_turn(tx, runtime.worker_id):
                    return  # another worker is restarting
        log.info("Asked to %s.", command)
        self._restarting = command == "restart"  # the turn lasts until this process has ended
        self._obey(command)
        if not self._restarting:
            runtime.room.settle(CLAIMING)  # a loop that was about to claim has claimed now, or will not
            activity = self.activity()
            with runtime.ledger.write() as tx:
                ledger_workers.obeyed(tx, runtime.worker_id, command)
                ledger_workers.beat(tx, runtime.worker_id, state=self.state, activity=activity)

    def _run(self) -> None:
        while not self._stop.wait(self._runtime.settings.worker.heartbeat):
            self._looked = time.monotonic()
            if self._pulse is not None:
                self._deaf = self._pulse.feel()
            try:
                self.beat()
                self.beaten = time.monotonic()
            except PipelineError as error:  # the ledger is unavailable; the next heartbeat tries again
                log.warning("A heartbeat failed: %s", error)
            except Exception:  # without this thread, the worker would look dead while it works
                log.exception("A heartbeat failed.")
            if self._runtime.settings.worker.supervisor_pipe is not None and os.getppid() != self._parent:
                self._ended("the process that started it has ended")
            if self._runtime.fatal is not None:
                self._ended(told(self._runtime.fatal))
            if self._runtime.keeper.hung(HUNG):
                self._ended("a unit hangs, and its lease has expired")
