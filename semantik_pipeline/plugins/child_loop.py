"""The child's side: ``python -m semantik_pipeline.plugins.child``. Loads its plugins once, then answers requests.

Only one request is worked on at a time. The child ends when its parent's pipe closes.
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
    """A plugin host whose services are the parent's."""

    wire: tuple[int, int]

    def lend(self, requests: int, replies: int) -> None:
        self.wire = (requests, replies)
        self._asking = threading.Lock()

    def service(self, name: str, *args: Any) -> Any:
        """Call what the parent lends under ``name``; raises what it raises."""
        requests, replies = self.wire
        with self._asking:
            frames.write_frame(replies, frames.SERVICE, frames.dump((name, args)))
            tag, body = frames.read_frame(requests)
        if tag == frames.ERROR:
            raise rebuild(body)
        return pickle.loads(body)


def main(parent: int) -> None:
    """Serve until the parent is gone."""
    requests, replies = _take_pipes()
    _die_with(parent)
    faulthandler.enable()
    with suppress(EOFError, BrokenPipeError):
        serve(requests, replies)
    os._exit(0)  # threads that a plugin left behind must not keep the child


def serve(requests: int, replies: int) -> None:
    _, hello = frames.read_frame(requests)
    path, rest = pickle.loads(hello)
    sys.path[:] = path  # so that the child finds what its parent finds
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
    """(tag, body) of the answer to one request."""
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
        raise PermanentError(told) from error  # the next child would give the same


def limit_memory(megabytes: int) -> None:
    """Let the address space grow by so much above what the idle child has.

    On Linux alone: elsewhere RLIMIT_AS is not kept, and the parent's look at the resident size has to do.
    """
    if sys.platform != "linux":
        return
    import resource

    idle = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = idle + megabytes * 1024 * 1024
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _take_pipes() -> tuple[int, int]:
    """The request and reply pipes, moved away from 0 and 1, so that a plugin that prints or reads harms nothing."""
    requests, replies = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return requests, replies


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when the parent dies (Linux); the closing pipe does it for an idle child."""
    if sys.platform == "linux":
        import ctypes

        pr_set_pdeathsig = 1  # linux/prctl.h
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked
        os._exit(0)
