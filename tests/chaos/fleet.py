"""A fleet of real processes on loopback servers, and the account that it must give at the end."""

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

PARTS = 2  # chunks of a document, unless a proof says otherwise

#: Pools that a process can have embedded and not saved: the writer has one, one waits for it, and one is embedded before it
#: may wait, too (stages/embed.py). A process that stood still has two more claimed, and may embed them before its keeper
#: has looked at the lease. No process can have more than it holds at that moment.
UNSAVED, LATE = 3, 2

#: A collection with every stage at work and no model.
COLLECTION: dict[str, Any] = {
    "embedding": {"plugin": "fake-embedder", "options": {}},
    "chunking": {"plugin": "recursive", "options": {"max_tokens": 40, "min_tokens": 1, "overlap_tokens": 0}},
    "extraction": {"chunk": [{"plugin": "fake-extractor", "options": {}}], "document": []},
}


#: Has the database write down each attempt that is held against a document: they are forgotten once it is through.
BLAME = (
    "create table test_charges (document_id bigint not null)",
    """create function test_charge() returns trigger language plpgsql as
    $$ begin insert into test_charges values (new.document_id); return new; end $$""",
    """create trigger test_charge after update of attempts on work for each row
    when (new.attempts > old.attempts) execute function test_charge()""",
)

#: Seconds that a run of 2,000 documents may take with its disturbances.
LONG = 400.0


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
        self.stops = 0
        self.at_risk = 0  # texts that those killed and stopped may have had embedded, and not saved
        self._disturbed: list[int] = []  # documents that were indexed at those moments
        self.until = float("inf")  # time.monotonic() at which nothing is waited for any more
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
        """The fake embedder's options, and what a text takes the extractor and the fake parser, in the shared state file."""
        configs = {"fake-embedder": {"log_path": str(self.log), "sleep_ms_per_text": 1, **options}}
        for plugin, taken in (("fake-extractor", extractor_ms), ("fake-parser", parser_ms)):
            if taken:
                configs[plugin] = {"sleep_ms_per_text": taken}
        state = {"version": 1, "revision": time.time_ns(), "disabled_ids": [], "configs": configs}
        (self.folder / "data" / "plugins.json").write_text(json.dumps(state))

    def semantik(self, *arguments: str, code: int | None = 0, timeout: float = 180) -> dict[str, Any]:
        """The JSON answer of a command; ``code`` is the exit status it must end with (None: any)."""
        done = forks.semantik([*arguments, "--json"], self.environment, seconds=timeout)
        assert code is None or done.code == code, f"exit {done.code}\n{done.out}\n{done.err}"
        return done.json()

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
        return self.start_beside([sys.executable, "-m", "semantik_pipeline.cli", "scheduler"], "scheduler")

    def start_beat(self) -> subprocess.Popen[bytes]:
        """The scheduler by Celery's own command."""
        return self.start_beside([sys.executable, "-m", "celery", "-A", "workers.app", "beat"], "beat")

    def start_supervisor(self, *options: str) -> subprocess.Popen[bytes]:
        return self.start_beside([sys.executable, "-m", "semantik_pipeline.cli", "worker", *options], "supervisor")

    def start_beside(self, command: list[str], name: str, **environment: str) -> subprocess.Popen[bytes]:
        """Another process of the fleet than a worker."""
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
        worker.send_signal(signal.SIGSTOP)
        self.at_risk += self._unsaved(worker, UNSAVED)
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        self.workers.remove(worker)
        self.kills += 1

    def kill_at_work(self) -> subprocess.Popen[bytes]:
        """kill -9 of a worker at a moment at which it holds something: seen while it stands still."""
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
        """SIGSTOP; SIGCONT lets it go on."""
        worker.send_signal(signal.SIGSTOP)
        self._stopped(worker)

    def freeze_at(self, stage: str, seconds: float) -> subprocess.Popen[bytes] | None:
        """SIGSTOP of a worker that holds units of a stage, seen while it stands still; None if none does for so long."""
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
        """Texts that a process that stands still may have embedded and not saved: of what it holds, so many pools. A pool
        is filled by a whole document, so it may be a little larger than it is to."""
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

    def places(self, held: Iterable[int]) -> dict[int, tuple[str, str | None]]:
        """Of what :meth:`held_by` names: how far it is, and the process that holds it now."""
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
        """The seconds after which each unit that a dead process held was held by another one, or had got further; the
        first and the last of them within so many. Units that were held together are suspects, and suspects run alone,
        one after another: so the last comes later than the first."""
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
        """A worker that holds units of a stage at this moment; None if there is none for so long."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            names = self._holders(stage)
            for worker in self.workers:
                if f":{worker.pid}:" in names:
                    return worker
            time.sleep(0.01)
        return None

    def _holders(self, stage: str) -> str:
        """The names of workers that hold units of a stage."""
        held = select(work.c.worker).where(work.c.stage == stage, work.c.lease_token.is_not(None))
        if stage == "sync":
            held = select(sources.c.worker).where(sources.c.lease_token.is_not(None))
        with self.runtime.ledger.read() as tx:
            return " ".join(filter(None, tx.execute(held.limit(50)).scalars()))

    # -- work -----------------------------------------------------------------------------------------------------------

    def begin(self, folder: Path, **options: Any) -> int:
        """Begin to sync a folder; returns the operation's id."""
        source = operations.folder_source(folder)
        return operations.begin_sync(self.runtime, [source], collection="default", config=COLLECTION, **options)

    def begin_source(self, source: SourceRequest) -> int:
        return operations.begin_sync(self.runtime, [source], collection="default", config=COLLECTION)

    def schedule(self, folder: Path, *, every: float) -> None:
        """A source that is due at once, and again after so many seconds each."""
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
        """Wait for the end of an operation, disturbing it now and then."""
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
        """Whoever disturbs the run has something to disturb: it is neither through, nor has it just begun."""
        progress = self.progress(operation)
        assert progress.state == "running", progress
        indexed = progress.stages.get("indexed", 0)
        assert 0 < indexed < documents, progress
        self._disturbed.append(indexed)
        self.record("indexed when it was disturbed and when that was over", ", ".join(map(str, self._disturbed)))

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

    def indexed_before(self, source: str) -> int:
        """Documents of other sources that were indexed before the last one of a source."""
        its_id = select(sources.c.id).where(sources.c.name == source).scalar_subquery()
        indexed = work.join(documents, documents.c.id == work.c.document_id)
        own = and_(work.c.stage == "indexed", documents.c.source_id == its_id)
        last = select(func.max(work.c.updated_at)).select_from(indexed).where(own).scalar_subquery()
        others = and_(work.c.stage == "indexed", documents.c.source_id != its_id, work.c.updated_at < last)
        with self.runtime.ledger.read() as tx:
            return tx.execute(select(func.count()).select_from(indexed).where(others)).scalar_one()

    def synced_again(self, corpus: Path) -> None:
        """Sync once more a folder that changed while it was synced: now all is well."""
        here = len(list(corpus.iterdir()))
        last = self.wait(self.begin(corpus, allow_deletions=True), LONG)
        assert last.outcome == "succeeded" and last.result["documents"]["seen"] == here
        self.account(here=here)

    def status(self) -> list[dict[str, Any]]:
        """The workers, as `semantik fleet status` has them."""
        return operators.view(self.runtime)["workers"]

    # -- the account ----------------------------------------------------------------------------------------------------

    def account(self, *, here: int, poison: str | None = None, cut: int = 0, cancelled: bool = False) -> None:
        """Every document is accounted for, ledger and store agree, nothing was embedded twice beyond batches in flight.

        ``poison`` names the one document that is to blame. ``cut``: how often a process was kept from saving while it may
        have had batches in hand, but for kills and stops, of which is known what they had. ``cancelled``: an operation
        was, so documents may be parked, and those that are not are indexed.
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
        """Ledger and store agree point by point."""
        report = self.semantik("verify", code=None)
        assert (report["missing"], report["orphaned"], report["stale"]) == (0, 0, 0), report
        assert report["points_found"] == report["points_expected"] > 0

    def embedded(self) -> list[str]:
        """All texts that were embedded, in the order of each log."""
        return [line for log in sorted(self.folder.glob("embedded*.log")) for line in log.read_text().splitlines()]

    def _account_for_texts(self, cut: int) -> None:
        lines = self.embedded()
        doubled = len(lines) - len(set(lines))
        allowed = self.at_risk + self._pool * UNSAVED * cut
        self.record("embedded twice", f"{doubled} of {len(lines)} texts, where {allowed} may have been in flight")
        assert doubled <= allowed, f"{doubled} texts were embedded twice; {allowed} may have been in flight"

    def _moving(self) -> int:
        """Units that some stage is still to work on, or that wait for it: after an operation's end only those of which a
        worker without a lease touched the points, or those in hand when it was cancelled."""
        moving = or_(
            and_(work.c.stage.in_(STAGES), or_(work.c.held_by.is_(None), work.c.lease_token.is_not(None))),
            work.c.reconcile,
        )
        with self.runtime.ledger.read() as tx:
            return tx.execute(select(func.count()).select_from(work).where(moving)).scalar_one()

    def _account_for_blame(self, poison: str | None) -> None:
        """A kill or a stop from outside may hit one suspect that runs alone: that is charged, though never to the end.
        Nothing else is held against a document that is not to blame."""
        innocents = {name: count for name, count in self._charges().items() if poison is None or poison not in name}
        told = (
            f"attempts were held against innocent documents, at {self.kills} kills and {self.stops} stops: {innocents}"
        )
        assert sum(innocents.values()) <= self.kills + self.stops, told
        assert max(innocents.values(), default=0) < self.settings.work.max_attempts, told

    def _charges(self) -> dict[str, int]:
        """Document -> how often an attempt was held against it, whether or not that was forgotten since."""
        charged = text("select document_id from test_charges")
        with self.runtime.ledger.read() as tx:
            often = Counter(tx.execute(charged).scalars())
            names = select(documents.c.id, documents.c.unique_id).where(documents.c.id.in_(sorted(often)))
            return {name: often[document_id] for document_id, name in tx.execute(names)}

    def without_torch(self) -> bool:
        """No process of the fleet has torch in memory: workers, those of a supervisor, their children."""
        looked_at = 0
        for started in [*self.workers, *self._others]:
            with suppress(psutil.NoSuchProcess, OSError):  # it has ended, or a child of it while it is looked at
                for process in (own := psutil.Process(started.pid), *own.children(recursive=True)):
                    looked_at += 1
                    if "libtorch" in Path(f"/proc/{process.pid}/maps").read_text():
                        return False
        assert looked_at
        return True


def make_corpus(folder: Path, count: int, *, parts: int = PARTS) -> Path:
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


def json_lines(folder: Path, name: str, count: int, *, parts: int = 1) -> SourceRequest:
    """A source of ``count`` documents of so many chunks each."""
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
    """The documents of :func:`make_corpus`, for the fake parser, from a source that may be left after every fifth."""
    texts = {path.name: path.read_text() for path in make_corpus(folder / "corpus", count).iterdir()}
    path = folder / "documents.json"
    path.write_text(json.dumps(texts))
    config = {"documents_file": str(path), "checkpoint_every": 5, "media_type": "text/x-fake"}
    return SourceRequest(connector="fake-connector", name="steps", config=config)


# -- what proofs have in common ------------------------------------------------------------------------------------------


def begun(fleet: Fleet, folder: Path, *, workers: int, documents: int) -> int:
    """An operation of the fleet, in the middle of indexing a folder."""
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
    """Wait for the end, disturbing it now and then; all were found, and the account is in order."""
    progress = fleet.wait(operation, LONG, disturb, every)
    poisoned = int("poison" in account)
    assert progress.outcome == ("degraded" if poisoned else "succeeded")
    found = progress.result["documents"]
    assert found["seen"] == found["new"] == documents and found["quarantined"] == poisoned
    fleet.account(here=documents, **account)


def newer_fakes(fleet: Fleet) -> Path:
    """The fakes of a fleet in a release whose embedder gives other vectors, and says so by its ``OUTPUT_VERSION``. It
    logs in ``newer.log`` of that folder what it embeds."""
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
    """Every point has the vector that the fake embedder gives for its model input with the options that its generation
    has frozen. Other options that shaped one would show: with another salt it is as long as before."""
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
    """One of the documents kills each process that embeds it; who is killed is replaced. It alone ends in quarantine,
    after one death in company and the configured attempts."""
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
    fleet.account(here=documents, poison=name, cut=1)  # a death alone has nothing else in hand
    [row] = fleet.semantik("documents", "list", "--status", "quarantined")["documents"]
    assert name in row["document"]
    attempts = int(fleet.environment.get("SEMANTIK_WORK_MAX_ATTEMPTS", fleet.settings.work.max_attempts))
    assert attempts <= deaths <= attempts + 1, f"{deaths} deaths"


def stopped_in_every_stage(fleet: Fleet, operation: int) -> None:
    """A worker that holds units of a stage is stopped until they are no longer its own, and continued once others may have
    them; each stage once."""
    left = ["sync", "chunk", "extract", "upsert", "embed"]  # those that end first are met first
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
    """Meanwhile documents of the folder change and vanish; yields the names of those that vanished."""
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
    """How many workers took work, look by look."""
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
