"""Servers that a test may kill, stop, flush and restart: Redis, PostgreSQL, a relay to RabbitMQ."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from kombu import Connection

#: Seconds for a server or a worker to start on a machine that is busy with other tests.
PATIENCE = 90.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def until(condition: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    """Wait for a condition; raise an AssertionError that names it if it does not become true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.05)


class OwnRedis:
    """A Redis server that stores nothing on disk: stopping it loses every message."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def available() -> bool:
        return shutil.which("redis-server") is not None

    def start(self) -> OwnRedis:
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: answers(self.port), "Redis answers")
        return self

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def forget(self) -> None:
        """Delete every message."""
        self.ask("flushall")

    def ask(self, *command: str) -> str:
        return subprocess.run(
            ["redis-cli", "-p", str(self.port), *command], capture_output=True, text=True, check=True
        ).stdout

    def used_memory(self) -> int:
        """Return its memory use in bytes."""
        found = [line for line in self.ask("info", "memory").splitlines() if line.startswith("used_memory:")]
        return int(found[0].partition(":")[2])


class RelayedRabbit:
    """The machine's RabbitMQ server behind a relay. Others use the server too, so a test cuts the relay instead."""

    def __init__(self, url: str, queues: Callable[[], list[str]]) -> None:
        there = urlsplit(url)
        self.port = free_port()
        self.url = url.replace(f"{there.hostname}:{there.port or 5672}", f"127.0.0.1:{self.port}")
        self._direct, self._target, self._queues = url, (there.hostname, there.port or 5672), queues
        self._listener: socket.socket | None = None
        self._open: set[socket.socket] = set()

    def start(self) -> RelayedRabbit:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()
        return self

    def stop(self) -> None:
        """Refuse new connections and cut the existing ones."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for one in list(self._open):
            self._cut(one)

    def forget(self) -> None:
        """Delete every message of the test's queues."""
        with Connection(self._direct) as connection:
            for queue in self._queues():
                connection.default_channel.queue_purge(queue)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
                far = socket.create_connection(self._target)
            except OSError:
                return  # the listener was closed
            self._open |= {near, far}
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pass_on, args=(one, other), daemon=True).start()

    def _pass_on(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
        self._cut(one)
        self._cut(other)

    def _cut(self, one: socket.socket) -> None:
        self._open.discard(one)
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()


class OwnPostgres:
    """A PostgreSQL cluster in a folder, run as the user ``postgres`` if the tests run as root."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="semantik-postgres-"))  # only root may read pytest's own folders
        self.port = free_port()
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    @staticmethod
    def programs() -> Path | None:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
        if found:
            return found[-1].parent
        here = shutil.which("pg_ctl")
        return Path(here).parent if here else None

    def start(self) -> OwnPostgres:
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres")
        self._run("initdb", "-D", str(self.folder / "data"), "-U", "postgres", "-A", "trust", "-N")
        self._control("start")
        return self

    def restart(self) -> None:
        """Restart as after a crash: all connections are cut without a clean shutdown, and the log is replayed."""
        self._control("restart", "-m", "immediate")

    def stop(self) -> None:
        self._control("stop", "-m", "immediate")
        shutil.rmtree(self.folder)

    def _control(self, *words: str) -> None:
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c max_connections=200"
        options += " -c fsync=off"  # its data survives a crash of the server, though not of the machine
        log = str(self.folder / "log")
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-o", options, "-l", log, "-w", *words)

    def _run(self, program: str, *words: str) -> None:
        programs = self.programs()
        assert programs is not None
        command = [str(programs / program), *words]
        if os.geteuid() == 0:
            command = ["runuser", "-u", "postgres", "--", *command]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd="/", timeout=60
        )
        assert done.returncode == 0, done.stderr.decode()
