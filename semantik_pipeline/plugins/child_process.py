"""The parent's side of one child process: starts it, sends requests, watches its memory, kills it."""

from __future__ import annotations

import contextvars
import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from semantik_pipeline.errors import ChildCrashed, ChildOutOfMemory, ChildTimeout, PluginError, ServiceUnavailable
from semantik_pipeline.plugins import frames
from semantik_pipeline.plugins.child_errors import rebuild, report
from semantik_pipeline.plugins.state import PluginState

LOGGER = logging.getLogger("semantik.plugins.child")

#: Seconds that a new child may take to load its plugins.
START_SECONDS = 60.0
#: Lines of the child's standard error that are kept, for the error message if it dies.
KEPT_LINES = 60
#: A child that holds more than this share of its memory limit after a request is not used again.
RETIRE_SHARE = 0.75
#: If a child dies and was last measured above this share of its limit, the cause is reported as out of memory: C code
#: often aborts where Python raises MemoryError.
SUSPECT_SHARE = 0.8
#: Capacity of a pipe to or from a child; the system's default is 64 KiB.
PIPE_BYTES = 1 << 20

Services = Mapping[str, Callable[..., Any]]


class ChildProcess:
    """A started child process. Not thread-safe: used by one thread at a time."""

    def __init__(self, state: PluginState, kinds: tuple[str, ...] | None, memory_mb: int) -> None:
        command = [sys.executable, "-P", "-m", "semantik_pipeline.plugins.child", str(os.getpid())]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env={**_FEW_THREADS, **os.environ, "MALLOC_ARENA_MAX": "2"},
            start_new_session=True,  # a separate process group, so that processes a plugin starts are killed with it
        )
        try:
            self._attend(state, kinds, memory_mb)
        except BaseException:  # no caller has a reference to the process yet
            self.kill()
            raise

    def _attend(self, state: PluginState, kinds: tuple[str, ...] | None, memory_mb: int) -> None:
        """Start the thread that reads its standard error, set up the pipes, and send it its configuration."""
        assert self._process.stdin and self._process.stdout
        self._said: deque[str] = deque(maxlen=KEPT_LINES)
        self._asked_in = contextvars.copy_context()
        self._listener = threading.Thread(target=self._listen, name=f"child-{self.pid}-stderr", daemon=True)
        self._listener.start()
        self._memory = memory_mb * 1024 * 1024
        self._seen = psutil.Process(self.pid)
        self._idle_size = self._largest = 0
        self._ready = False
        self._waited_before = self._most_pardoned = 0.0
        pipes = self._process.stdin.fileno(), self._process.stdout.fileno()
        for pipe in pipes:
            _enlarge(pipe)
        self._wire = frames.Wire(*pipes, self._watch, self._pardoned)
        hello = frames.dump((list(sys.path), frames.dump((state, kinds, memory_mb))))
        with suppress(EOFError, frames.DeadlinePassed):  # await_ready reports a child that is dead already
            self._wire.send(frames.HELLO, hello, time.monotonic() + START_SECONDS)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def bloated(self) -> bool:
        """Whether it holds so much memory after a request that the next request might exceed the limit."""
        return self._size() - self._idle_size > RETIRE_SHARE * self._memory

    def await_ready(self) -> None:
        """Wait until it has loaded its plugins. Raises the error of the child's start, or ServiceUnavailable."""
        if self._ready:
            return
        try:
            tag, body = self._wire.receive(time.monotonic() + START_SECONDS)
        except (EOFError, frames.DeadlinePassed) as error:
            why = f"took more than {START_SECONDS:.0f} s" if isinstance(error, frames.DeadlinePassed) else "died"
            said = self._last_words()
            raise ServiceUnavailable(f"A child process for plugins could not start: it {why}. {said}".strip()) from None
        if tag == frames.ERROR:
            raise rebuild(body)
        self._idle_size = self._size()
        self._ready = True

    def ask(self, what: str, request: bytes, deadline: float, services: Services) -> tuple[bytes, bytes]:
        """Send a request and return the answer as (tag, body). Serves the child's service calls meanwhile.

        ``deadline`` is in seconds, without the time that services take or that the child waits for a processor.
        Raises ChildTimeout, ChildCrashed or ChildOutOfMemory; after any of them the child can't be used again.
        """
        until = time.monotonic() + deadline
        self._asked_in = contextvars.copy_context()
        self._largest = 0
        self._waited_before, self._most_pardoned = self._waited(), (frames.PATIENCE - 1) * deadline
        self._said.clear()
        try:
            self._wire.send(frames.RUN, request, until)
            while True:
                tag, body = self._wire.receive(until)
                if tag != frames.SERVICE:
                    return tag, body
                started = time.monotonic()
                reply = _served(body, services)
                until += time.monotonic() - started
                self._wire.send(*reply, until)
        except frames.DeadlinePassed:
            self.kill()
            raise ChildTimeout(
                f"{what} was still running after {deadline:g} s and was stopped.",
                "To process it anyway, raise the deadlines under [child] in the settings.",
            ) from None
        except EOFError:
            raise self._death(what) from None

    def kill(self) -> None:
        """Kill it and everything in its process group, immediately. Idempotent."""
        with suppress(ProcessLookupError, PermissionError):
            if self._process.returncode is None:  # after it is reaped, its pid may belong to another process
                os.killpg(self.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                pipe.close()  # type: ignore[union-attr]

    # -- watching -----------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Kill it if its resident size exceeds the limit: its own limit ignores shared memory, and needs Linux."""
        if not self._ready:
            return
        self._largest = max(self._largest, self._size() - self._idle_size)
        if self._largest > self._memory:
            self.kill()
            raise self._out_of_memory("The plugin")

    def _pardoned(self) -> float:
        return min(self._waited() - self._waited_before, self._most_pardoned)

    def _waited(self) -> float:
        """Return the seconds that its threads were runnable but had no processor; 0 if the kernel does not report it.

        Linux reports it.
        """
        waited = 0
        for schedule in Path(f"/proc/{self.pid}/task").glob("*/schedstat"):
            with suppress(OSError, ValueError, IndexError):  # threads end, and some kernels don't count
                waited += int(schedule.read_text().split()[1])
        return waited / 1e9

    def _size(self) -> int:
        try:
            return self._seen.memory_info().rss
        except psutil.Error:
            return 0

    def _out_of_memory(self, what: str) -> ChildOutOfMemory:
        return ChildOutOfMemory(
            f"{what} needed more than {self._memory >> 20} MiB of memory.",
            "To process it anyway, raise child.memory_mb.",
        )

    def _death(self, what: str) -> ChildCrashed | ChildOutOfMemory:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)  # before it is reaped, so that processes it started do not outlive it
        code = self._process.wait()
        said = self._last_words()
        self.kill()
        if self._largest > SUSPECT_SHARE * self._memory or "MemoryError" in said or "bad_alloc" in said:
            error: ChildCrashed | ChildOutOfMemory = self._out_of_memory(what)
        else:
            error = ChildCrashed(f"{what} crashed its process: {_cause(code)}.")
        error.child_traceback = said  # type: ignore[union-attr]
        return error

    def _listen(self) -> None:
        """Read the child's standard error, including a plugin's prints: log it and keep the last lines for errors."""
        errors = self._process.stderr
        assert errors is not None
        for line in iter(partial(errors.readline, 4096), b""):
            text = line.decode("utf-8", "replace").rstrip()
            self._said.append(text)
            self._asked_in.run(LOGGER.debug, "%d: %s", self.pid, text)  # in the context of the current request
        errors.close()

    def _last_words(self) -> str:
        self._listener.join(0.5)
        return "\n".join(self._said)


#: Many children run side by side, each on one document, so numeric libraries get a single thread in each.
_FEW_THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def _enlarge(pipe: int) -> None:
    """Enlarge a pipe: documents are megabytes, so fewer and larger reads are faster. Skipped if the system refuses."""
    if sys.platform == "linux":
        import fcntl

        with suppress(OSError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def _served(body: bytes, services: Services) -> tuple[bytes, bytes]:
    """Run a child's service call and return the answer as (tag, body)."""
    try:
        name, args = pickle.loads(body)
        if name not in services:
            lent = ", ".join(services) or "none"
            raise PluginError(
                f"A plugin in a child process asked for the service {name!r}, which its parent does not offer "
                f"(offered: {lent})."
            )
        return frames.VALUE, frames.dump(services[name](*args))
    except Exception as error:
        return frames.ERROR, report(error)


def _cause(code: int) -> str:
    if code >= 0:
        return f"it ended with exit code {code}"
    try:
        return f"it was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"it was killed by signal {-code}"
