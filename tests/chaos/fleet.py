"""A fleet of real processes on the test's servers: start, kill, freeze and replace workers. Read this file first.

A chaos test starts a :class:`Fleet`, begins an operation (``operations.py``) on generated documents (``corpora.py``),
disturbs the fleet, waits for the end, and checks the account (``account.py``). ``scenarios.py`` has the courses that
several tests share, ``leases.py`` asks the ledger who holds what, and ``servers.py`` has servers that a test may stop.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import func, select

from semantik_pipeline import fleet as operators
from semantik_pipeline.ledger.queue import workers as ledger_workers
from semantik_pipeline.ledger.tables import work
from semantik_pipeline.runtime import Runtime
from semantik_pipeline.settings import load_settings
from tests import forks
from tests.chaos.corpora import PARAGRAPHS
from tests.chaos.leases import chunks_at_embed, held_by, pids_at
from tests.chaos.servers import PATIENCE

#: Chunks in a pool, the setting ``embed.pool_chunks``.
POOL = 32

#: UNSAVED: the number of pools that a process may have embedded and not saved. The writer saves one, one waits for the
#: writer, and one is embedded before it may wait, too (stages/embed.py). LATE: a process that was frozen has two more
#: pools claimed, and may embed them before its lease keeper has looked at the lease. No process can have more unsaved
#: texts than it holds at that moment.
UNSAVED, LATE = 3, 2


class Fleet:
    """Workers, a scheduler and one client (``runtime``), all on the same servers.

    ``urls`` has the URLs of ``database``, ``broker`` and ``qdrant``. ``deadline`` is the ``time.monotonic()`` at
    which waiting for an operation fails. ``record(name, value)`` adds an entry to the test's line in the summary.
    """

    def __init__(
        self,
        folder: Path,
        fakes: Path,
        urls: Mapping[str, str],
        *,
        deadline: float,
        record: Callable[[str, object], None],
    ) -> None:
        self.folder = folder
        self.log = folder / "embedded.log"  # each text that the fake embedder embeds, unless it is configured otherwise
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(fakes),
            "SEMANTIK_DATA_DIR": str(folder / "data"),
            "SEMANTIK_EMBED_POOL_CHUNKS": str(POOL),
            "SEMANTIK_CHILD_PROCESSES": "1",
            "SEMANTIK_WORKER_HEARTBEAT": "1",
            "SEMANTIK_SCHEDULE_TICK": "1",
            **{f"SEMANTIK_{name.upper()}_URL": url for name, url in urls.items()},
        }
        (folder / "data").mkdir()
        self.workers: list[subprocess.Popen[bytes]] = []
        self._others: list[subprocess.Popen[bytes]] = []
        self._started = 0
        self.kills = 0
        self.freezes = 0
        self.unsaved = 0  # texts that killed and frozen workers may have embedded and not saved
        self.record = record
        self.deadline = deadline
        self.configure()
        servers: dict[str, Any] = {name: {"url": url} for name, url in urls.items()}
        self.settings = load_settings(data_dir=folder / "data", **servers)
        self.semantik("migrate")
        self.runtime = Runtime(self.settings, ring=self._bell())
        self.ledger = self.runtime.ledger

    def _bell(self) -> Callable[[str], None]:
        from celery import Celery

        from semantik_pipeline.queue import Bell, configure

        app = Celery("client", set_as_current=False)
        configure(app, self.settings)
        return Bell(app).ring

    @property
    def max_attempts(self) -> int:
        """The attempts after which a worker of this fleet puts a document in quarantine."""
        return int(self.environment.get("SEMANTIK_WORK_MAX_ATTEMPTS", self.settings.work.max_attempts))

    def configure(self, *, extractor_ms: float = 0, parser_ms: float = 0, **options: object) -> None:
        """Write the shared state file: options of the fake embedder, and milliseconds per text for the other fakes."""
        configs = {"fake-embedder": {"log_path": str(self.log), "sleep_ms_per_text": 1, **options}}
        for plugin, milliseconds in (("fake-extractor", extractor_ms), ("fake-parser", parser_ms)):
            if milliseconds:
                configs[plugin] = {"sleep_ms_per_text": milliseconds}
        state = {"version": 1, "revision": time.time_ns(), "disabled_ids": [], "configs": configs}
        (self.folder / "data" / "plugins.json").write_text(json.dumps(state))

    def semantik(self, *arguments: str, code: int | None = 0, timeout: float = 180) -> dict[str, Any]:
        """Return the JSON output of a command. It must end with the exit status ``code``; None allows any."""
        done = forks.semantik([*arguments, "--json"], self.environment, seconds=timeout)
        assert code is None or done.code == code, f"exit {done.code}\n{done.out}\n{done.err}"
        return done.json()

    def start_worker(self, *, stdout: int | None = None, **environment: str) -> subprocess.Popen[bytes]:
        """Start a worker process as an init system does. ``stdout`` is a file descriptor; the default is its log."""
        self._started += 1
        command = [sys.executable, "-m", "celery", "-A", "workers.app", "worker", "-n", f"w{self._started}@%h"]
        quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "INFO"]
        worker = self._start([*command, *quiet], f"worker{self._started}", stdout, **environment)
        self.workers.append(worker)
        return worker

    def start_workers(self, count: int) -> None:
        """Start worker processes and wait until all of them take work."""
        for _ in range(count):
            self.start_worker()
        self.wait_until_ready(len(self.workers))

    def start_scheduler(self) -> subprocess.Popen[bytes]:
        return self.start_other([sys.executable, "-m", "semantik_pipeline.cli", "scheduler"], "scheduler")

    def start_beat(self) -> subprocess.Popen[bytes]:
        """Start the scheduler with Celery's own command."""
        return self.start_other([sys.executable, "-m", "celery", "-A", "workers.app", "beat"], "beat")

    def start_supervisor(self, *options: str) -> subprocess.Popen[bytes]:
        return self.start_other([sys.executable, "-m", "semantik_pipeline.cli", "worker", *options], "supervisor")

    def start_other(self, command: list[str], name: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start a process of the fleet that is not in :attr:`workers`."""
        process = self._start(command, name, None, **environment)
        self._others.append(process)
        return process

    def _start(self, command: list[str], name: str, stdout: int | None, **environment: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                command,
                env={**self.environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log if stdout is None else stdout,
                stderr=log,
                start_new_session=True,
            )

    def wait_until_ready(self, count: int, seconds: float = 60) -> None:
        """Wait until at least ``count`` workers report that they take work."""
        deadline = time.monotonic() + seconds
        while self.count_ready() < count:
            assert time.monotonic() < deadline, f"{self.count_ready()} of {count} workers are ready\n{self.logs()}"
            time.sleep(0.2)

    def count_ready(self) -> int:
        with self.ledger.read() as tx:
            return sum(row.state == "ready" for row in ledger_workers.living(tx))

    def names_of(self, pid: int) -> list[str]:
        """Return the names under which a process has reported: one for each time that it executed its program."""
        with self.ledger.read() as tx:
            return [row.id for row in ledger_workers.list_workers(tx) if row.pid == pid]

    def kill(self, worker: subprocess.Popen[bytes]) -> None:
        """Send SIGKILL to a worker. Its child processes notice and end, too."""
        worker.send_signal(signal.SIGSTOP)  # so that it holds the same until it is dead
        self.unsaved += self._unsaved_by(worker, UNSAVED)
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        self.workers.remove(worker)
        self.kills += 1

    def kill_while_working(self) -> subprocess.Popen[bytes]:
        """Kill a worker that holds something. Each worker is frozen while its leases are read."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            for worker in self.workers:
                worker.send_signal(signal.SIGSTOP)
                if held_by(self.ledger, worker.pid):
                    self.kill(worker)
                    return worker
                worker.send_signal(signal.SIGCONT)
            time.sleep(0.02)
        with self.ledger.read() as tx:
            left = dict(map(tuple, tx.execute(select(work.c.stage, func.count()).group_by(work.c.stage))))
        raise AssertionError(f"no worker holds anything; units by stage: {left}")

    def freeze(self, worker: subprocess.Popen[bytes]) -> None:
        """Send SIGSTOP to a worker; :meth:`thaw` lets it go on."""
        worker.send_signal(signal.SIGSTOP)
        self._count_freeze(worker)

    def freeze_at(self, stage: str, seconds: float) -> subprocess.Popen[bytes] | None:
        """Freeze a worker that holds units of a stage. None if no worker holds any within ``seconds``."""
        deadline = time.monotonic() + seconds
        while (worker := self.worker_at(stage, deadline - time.monotonic())) is not None:
            worker.send_signal(signal.SIGSTOP)
            if worker.pid in pids_at(self.ledger, stage):  # it may have finished them before it was frozen
                self._count_freeze(worker)
                return worker
            self.thaw(worker)
        return None

    def thaw(self, worker: subprocess.Popen[bytes]) -> None:
        worker.send_signal(signal.SIGCONT)

    def worker_at(self, stage: str, seconds: float) -> subprocess.Popen[bytes] | None:
        """Return a worker that holds units of a stage now. None if no worker holds any within ``seconds``."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            holders = pids_at(self.ledger, stage)
            for worker in self.workers:
                if worker.pid in holders:
                    return worker
            time.sleep(0.01)
        return None

    def _count_freeze(self, worker: subprocess.Popen[bytes]) -> None:
        self.freezes += 1
        self.unsaved += self._unsaved_by(worker, UNSAVED + LATE)

    def _unsaved_by(self, worker: subprocess.Popen[bytes], pools: int) -> int:
        """Return how many texts a frozen worker may have embedded and not saved: of what it holds, ``pools`` pools."""
        return min(chunks_at_embed(self.ledger, worker.pid), pools * self.largest_pool)

    @property
    def largest_pool(self) -> int:
        """Texts in the largest pool. A pool takes whole documents, so its last document may exceed the setting."""
        return int(self.environment["SEMANTIK_EMBED_POOL_CHUNKS"]) + PARAGRAPHS - 1

    def replace_all(self) -> None:
        """Terminate every worker and start as many new ones, as a supervisor does when the plugin state changes."""
        old, self.workers = self.workers, []
        for worker in old:
            worker.terminate()
        for worker in old:
            worker.wait(timeout=60)
        self.start_workers(len(old))

    def without_torch(self) -> bool:
        """Whether no process of the fleet has loaded torch: no worker, no other process, no child of these."""
        inspected = 0
        for started in [*self.workers, *self._others]:
            with suppress(psutil.NoSuchProcess, OSError):  # the process, or a child of it, ended in the meantime
                for process in (own := psutil.Process(started.pid), *own.children(recursive=True)):
                    inspected += 1
                    if "libtorch" in Path(f"/proc/{process.pid}/maps").read_text():
                        return False
        assert inspected
        return True

    def close(self) -> None:
        """End every process, also frozen ones, and close the client."""
        for process in [*self.workers, *self._others]:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in [*self.workers, *self._others]:
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.runtime.close()

    def logs(self) -> str:
        """Return the last lines of every process's log."""
        return "\n".join(
            f"--- {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-15:])
            for path in sorted(self.folder.glob("*.log"))
            if path != self.log
        )

    def status(self) -> list[dict[str, Any]]:
        """Return the workers as ``semantik fleet status`` shows them."""
        return operators.view(self.runtime)["workers"]
