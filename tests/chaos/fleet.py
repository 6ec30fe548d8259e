"""A fleet of real processes with local servers, and the checks of its state at the end (the account)."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import psutil
from sqlalchemy import and_, case, func, or_, select, text

from semantik_pipeline import fleet as operators
from semantik_pipeline import operations
from semantik_pipeline import sources as scheduled
from semantik_pipeline.ledger.operations import lifecycle as ledger_operations
from semantik_pipeline.ledger.operations.lifecycle import Progress
from semantik_pipeline.ledger.queue import workers as ledger_workers
from semantik_pipeline.ledger.tables import chunks, documents, sources, work
from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.pipeline import QUEUES, STAGES
from semantik_pipeline.runtime import Runtime
from semantik_pipeline.schedules import Schedule
from semantik_pipeline.settings import load_settings
from semantik_pipeline.sources import NewSource
from semantik_pipeline.testing import FakeEmbedder
from semantik_pipeline.testing.qdrant_double import QdrantDouble
from tests import forks
from tests.chaos.servers import PATIENCE, until

POOL = 32  # chunks: embed.pool_chunks

PARTS = 2  # chunks of a document, unless a test sets another number

#: Pools that a process may have embedded but not saved: one at the writer, one waiting for it, and one that is embedded
#: before it has to wait, too (stages/embed.py). A process that was stopped may have claimed two more, which it may
#: embed before its keeper checks the lease. The limit is always what the process holds at that moment.
UNSAVED, LATE = 3, 2

#: A collection in which every stage has work, but without a model.
COLLECTION: dict[str, Any] = {
    "embedding": {"plugin": "fake-embedder", "options": {}},
    "chunking": {"plugin": "recursive", "options": {"max_tokens": 40, "min_tokens": 1, "overlap_tokens": 0}},
    "extraction": {"chunk": [{"plugin": "fake-extractor", "options": {}}], "document": []},
}


#: Makes the database record each attempt charged to a document, because attempts are reset when it is indexed.
BLAME = (
    "create table test_charges (document_id bigint not null)",
    """create function test_charge() returns trigger language plpgsql as
    $$ begin insert into test_charges values (new.document_id); return new; end $$""",
    """create trigger test_charge after update of attempts on work for each row
    when (new.attempts > old.attempts) execute function test_charge()""",
)

#: Maximum seconds of a run of 2,000 documents with its disturbances.
LONG = 400.0


class Fleet:
    """Workers, a scheduler and one client on the same servers."""

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
        self.stops = 0
        self.at_risk = 0  # texts that killed and stopped processes may have embedded but not saved
        self._disturbed: list[int] = []  # number of indexed documents at each disturbance
        self.until = float("inf")  # time.monotonic() at which every wait fails
        self.record: Callable[[str, object], None] = lambda what, value: None  # for the summary
        self.configure()
        settings = {name: {"url": url} for name, url in urls.items()}
        self.settings = load_settings(data_dir=folder / "data", **settings)
        self.semantik("migrate")
        self.runtime = Runtime(self.settings, ring=self._bell())
        with self.runtime.ledger.write() as tx:
            for statement in BLAME:
                tx.execute(text(statement))

    def _bell(self) -> Callable[[str], None]:
        from celery import Celery

        from semantik_pipeline.queue import Bell, configure

        app = Celery("client", set_as_current=False)
        configure(app, self.settings)
        return Bell(app).ring

    def configure(self, *, extractor_ms: float = 0, parser_ms: float = 0, **options: object) -> None:
        """Set, in the shared state file, the fake embedder's options and the times per text of extractor and parser."""
        configs = {"fake-embedder": {"log_path": str(self.log), "sleep_ms_per_text": 1, **options}}
        for plugin, taken in (("fake-extractor", extractor_ms), ("fake-parser", parser_ms)):
            if taken:
                configs[plugin] = {"sleep_ms_per_text": taken}
        state = {"version": 1, "revision": time.time_ns(), "disabled_ids": [], "configs": configs}
        (self.folder / "data" / "plugins.json").write_text(json.dumps(state))

    def semantik(self, *arguments: str, code: int | None = 0, timeout: float = 180) -> dict[str, Any]:
        """Run a command and return its JSON answer; ``code`` is the expected exit status (None: any)."""
        done = forks.semantik([*arguments, "--json"], self.environment, seconds=timeout)
        assert code is None or done.code == code, f"exit {done.code}\n{done.out}\n{done.err}"
        return done.json()

    # -- processes ------------------------------------------------------------------------------------------------------

    def start_worker(
        self, *, options: Sequence[str] = (), stdout: int | None = None, **environment: str
    ) -> subprocess.Popen[bytes]:
        """Start one worker process as an init system would; ``stdout`` is a file descriptor (None: the log)."""
        self._started += 1
        command = [sys.executable, "-m", "celery", "-A", "workers.app", "worker", "-n", f"w{self._started}@%h"]
        quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "INFO"]
        worker = self._start([*command, *quiet, *options], f"worker{self._started}", stdout, **environment)
        self.workers.append(worker)
        return worker

    def start_scheduler(self) -> subprocess.Popen[bytes]:
        return self.start_beside([sys.executable, "-m", "semantik_pipeline.cli", "scheduler"], "scheduler")

    def start_beat(self) -> subprocess.Popen[bytes]:
        """Start the scheduler with Celery's own command."""
        return self.start_beside([sys.executable, "-m", "celery", "-A", "workers.app", "beat"], "beat")

    def start_supervisor(self, *options: str) -> subprocess.Popen[bytes]:
        return self.start_beside([sys.executable, "-m", "semantik_pipeline.cli", "worker", *options], "supervisor")

    def start_beside(self, command: list[str], name: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start a process of the fleet that is not a worker."""
        process = self._start(command, name, **environment)
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
        """Wait until ``count`` workers report that they take work."""
        deadline = time.monotonic() + seconds
        while self.living() < count:
            assert time.monotonic() < deadline, f"{self.living()} of {count} workers are ready\n{self.logs()}"
            time.sleep(0.2)

    def living(self) -> int:
        with self.runtime.ledger.read() as tx:
            return sum(row.state == "ready" for row in ledger_workers.living(tx))

    def workers_of(self, pid: int) -> list[str]:
        """Return the worker names that a process has had and that reported; it gets a new one each time it restarts."""
        with self.runtime.ledger.read() as tx:
            return [row.id for row in ledger_workers.list_workers(tx) if row.pid == pid]

    def kill(self, worker: subprocess.Popen[bytes]) -> None:
        """Kill a worker with SIGKILL; its children notice and end too."""
        worker.send_signal(signal.SIGSTOP)
        self.at_risk += self._unsaved(worker, UNSAVED)
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        self.workers.remove(worker)
        self.kills += 1

    def kill_at_work(self) -> subprocess.Popen[bytes]:
        """Kill a worker that holds units; it is stopped first, so that it still holds them when it is killed."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            for worker in self.workers:
                worker.send_signal(signal.SIGSTOP)
                if self.held_by(worker.pid):
                    self.kill(worker)
                    return worker
                worker.send_signal(signal.SIGCONT)
            time.sleep(0.02)
        with self.runtime.ledger.read() as tx:
            left = dict(map(tuple, tx.execute(select(work.c.stage, func.count()).group_by(work.c.stage))))
        raise AssertionError(f"no worker holds anything: {left}")

    def freeze(self, worker: subprocess.Popen[bytes]) -> None:
        """Stop a worker with SIGSTOP; SIGCONT continues it."""
        worker.send_signal(signal.SIGSTOP)
        self._stopped(worker)

    def freeze_at(self, stage: str, seconds: float) -> subprocess.Popen[bytes] | None:
        """Stop a worker while it holds units of a stage, and return it; None if none does within ``seconds``."""
        deadline = time.monotonic() + seconds
        while (worker := self.worker_holding(stage, deadline - time.monotonic())) is not None:
            worker.send_signal(signal.SIGSTOP)
            if f":{worker.pid}:" in self._holders(stage):
                self._stopped(worker)
                return worker
            worker.send_signal(signal.SIGCONT)
        return None

    def _stopped(self, worker: subprocess.Popen[bytes]) -> None:
        self.stops += 1
        self.at_risk += self._unsaved(worker, UNSAVED + LATE)

    def _unsaved(self, worker: subprocess.Popen[bytes], pools: int) -> int:
        """Return how many texts a stopped process may have embedded but not saved: up to ``pools`` pools of its units.

        A pool always takes whole documents, so it may be a little larger than its configured size.
        """
        mine = work.c.worker.like(f"%:{worker.pid}:%") & work.c.lease_token.is_not(None) & (work.c.stage == "embed")
        with self.runtime.ledger.read() as tx:
            held = tx.execute(select(func.coalesce(func.sum(work.c.chunks), 0)).where(mine)).scalar_one()
        return min(int(held), pools * self._pool)

    @property
    def _pool(self) -> int:
        return int(self.environment["SEMANTIK_EMBED_POOL_CHUNKS"]) + PARTS - 1

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
        """Return the last lines of every process's log."""
        return "\n".join(
            f"--- {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-15:])
            for path in sorted(self.folder.glob("*.log"))
            if path != self.log
        )

    def replace_all(self) -> None:
        """Stop all workers gracefully and start as many new ones, as a supervisor does when the plugin state changes."""
        old, self.workers = self.workers, []
        for worker in old:
            worker.terminate()
        for worker in old:
            worker.wait(timeout=60)
        for _ in old:
            self.start_worker()
        self.ready(len(old))

    def held_by(self, pid: int) -> list[int]:
        """Return the documents that a process, alive or not, holds by a valid lease; negative ids are sources."""
        mine = work.c.worker.like(f"%:{pid}:%") & work.c.lease_token.is_not(None)
        with self.runtime.ledger.read() as tx:
            held = list(tx.execute(select(work.c.document_id).where(mine)).scalars())
            reading = sources.c.worker.like(f"%:{pid}:%") & sources.c.lease_token.is_not(None)
            return held + [-row for row in tx.execute(select(sources.c.id).where(reading)).scalars()]

    def leases(self) -> int:
        """Return the number of valid leases on documents and sources."""
        with self.runtime.ledger.read() as tx:
            counts = [select(func.count()).where(table.c.lease_token.is_not(None)) for table in (work, sources)]
            return sum(tx.execute(count).scalar_one() for count in counts)

    def attempts_and_suspects(self) -> tuple[int, int]:
        """Return the attempts currently charged to documents, and the number of suspects."""
        held = select(func.coalesce(func.sum(work.c.attempts), 0), func.count().filter(work.c.suspect))
        with self.runtime.ledger.read() as tx:
            attempts, suspects = tx.execute(held).one()
        return int(attempts), suspects

    def places(self, held: Iterable[int]) -> dict[int, tuple[str, str | None]]:
        """Return, for items of :meth:`held_by`, their progress and the process that holds them now."""
        documents_held = [one for one in held if one > 0]
        found: dict[int, tuple[str, str | None]] = {}
        with self.runtime.ledger.read() as tx:
            units = select(work.c.document_id, work.c.stage, work.c.embedded, work.c.worker, work.c.lease_token)
            for row in tx.execute(units.where(work.c.document_id.in_(documents_held))):
                found[row.document_id] = (f"{row.stage} {row.embedded}", row.worker if row.lease_token else None)
            reading = select(
                sources.c.id, sources.c.operation_id, sources.c.cursor, sources.c.worker, sources.c.lease_token
            )
            for row in tx.execute(reading.where(sources.c.id.in_([-one for one in held if one < 0]))):
                found[-row.id] = (f"{row.operation_id} {row.cursor}", row.worker if row.lease_token else None)
        return found

    def taken_up(self, victim: int, *, first: float, last: float) -> list[float]:
        """Return the seconds until each unit of a dead process was claimed by another process or made progress.

        The first must be taken up within ``first`` seconds, the last within ``last``. Units that were held together are
        suspects and run alone, one after another, so the last comes later.
        """
        began = time.monotonic()
        before = self.places(self.held_by(victim))
        waiting, taken = set(before), list[float]()
        while waiting:
            for one, (far, holder) in self.places(waiting).items():
                if far != before[one][0] or (holder is not None and f":{victim}:" not in holder):
                    waiting.discard(one)
                    taken.append(time.monotonic() - began)
            spent = time.monotonic() - began
            over = spent > (last if taken else first)
            assert not over, f"{len(waiting)} of {len(before)} units wait after {spent:.0f} s; taken up: {taken}"
            time.sleep(0.02)
        return taken

    def worker_holding(self, stage: str, seconds: float) -> subprocess.Popen[bytes] | None:
        """Return a worker that holds units of a stage, or None if there is none within ``seconds``."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            names = self._holders(stage)
            for worker in self.workers:
                if f":{worker.pid}:" in names:
                    return worker
            time.sleep(0.01)
        return None

    def _holders(self, stage: str) -> str:
        """Return the names of workers that hold units of a stage."""
        held = select(work.c.worker).where(work.c.stage == stage, work.c.lease_token.is_not(None))
        if stage == "sync":
            held = select(sources.c.worker).where(sources.c.lease_token.is_not(None))
        with self.runtime.ledger.read() as tx:
            return " ".join(filter(None, tx.execute(held.limit(50)).scalars()))

    # -- work -----------------------------------------------------------------------------------------------------------

    def begin(self, folder: Path, **options: Any) -> int:
        """Begin to sync a folder; return the operation's id."""
        source = operations.folder_source(folder)
        return operations.begin_sync(self.runtime, [source], collection="default", config=COLLECTION, **options)

    def begin_source(self, source: SourceRequest) -> int:
        return operations.begin_sync(self.runtime, [source], collection="default", config=COLLECTION)

    def schedule(self, folder: Path, *, every: float) -> None:
        """Add a folder as a source that is due now and then every ``every`` seconds."""
        self.runtime.collection("default", COLLECTION)
        found = operations.folder_source(folder)
        new = NewSource(connector=found.connector, name=found.name, config=found.config, schedule=Schedule(every=every))
        scheduled.add(self.runtime, new, collection="default")

    def progress(self, operation: int) -> Progress:
        with self.runtime.ledger.read() as tx:
            return ledger_operations.progress(tx, operation)

    def wait(
        self, operation: int, seconds: float, disturb: Callable[[], None] | None = None, every: float = 0.2
    ) -> Progress:
        """Wait for the end of an operation; call ``disturb`` every ``every`` seconds."""
        deadline = min(self.until, time.monotonic() + seconds)
        following = time.monotonic() + every
        while (progress := self.progress(operation)).state != "finished":
            over = f"not finished in {seconds:.0f} s, or before the time for all proofs is over"
            assert time.monotonic() < deadline, f"{over}: {progress}\n{self.logs()}"
            if disturb is not None and time.monotonic() >= following:
                disturb()
                following = time.monotonic() + every
            time.sleep(0.1)
        return progress

    def in_mid_run(self, operation: int, documents: int) -> None:
        """Check that a disturbance comes in the middle of the run: after its start and before its end."""
        progress = self.progress(operation)
        assert progress.state == "running", progress
        indexed = progress.stages.get("indexed", 0)
        assert 0 < indexed < documents, progress
        self._disturbed.append(indexed)
        self.record("indexed when it was disturbed and when that was over", ", ".join(map(str, self._disturbed)))

    def ring_twice(self) -> None:
        """Send twenty additional bells for every stage, so that all workers receive them."""
        from celery import Celery

        from semantik_pipeline.queue import TASK, configure

        with closing(Celery("ringer", set_as_current=False)) as app:
            configure(app, self.settings)
            for stage in QUEUES * 20:
                app.send_task(TASK, args=[stage], queue=stage)

    def until_indexed(self, operation: int, count: int, seconds: float = 120) -> None:
        """Wait until ``count`` documents are indexed, so that the run is in progress."""
        deadline = time.monotonic() + seconds
        while self.progress(operation).stages.get("indexed", 0) < count:
            assert time.monotonic() < deadline, f"{self.progress(operation)}\n{self.logs()}"
            time.sleep(0.05)

    def indexed_before(self, source: str) -> int:
        """Return the number of other sources' documents that were indexed before the last document of ``source``."""
        its_id = select(sources.c.id).where(sources.c.name == source).scalar_subquery()
        indexed = work.join(documents, documents.c.id == work.c.document_id)
        own = and_(work.c.stage == "indexed", documents.c.source_id == its_id)
        last = select(func.max(work.c.updated_at)).select_from(indexed).where(own).scalar_subquery()
        others = and_(work.c.stage == "indexed", documents.c.source_id != its_id, work.c.updated_at < last)
        with self.runtime.ledger.read() as tx:
            return tx.execute(select(func.count()).select_from(indexed).where(others)).scalar_one()

    def synced_again(self, corpus: Path) -> None:
        """Sync a folder again that changed during its sync, and check that everything is right now."""
        here = len(list(corpus.iterdir()))
        last = self.wait(self.begin(corpus, allow_deletions=True), LONG)
        assert last.outcome == "succeeded" and last.result["documents"]["seen"] == here
        self.account(here=here)

    def status(self) -> list[dict[str, Any]]:
        """Return the workers as `semantik fleet status` shows them."""
        return operators.view(self.runtime)["workers"]

    # -- the account ----------------------------------------------------------------------------------------------------

    def account(self, *, here: int, poison: str | None = None, cut: int = 0, cancelled: bool = False) -> None:
        """Check that every document is accounted for, ledger and store agree, and no saved text was embedded again.

        ``poison`` names the only document that may fail. ``cut`` is how often a process could not save while it may
        have had pools in flight, not counting kills and stops, for which the number of texts is known. ``cancelled``:
        an operation was cancelled, so documents may be parked; all others must be indexed.
        """
        poisoned = 0 if poison is None else 1
        until(lambda: not self._moving(), "what a late worker touched is written again")
        parked = and_(work.c.stage.in_(STAGES), work.c.held_by.is_not(None))
        with self.runtime.ledger.read() as tx:
            alive = documents.c.deleted_at.is_(None)
            stage = case((parked, "parked"), else_=work.c.stage)
            joined = select(stage, func.count()).join(documents, documents.c.id == work.c.document_id)
            states = Counter(dict(map(tuple, tx.execute(joined.where(alive).group_by(stage)).all())))
        here -= states.pop("parked", 0) if cancelled else 0
        assert states == Counter({"indexed": here - poisoned, "quarantined": poisoned}) - Counter(), states
        self._account_for_blame(poison)
        self.agrees()
        self._account_for_texts(cut)
        assert self.without_torch()

    def agrees(self) -> None:
        """Check that ledger and store agree point by point."""
        report = self.semantik("verify", code=None)
        assert (report["missing"], report["orphaned"], report["stale"]) == (0, 0, 0), report
        assert report["points_found"] == report["points_expected"] > 0

    def embedded(self) -> list[str]:
        """Return all texts that were embedded, in the order of each log."""
        return [line for log in sorted(self.folder.glob("embedded*.log")) for line in log.read_text().splitlines()]

    def _account_for_texts(self, cut: int) -> None:
        lines = self.embedded()
        doubled = len(lines) - len(set(lines))
        allowed = self.at_risk + self._pool * UNSAVED * cut
        self.record("embedded twice", f"{doubled} of {len(lines)} texts, where {allowed} may have been in flight")
        assert doubled <= allowed, f"{doubled} texts were embedded twice; {allowed} may have been in flight"

    def _moving(self) -> int:
        """Return the number of units that a stage still has to process or that wait for reconciliation.

        After an operation's end, these are only units whose points a worker without a lease wrote, and units that were
        being processed when the operation was cancelled.
        """
        moving = or_(
            and_(work.c.stage.in_(STAGES), or_(work.c.held_by.is_(None), work.c.lease_token.is_not(None))),
            work.c.reconcile,
        )
        with self.runtime.ledger.read() as tx:
            return tx.execute(select(func.count()).select_from(work).where(moving)).scalar_one()

    def _account_for_blame(self, poison: str | None) -> None:
        """Check that innocent documents were charged only for kills and stops.

        A kill or stop may hit one suspect that runs alone, which is charged an attempt, but never the last one.
        """
        innocents = {name: count for name, count in self._charges().items() if poison is None or poison not in name}
        told = (
            f"attempts were held against innocent documents, at {self.kills} kills and {self.stops} stops: {innocents}"
        )
        assert sum(innocents.values()) <= self.kills + self.stops, told
        assert max(innocents.values(), default=0) < self.settings.work.max_attempts, told

    def _charges(self) -> dict[str, int]:
        """Return document -> the number of attempts ever charged to it, including those that were reset."""
        charged = text("select document_id from test_charges")
        with self.runtime.ledger.read() as tx:
            often = Counter(tx.execute(charged).scalars())
            names = select(documents.c.id, documents.c.unique_id).where(documents.c.id.in_(sorted(often)))
            return {name: often[document_id] for document_id, name in tx.execute(names)}

    def without_torch(self) -> bool:
        """Whether no process of the fleet has loaded torch: workers, a supervisor's workers, and their children."""
        looked_at = 0
        for started in [*self.workers, *self._others]:
            with suppress(psutil.NoSuchProcess, OSError):  # it, or one of its children, ended in the meantime
                for process in (own := psutil.Process(started.pid), *own.children(recursive=True)):
                    looked_at += 1
                    if "libtorch" in Path(f"/proc/{process.pid}/maps").read_text():
                        return False
        assert looked_at
        return True


def make_corpus(folder: Path, count: int, *, parts: int = PARTS) -> Path:
    """Write ``count`` distinct text files of ``parts`` paragraphs each."""
    folder.mkdir(exist_ok=True)
    for number in range(count):
        lines = [
            f"File {number} part {part} speaks of topic{number * 7 % 101} and of "
            + " ".join(f"word{(number * 31 + part * 17 + place) % 997}" for place in range(22))
            for part in range(parts)
        ]
        (folder / f"file{number:05}.txt").write_text("\n\n".join(lines))
    return folder


def json_lines(folder: Path, name: str, count: int, *, parts: int = 1) -> SourceRequest:
    """Return a source of ``count`` documents with ``parts`` chunks each."""
    path = folder / f"{name}.jsonl"
    with path.open("w") as file:
        for number in range(count):
            texts = [
                f"{name} {number} part {part} speaks of topic{number % 101} and of "
                + " ".join(f"word{(number * 31 + part * 17 + place) % 997}" for place in range(22 * (parts > 1)))
                for part in range(parts)
            ]
            file.write(json.dumps({"id": f"{name}-{number}", "text": "\n\n".join(texts)}) + "\n")
    return SourceRequest(connector="jsonl", name=name, config={"path": str(path)})


def in_small_steps(folder: Path, count: int) -> SourceRequest:
    """Return a source with the documents of :func:`make_corpus`, for the fake parser, with a checkpoint every five."""
    texts = {path.name: path.read_text() for path in make_corpus(folder / "corpus", count).iterdir()}
    path = folder / "documents.json"
    path.write_text(json.dumps(texts))
    config = {"documents_file": str(path), "checkpoint_every": 5, "media_type": "text/x-fake"}
    return SourceRequest(connector="fake-connector", name="steps", config=config)


# -- shared parts of the tests ----------------------------------------------------------------------------------------


def begun(fleet: Fleet, folder: Path, *, workers: int, documents: int) -> int:
    """Start a fleet that indexes a folder, and return the operation when it is in progress."""
    fleet.start_scheduler()
    for _ in range(workers):
        fleet.start_worker()
    fleet.ready(workers)
    operation = fleet.begin(make_corpus(folder / "corpus", documents))
    fleet.until_indexed(operation, documents // 20)
    assert fleet.without_torch()
    return operation


def finish(
    fleet: Fleet,
    operation: int,
    *,
    documents: int,
    disturb: Callable[[], None] | None = None,
    every: float = 3.0,
    **account: Any,
) -> None:
    """Wait for the end, disturbing the run regularly; check that all documents were found, and the account."""
    progress = fleet.wait(operation, LONG, disturb, every)
    poisoned = int("poison" in account)
    assert progress.outcome == ("degraded" if poisoned else "succeeded")
    found = progress.result["documents"]
    assert found["seen"] == found["new"] == documents and found["quarantined"] == poisoned
    fleet.account(here=documents, **account)


def newer_fakes(fleet: Fleet) -> Path:
    """Create a newer release of the fakes, whose embedder has another ``OUTPUT_VERSION`` and other vectors.

    The embedder logs the texts it embeds in the folder's ``newer.log``.
    """
    folder = Path(shutil.copytree(fleet.environment["PYTHONPATH"], fleet.folder / "newer"))
    [entries] = folder.glob("*.dist-info/entry_points.txt")
    entries.write_text(entries.read_text().replace("semantik_pipeline.testing:FakeEmbedder", "newer:Embedder"))
    code = """
        from pathlib import Path
        from semantik_pipeline.testing import FakeEmbedder

        class Embedder(FakeEmbedder):
            OUTPUT_VERSION = "2"

            def __init__(self, config=None):
                log = str(Path(__file__).with_suffix(".log"))
                super().__init__({**(config or {}), "salt": "newer", "log_path": log})
    """
    (folder / "newer.py").write_text(dedent(code))
    return folder


def vectors_are_of_their_generations(fleet: Fleet, store: QdrantDouble) -> None:
    """Check that every point has the vector of the fake embedder with the frozen options of its generation.

    A vector made with other options would differ: the salt changes its values but not its length.
    """
    current = and_(
        work.c.generation_id == chunks.c.generation_id,
        work.c.document_id == chunks.c.document_id,
        work.c.chunks_epoch == chunks.c.epoch,
    )
    fed = select(chunks.c.point_id, chunks.c.lead + chunks.c.text).join(work, current)
    looked_at = 0
    for number in fleet.runtime.live_generations():
        generation = fleet.runtime.generation(number)
        with fleet.runtime.ledger.read() as tx:
            inputs = dict(map(tuple, tx.execute(fed.where(chunks.c.generation_id == number)).all()))
        found = store.dense(generation.index)
        assert found.keys() == inputs.keys()
        options = generation.config["embedding"]["options"]
        expected = asyncio.run(FakeEmbedder(options).embed_texts(list(inputs.values())))
        given = np.array([found[point] for point in inputs])
        others = int((~np.isclose(given, expected, atol=1e-5).all(axis=1)).sum())
        assert not others, f"{others} of {len(given)} points have vectors of other options than {options}"
        looked_at += len(given)
    assert looked_at


def poisoned(fleet: Fleet, folder: Path, *, documents: int) -> None:
    """Index documents of which one kills each process that embeds it; killed workers are replaced.

    Only that document ends in quarantine, after one death in company and the configured number of attempts.
    """
    name = f"file{documents // 3:05}"
    corpus = make_corpus(folder / "corpus", documents)
    (corpus / f"{name}.txt").write_text("this text is the poison, and all processes that embed it die")
    fleet.configure(crash_on="poison")
    fleet.start_scheduler()
    for _ in range(2):
        fleet.start_worker()
    fleet.ready(2)
    operation = fleet.begin(corpus)
    deaths = 0

    def replace() -> None:
        nonlocal deaths
        for worker in [one for one in fleet.workers if one.poll() is not None]:
            fleet.workers.remove(worker)
            fleet.start_worker()
            deaths += 1

    progress = fleet.wait(operation, LONG, replace, 0.3)
    assert progress.outcome == "degraded"
    found = progress.result["documents"]
    assert found["seen"] == found["new"] == documents and found["quarantined"] == 1
    fleet.account(here=documents, poison=name, cut=1)  # a worker that dies alone has nothing else in flight
    [row] = fleet.semantik("documents", "list", "--status", "quarantined")["documents"]
    assert name in row["document"]
    attempts = int(fleet.environment.get("SEMANTIK_WORK_MAX_ATTEMPTS", fleet.settings.work.max_attempts))
    assert attempts <= deaths <= attempts + 1, f"{deaths} deaths"


def stopped_in_every_stage(fleet: Fleet, operation: int) -> None:
    """Stop a worker of each stage in turn until its units are freed; continue it once others may have claimed them."""
    left = ["sync", "chunk", "extract", "upsert", "embed"]  # stages that finish earlier come first
    while left and fleet.progress(operation).state != "finished":
        for stage in [*left]:
            victim = fleet.freeze_at(stage, seconds=0.5)
            if victim is None:
                continue
            left.remove(stage)
            until(lambda victim=victim: not fleet.held_by(victim.pid), f"the units of {stage} are freed", 40)
            time.sleep(1)
            victim.send_signal(signal.SIGCONT)
    assert not left, f"not every stage was met: {left}"


@contextmanager
def edited(corpus: Path, every: float = 0.01) -> Iterator[set[str]]:
    """Edit and delete documents of the folder during the block; yield the names of the deleted ones."""
    chance, over = random.Random(7), threading.Event()
    vanished = set[str]()
    names = sorted(corpus.iterdir())

    def edit() -> None:
        while not over.wait(every):
            victim = chance.choice(names)
            if chance.random() < 0.3:
                victim.unlink(missing_ok=True)
                vanished.add(victim.name)
            else:
                victim.write_text(f"Edited at {time.time()} in mid-run: {victim.name}")

    editor = threading.Thread(target=edit)
    editor.start()
    try:
        yield vanished
    finally:
        over.set()
        editor.join()


@contextmanager
def ready_meanwhile(fleet: Fleet) -> Iterator[list[int]]:
    """Record during the block how many workers take work; yield the list of counts."""
    looks, over = [fleet.living()], threading.Event()

    def look() -> None:
        while not over.wait(0.1):
            looks.append(fleet.living())

    looker = threading.Thread(target=look)
    looker.start()
    try:
        yield looks
    finally:
        over.set()
        looker.join()
