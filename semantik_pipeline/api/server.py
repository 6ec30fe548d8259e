"""The server: it listens, answers requests until it is told to stop, finishes the requests in progress, and ends."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import uvicorn

from semantik_pipeline import access, plugin_admin
from semantik_pipeline.api.app import create_app
from semantik_pipeline.errors import PipelineError, SettingsError

if TYPE_CHECKING:
    from semantik_pipeline.api.threads import Threads
    from semantik_pipeline.runtime import Runtime

log = logging.getLogger(__name__)

#: Maximum number of connections that wait to be accepted.
BACKLOG = 512


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at this host and port; port 0 means any free port. Raises SettingsError if that fails."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        opened = socket.socket(family, kind, protocol)
        try:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind(address)
            opened.listen(BACKLOG)
        except BaseException:
            opened.close()
            raise
    except OSError as error:
        raise SettingsError(
            f"The API can't listen on {host}, port {port}: {error.strerror or error}.",
            "Set another port (api.port or --port); 0 chooses a free one.",
        ) from None
    return opened


def url_of(listening: socket.socket) -> str:
    """The URL at which a caller on this machine reaches the socket."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(runtime: Runtime, listening: socket.socket) -> int:
    """Answer requests until SIGTERM or SIGINT, or until the runtime has a fatal error.

    Requests in progress get up to ``worker.soft_shutdown`` seconds to finish, while the runtime's worker ends. A second
    signal ends the process at once.

    Returns the number of threads that still work for unfinished requests. They use the runtime and cannot be stopped.
    If there are none, raises the runtime's fatal error, if any. Raises PluginNotFoundError before anything is answered
    if ``api.auth`` names something that is not an auth plugin.
    """
    access.check(runtime)
    with suppress(PipelineError):  # the mirror is only a history; the state file is authoritative
        plugin_admin.mirror(runtime)
    app = create_app(runtime)
    config = uvicorn.Config(
        app,
        log_config=None,  # the frame logs one line for each request, with its id
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=round(runtime.settings.worker.soft_shutdown),
    )
    if runtime.settings.search.execution == "local":
        threading.Thread(target=_warm_up, args=(runtime, app.state.threads), name="warm-up", daemon=True).start()
    server = _Server(config, runtime, app.state.ending)
    server.run(sockets=[listening])
    left = app.state.threads.left(server.ended_at + runtime.settings.worker.soft_shutdown)
    if runtime.fatal is not None and not left:
        raise runtime.fatal
    return left


class _Server(uvicorn.Server):
    """Sets ``ending`` and ``runtime.stopping`` when it stops, and stops when the runtime has a fatal error."""

    def __init__(self, config: uvicorn.Config, runtime: Runtime, ending: threading.Event) -> None:
        super().__init__(config)
        self._runtime = runtime
        self._ending = ending
        self.ended_at = float("inf")  # on the monotonic clock

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Unlike uvicorn's own method, do not raise the received signal again afterwards: the process still has to
        close other things. A signal that arrives meanwhile counts as a second signal."""
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in numbers}
        try:
            yield
        finally:
            self._end()
            for number, handler in before.items():
                signal.signal(number, self.handle_exit if self.should_exit else handler)

    def handle_exit(self, sig: int, frame: Any) -> None:
        if self.should_exit:
            os._exit(128 + sig)
        self._end()
        super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        over = await super().on_tick(counter)
        if self._runtime.fatal is not None:
            self._end()
            return True
        return over

    def _end(self) -> None:
        self.ended_at = min(self.ended_at, time.monotonic())
        self._ending.set()
        self._runtime.stopping.set()


def _warm_up(runtime: Runtime, threads: Threads) -> None:
    with threads.counted():
        warm_up(runtime)


def warm_up(runtime: Runtime) -> None:
    """Search each collection once, so that the first real search does not wait for a model to load."""
    from semantik_pipeline.search import SearchQuery, search

    for name in _indexed(runtime):
        if runtime.stopping.is_set():
            return
        try:
            search(runtime, SearchQuery(text="warm up", collection=name, limit=1))
        except Exception as error:  # a caller's search reports the same error
            log.info("The models of the collection %r can't be loaded in advance: %s", name, error)


def _indexed(runtime: Runtime) -> list[str]:
    """The names of the collections that have indexed documents."""
    from semantik_pipeline.ledger.documents import document_reports

    try:
        with runtime.ledger.read() as tx:
            found = document_reports.totals(tx)["collections"]
    except Exception as error:
        log.info("No models can be loaded ahead: %s", error)
        return []
    return [name for name, totals in found.items() if totals["documents"].get("indexed")]
