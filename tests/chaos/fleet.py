"""A fleet of real processes on loopback servers, and the account that it must give at the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from semantik_pipeline import operations
from semantik_pipeline.ledger import operations as ledger_operations
from semantik_pipeline.ledger import workers as ledger_workers
from semantik_pipeline.ledger.operations import Progress
from semantik_pipeline.ledger.tables import documents, sources, work
from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.pipeline import QUEUES
from semantik_pipeline.runtime import Runtime
from semantik_pipeline.settings import load_settings

POOL = 32  # chunks: embed.pool_chunks

#: A collection with every stage at work and no model.
COLLECTION: dict[str, Any] = {
    "embedding": {"plugin": "fake-embedder", "options": {}},
    "chunking": {"plugin": "recursive", "options": {"max_tokens": 40, "min_tokens": 1, "overlap_tokens": 0}},
    "extraction": {"chunk": [{"plugin": "fake-extractor", "options": {}}], "document": []},
}


class Fleet:
    """Workers, a scheduler and one client, all on the same servers."""

    def __init__(self, folder: Path, fakes: Path, **urls: str) -> None:
        self.folder = folder
        self.log = folder / "embedded.log"
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
        self.blamed: dict[str, int] = {}  # document -> attempts that were held against it at some moment
        self.configure()
        settings = {name: {"url": url} for name, url in urls.items()}
        self.settings = load_settings(data_dir=folder / "data", **settings)
        self.semantik("migrate")
        self.runtime = Runtime(self.settings, ring=self._bell())

    def _bell(self) -> Callable[[str], None]:
        from celery import Celery

        from semantik_pipeline.queue import Bell, configure

        app = Celery("client", set_as_current=False)
        configure(app, self.settings)
        return Bell(app).ring

    def configure(self, **options: object) -> None:
        """The fake embedder's options, in the shared state file."""
        known = {"log_path": str(self.log), "sleep_ms_per_text": 1, **options}
        state = {"version": 1, "revision": time.time_ns(), "disabled_ids": [], "configs": {"fake-embedder": known}}
        (self.folder / "data" / "plugins.json").write_text(json.dumps(state))

    def semantik(self, *arguments: str, code: int | None = 0, timeout: float = 180) -> dict[str, Any]:
        """The JSON answer of a command; ``code`` is the exit status it must end with (None: any)."""
        command = [sys.executable, "-m", "semantik_pipeline.cli", *arguments, "--json"]
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL
        )
        assert code is None or done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout)

    # -- processes ------------------------------------------------------------------------------------------------------

    def start_worker(
        self, *, options: Sequence[str] = (), stdout: int | None = None, **environment: str
    ) -> subprocess.Popen[bytes]:
        """One worker process, as any init system would start it; ``stdout`` is a file's number, the log unless given."""
        self._started += 1
        command = [sys.executable, "-m", "celery", "-A", "workers.app", "worker", "-n", f"w{self._started}@%h"]
        quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "INFO"]
        worker = self._start([*command, *quiet, *options], f"worker{self._started}", stdout, **environment)
        self.workers.append(worker)
        return worker

    def start_scheduler(self) -> subprocess.Popen[bytes]:
        process = self._start([sys.executable, "-m", "semantik_pipeline.cli", "scheduler"], "scheduler")
        self._others.append(process)
        return process

    def start_supervisor(self, *options: str) -> subprocess.Popen[bytes]:
        process = self._start([sys.executable, "-m", "semantik_pipeline.cli", "worker", *options], "supervisor")
        self._others.append(process)
        return process

    def _start(
        self, command: list[str], name: str, stdout: int | None = None, **environment: str
    ) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                command,
                env={**self.environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log if stdout is None else stdout,
                stderr=log,
                start_new_session=True,
            )

    def ready(self, count: int, seconds: float = 60) -> None:
        """Wait until so many workers say that they take work."""
        deadline = time.monotonic() + seconds
        while self.living() < count:
            assert time.monotonic() < deadline, f"{self.living()} of {count} workers are ready\n{self.logs()}"
            time.sleep(0.2)

    def living(self) -> int:
        with self.runtime.ledger.read() as tx:
            return sum(row.state == "ready" for row in ledger_workers.living(tx))

    def workers_of(self, pid: int) -> list[str]:
        """Names of the workers that a process has been, and that have reported; one more each time it runs anew."""
        with self.runtime.ledger.read() as tx:
            return [row.id for row in ledger_workers.list_workers(tx) if row.pid == pid]

    def kill(self, worker: subprocess.Popen[bytes]) -> None:
        """kill -9; its children notice and end too."""
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        self.workers.remove(worker)
        self.kills += 1

    def close(self) -> None:
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
        """The last lines of every process's log."""
        return "\n".join(
            f"--- {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-15:])
            for path in sorted(self.folder.glob("*.log"))
            if path != self.log
        )

    def replace_all(self) -> None:
        """End every worker in an orderly way and start as many anew, as a supervisor would for a changed plugin state."""
        old, self.workers = self.workers, []
        for worker in old:
            worker.terminate()
        for worker in old:
            worker.wait(timeout=60)
        for _ in old:
            self.start_worker()
        self.ready(len(old))

    def held_by(self, pid: int) -> list[int]:
        """Documents that a process holds by a lease that the ledger still honours, whatever became of the process."""
        mine = work.c.worker.like(f"%:{pid}:%") & work.c.lease_token.is_not(None)
        with self.runtime.ledger.read() as tx:
            held = list(tx.execute(select(work.c.document_id).where(mine)).scalars())
            reading = sources.c.worker.like(f"%:{pid}:%") & sources.c.lease_token.is_not(None)
            return held + [-row for row in tx.execute(select(sources.c.id).where(reading)).scalars()]

    def leases(self) -> int:
        """Claims that the ledger honours, of documents and of sources."""
        with self.runtime.ledger.read() as tx:
            counts = [select(func.count()).where(table.c.lease_token.is_not(None)) for table in (work, sources)]
            return sum(tx.execute(count).scalar_one() for count in counts)

    def attempts_and_suspects(self) -> tuple[int, int]:
        """Attempts that are held against documents at this moment, and how many of them are suspects."""
        held = select(func.coalesce(func.sum(work.c.attempts), 0), func.count().filter(work.c.suspect))
        with self.runtime.ledger.read() as tx:
            attempts, suspects = tx.execute(held).one()
        return int(attempts), suspects

    def worker_holding(self, stage: str, seconds: float) -> subprocess.Popen[bytes] | None:
        """A worker that holds units of a stage at this moment; None if there is none for so long."""
        held = select(work.c.worker).where(work.c.stage == stage, work.c.lease_token.is_not(None))
        if stage == "sync":
            held = select(sources.c.worker).where(sources.c.lease_token.is_not(None))
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with self.runtime.ledger.read() as tx:
                names = " ".join(filter(None, tx.execute(held.limit(50)).scalars()))
            for worker in self.workers:
                if f":{worker.pid}:" in names:
                    return worker
            time.sleep(0.01)
        return None

    # -- work -----------------------------------------------------------------------------------------------------------

    def begin(self, folder: Path, **options: Any) -> int:
        """Begin to sync a folder; returns the operation's id."""
        source = operations.folder_source(folder)
        return operations.begin_sync(self.runtime, [source], collection="default", config=COLLECTION, **options)

    def begin_source(self, source: SourceRequest) -> int:
        return operations.begin_sync(self.runtime, [source], collection="default", config=COLLECTION)

    def progress(self, operation: int) -> Progress:
        with self.runtime.ledger.read() as tx:
            return ledger_operations.progress(tx, operation)

    def wait(
        self, operation: int, seconds: float, disturb: Callable[[], None] | None = None, every: float = 0.2
    ) -> Progress:
        """Wait for the end of an operation, disturbing it now and then."""
        deadline = time.monotonic() + seconds
        following = time.monotonic() + every
        while (progress := self.progress(operation)).state != "finished":
            assert time.monotonic() < deadline, f"not finished in {seconds:.0f} s: {progress}\n{self.logs()}"
            if disturb is not None and time.monotonic() >= following:
                disturb()
                following = time.monotonic() + every
            self._note_blame()
            time.sleep(0.1)
        return progress

    def _note_blame(self) -> None:
        """Attempts are forgotten once a document is through; so they are looked at while it is on its way."""
        query = select(documents.c.unique_id, work.c.attempts).join(work, work.c.document_id == documents.c.id)
        with self.runtime.ledger.read() as tx:
            for name, attempts in tx.execute(query.where(work.c.attempts > 0)):
                self.blamed[name] = max(attempts, self.blamed.get(name, 0))

    def ring_twice(self) -> None:
        """Twenty more bells for every stage than anybody rang: every worker hears the same ones."""
        from celery import Celery

        from semantik_pipeline.queue import TASK, configure

        with closing(Celery("ringer", set_as_current=False)) as app:
            configure(app, self.settings)
            for stage in QUEUES * 20:
                app.send_task(TASK, args=[stage], queue=stage)

    def until_indexed(self, operation: int, count: int, seconds: float = 120) -> None:
        """Wait until so many documents are through: the run is in its middle."""
        deadline = time.monotonic() + seconds
        while self.progress(operation).stages.get("indexed", 0) < count:
            assert time.monotonic() < deadline, f"{self.progress(operation)}\n{self.logs()}"
            time.sleep(0.05)

    # -- the account ----------------------------------------------------------------------------------------------------

    def account(self, *, here: int, poison: str | None = None, disturbed: int | None = None) -> None:
        """Every document is accounted for, ledger and store agree, nothing was embedded twice beyond batches in flight.

        ``poison`` names the one document that is to blame. ``disturbed``: how many batches may have been in flight when something was cut; kills, unless given.
        """
        poisoned = 0 if poison is None else 1
        with self.runtime.ledger.read() as tx:
            alive = documents.c.deleted_at.is_(None)
            joined = select(work.c.stage, func.count()).join(documents, documents.c.id == work.c.document_id)
            states = Counter(dict(map(tuple, tx.execute(joined.where(alive).group_by(work.c.stage)).all())))
        assert states == Counter({"indexed": here - poisoned, "quarantined": poisoned}) - Counter(), states
        innocents = {name: attempts for name, attempts in self.blamed.items() if poison is None or poison not in name}
        # a kill from outside may hit a suspect that runs alone: that is charged, though never to the end
        assert not innocents or self.kills, f"innocent documents had attempts held against them: {innocents}"
        report = self.semantik("verify", code=None)
        assert (report["missing"], report["orphaned"], report["stale"]) == (0, 0, 0), report
        assert report["points_found"] == report["points_expected"] > 0
        lines = self.log.read_text().splitlines()
        doubled = len(lines) - len(set(lines))
        allowed = 2 * POOL * (self.kills if disturbed is None else disturbed)
        assert doubled <= allowed, f"{doubled} texts were embedded twice; {allowed} may have been in flight"

    def without_torch(self) -> bool:
        """No living worker has torch in memory."""
        maps = [Path(f"/proc/{worker.pid}/maps") for worker in self.workers if worker.poll() is None]
        return all("libtorch" not in path.read_text() for path in maps if path.exists())


def make_corpus(folder: Path, count: int, *, parts: int = 2) -> Path:
    """``count`` text files of some paragraphs each, no two alike."""
    folder.mkdir(exist_ok=True)
    for number in range(count):
        lines = [
            f"File {number} part {part} speaks of topic{number * 7 % 101} and of "
            + " ".join(f"word{(number * 31 + part * 17 + place) % 997}" for place in range(22))
            for part in range(parts)
        ]
        (folder / f"file{number:05}.txt").write_text("\n\n".join(lines))
    return folder
