"""The child process's main loop: loads the plugins once, then answers one request at a time.

``python -m semantik_pipeline.plugins.child`` runs it. The child ends when its parent closes the request pipe.
"""

from __future__ import annotations

import faulthandler
import os
import pickle
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from semantik_pipeline.errors import PermanentError
from semantik_pipeline.plugins import frames
from semantik_pipeline.plugins.child_errors import rebuild, report
from semantik_pipeline.plugins.host import PluginHost
from semantik_pipeline.plugins.loader import load_plugins


class ChildHost(PluginHost):
    """A plugin host that forwards service calls to the parent process."""

    wire: tuple[int, int]

    def lend(self, requests: int, replies: int) -> None:
        self.wire = (requests, replies)
        self._asking = threading.Lock()

    def service(self, name: str, *args: Any) -> Any:
        """Call the parent's service ``name`` and return its result; raises the exception of the service."""
        requests, replies = self.wire
        with self._asking:
            frames.write_frame(replies, frames.SERVICE, frames.dump((name, args)))
            tag, body = frames.read_frame(requests)
        if tag == frames.ERROR:
            raise rebuild(body)
        return pickle.loads(body)


def main(parent: int) -> None:
    """Serve requests until the parent is gone."""
    requests, replies = _take_pipes()
    _die_with(parent)
    faulthandler.enable()
    with suppress(EOFError, BrokenPipeError):
        serve(requests, replies)
    os._exit(0)  # threads that a plugin left running must not keep the child alive


def serve(requests: int, replies: int) -> None:
    _, hello = frames.read_frame(requests)
    path, rest = pickle.loads(hello)
    sys.path[:] = path  # the child must find the same modules as its parent
    try:
        state, kinds, memory_mb = pickle.loads(rest)
        registry, load_report = load_plugins(state, kinds)
        host = ChildHost(registry, load_report, state)
        host.lend(requests, replies)
        limit_memory(memory_mb)
    except BaseException as error:
        frames.write_frame(replies, frames.ERROR, report(error))
        return
    frames.write_frame(replies, frames.READY, frames.dump(None))
    while True:
        _, request = frames.read_frame(requests)
        frames.write_frame(replies, *answer(host, request))


def answer(host: ChildHost, request: bytes) -> tuple[bytes, bytes]:
    """Run one request and return its answer as (tag, body)."""
    try:
        function, args = pickle.loads(request)
        return frames.VALUE, _dumped(function(host, *args))
    except MemoryError:
        return frames.OUT_OF_MEMORY, frames.dump(None)
    except BaseException as error:
        return frames.ERROR, report(error)


def _dumped(result: Any) -> bytes:
    try:
        return frames.dump(result)
    except MemoryError:
        raise
    except Exception as error:
        told = f"The result, a {type(result).__name__}, can't be sent from the child process: {error}."
        raise PermanentError(told) from error  # permanent: a retry in another child would fail the same way


def limit_memory(megabytes: int) -> None:
    """Limit the growth of this process's writable memory to ``megabytes``.

    Mapped files do not count, because shared libraries are mapped: those of torch's CUDA build, which spaCy imports,
    take 3 GB of address space, so RLIMIT_AS would refuse the import. Shared memory does not count either, but the
    parent kills a child whose resident size grows too much. Linux only: elsewhere there is only that.
    """
    if sys.platform != "linux":
        return
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[5])  # data and stack
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = pages * resource.getpagesize() + megabytes * 1024 * 1024
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def _take_pipes() -> tuple[int, int]:
    """Move the request and reply pipes away from file descriptors 0 and 1, so that a plugin may print or read input."""
    requests, replies = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return requests, replies


def _die_with(parent: int) -> None:
    """Let the kernel kill this process when the parent dies (Linux). An idle child also ends when its pipe closes."""
    if sys.platform == "linux":
        import ctypes

        pr_set_pdeathsig = 1  # linux/prctl.h
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:  # the parent died before prctl was called
        os._exit(0)
