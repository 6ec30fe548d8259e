"""``semantik worker``: runs a host's worker processes and replaces each of them when it dies or asks to be replaced. A
process asks if an operator told it to restart or if it has grown too large.

The supervisor loads no plugins and no models. A process that is to be replaced keeps working until its replacement is
ready, so that no capacity is lost. Each process writes ``ready`` and ``replace`` to a pipe that the supervisor reads.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from semantik_pipeline.server_discovery import environment
from semantik_pipeline.settings import Settings, visible_gpus
from workers.profiles import Profile, processes

log = logging.getLogger(__name__)

#: The command of one process. The ledger records which workers are alive, so Celery's gossip and mingle are off.
COMMAND = (
    *(sys.executable, "-m", "celery", "-A", "workers.app", "worker"),
    *("--without-gossip", "--without-mingle"),
)

#: Seconds between two checks of the processes.
LOOK = 0.2

#: Maximum seconds before a process that keeps dying is started again.
PATIENCE = 30.0

#: Seconds after the soft shutdown before a process that has not ended is killed.
GRACE = 10.0

#: Seconds after its start from which the death of a ready process no longer counts as a failed start.
SETTLED = 60.0


@dataclass
class Member:
    """One process, from the supervisor's point of view."""

    place: int
    process: subprocess.Popen[bytes]
    said: set[str] = field(default_factory=set)
    started: float = field(default_factory=time.monotonic)
    listener: threading.Thread | None = None  # reads its pipe into `said`
    stop_by: float | None = None  # set when it is told to end: the time at which it is killed

    @property
    def ready(self) -> bool:
        return "ready" in self.said

    @property
    def wants_replacing(self) -> bool:
        return "replace" in self.said


class Supervisor:
    """Keeps a profile's processes running until :meth:`stop`."""

    def __init__(self, settings: Settings, profile: Profile, *, said: Mapping[str, str]) -> None:
        """``said`` holds the settings from the command line as environment variables for the processes."""
        self._settings = settings
        self._said = {**said, "SEMANTIK_WORKER_PROFILE": settings.worker.profile}
        self._count = processes(profile, settings)
        self._devices = visible_gpus() if profile.on_devices else []
        self._members: list[Member] = []
        self._failures = [0] * self._count
        self._start_at = [0.0] * self._count
        self._stopping = threading.Event()
        self._ever_ready = False
        self._number = 0

    def stop(self, *_: object) -> None:
        """End all processes in an orderly way. May be called in a signal handler."""
        self._stopping.set()

    def run(self) -> int:
        """Run until stopped. Returns the exit code, which is 1 if the first processes could not start."""
        failed = False
        while not self._stopping.is_set() and not failed:
            for place in range(self._count):
                self._keep(place)
            failed = self._reap()
            self._stopping.wait(LOOK)
        for member in self._members:
            self._tell_to_end(member)
        while self._members:
            self._reap()
            time.sleep(LOOK / 4)
        return 1 if failed else 0

    def _keep(self, place: int) -> None:
        """Start a process if the place is empty, and replace its process if that is due."""
        here = [member for member in self._members if member.place == place and member.stop_by is None]
        if not here:
            if time.monotonic() >= self._start_at[place]:
                self._members.append(self._start(place))
            return
        oldest, newest = here[0], here[-1]
        if oldest is not newest:
            if newest.ready:
                self._tell_to_end(oldest)
        elif oldest.wants_replacing and time.monotonic() >= self._start_at[place]:
            # If the replacement cannot start (for example, a broken state file), it is tried again, less and less
            # often. Meanwhile the old process keeps working, and its turn prevents other workers from restarting into
            # the same.
            log.info("Process %d is replaced.", oldest.process.pid)
            self._members.append(self._start(place))

    def _start(self, place: int) -> Member:
        reader, writer = os.pipe()
        self._number += 1
        name = f"{self._settings.worker.profile}-{os.getpid()}-{self._number}@%h"
        command = [*COMMAND, "-n", name]
        process = subprocess.Popen(command, env=self._environment(place, writer), pass_fds=[writer])
        os.close(writer)
        member = Member(place=place, process=process)
        member.listener = threading.Thread(
            target=_listen, args=(reader, member), name=f"pipe-{process.pid}", daemon=True
        )
        member.listener.start()
        return member

    def _environment(self, place: int, pipe: int) -> Mapping[str, str]:
        changes = {**self._said, "SEMANTIK_WORKER_SUPERVISOR_PIPE": str(pipe)}
        if self._settings.metrics.port:
            changes["SEMANTIK_METRICS_PORT"] = str(self._settings.metrics.port + place)
        return environment(**changes, **on_device(place, self._count, self._devices))

    def _tell_to_end(self, member: Member) -> None:
        if member.stop_by is None:
            member.stop_by = time.monotonic() + self._settings.worker.soft_shutdown + GRACE
            member.process.send_signal(signal.SIGTERM)

    def _reap(self) -> bool:
        """Note ended processes, and kill those that are overdue. Returns True if a process failed before any was ever
        ready, because then starting more would not help."""
        failed = False
        for member in list(self._members):
            if member.stop_by is not None and time.monotonic() > member.stop_by:
                member.process.kill()
            code = member.process.poll()
            if code is not None and member.listener is not None:
                member.listener.join(1)  # a process may say that it is ready and end between two looks
            self._ever_ready |= member.ready
            if code is None:
                continue
            self._members.remove(member)
            if member.stop_by is None:
                hopeless = not self._ever_ready and code != 0
                failed |= hopeless
                self._note_death(member, code, last=hopeless)
        return failed

    def _note_death(self, member: Member, code: int, *, last: bool) -> None:
        settled = member.ready and time.monotonic() - member.started > SETTLED
        self._failures[member.place] = 0 if settled else self._failures[member.place] + 1
        wait = wait_before(self._failures[member.place])
        self._start_at[member.place] = time.monotonic() + wait
        how = f"signal {-code}" if code < 0 else f"code {code}"
        then = "no process was ever ready, so it is not replaced" if last else f"another one starts in {wait:.0f} s"
        log.warning("Process %d ended with %s; %s.", member.process.pid, how, then)


def wait_before(failures: int) -> float:
    """Seconds until a process is started again after this many failures in a row."""
    return min(PATIENCE, 2.0 ** (failures - 1) - 1) if failures else 0.0


def on_device(place: int, count: int, devices: Sequence[str]) -> dict[str, str]:
    """Environment variables for the process at a place (of ``count``): its GPU, and how many processes share that
    GPU."""
    if not devices:
        return {}
    turn = place % len(devices)
    sharers = len(range(turn, count, len(devices)))
    return {"CUDA_VISIBLE_DEVICES": devices[turn], "SEMANTIK_WORKER_GPU_SHARERS": str(sharers)}


def _listen(reader: int, member: Member) -> None:
    with os.fdopen(reader, "r") as lines:
        for line in lines:
            member.said.add(line.strip())
