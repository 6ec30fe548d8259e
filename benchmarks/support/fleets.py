"""Fleets for the benchmarks: worker processes, a temporary Redis, and a temporary database on this machine's
PostgreSQL.

Everything is on loopback, is limited in time, and is removed afterwards. If a server is missing, a benchmark prints
``{"skipped": reason}`` and ends without an error (:func:`report`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, exc, make_url, text
from support.corpora import fake_settings

from semantik_pipeline.ledger import Ledger
from semantik_pipeline.ledger.database import schema
from semantik_pipeline.ledger.queue import workers as ledger_workers
from semantik_pipeline.queue import Bell, configure
from semantik_pipeline.runtime import Runtime
from semantik_pipeline.settings import load_settings
from tests.chaos.servers import OwnRedis

SERVER = os.environ.get("SEMANTIK_TEST_DATABASE_URL", "postgresql://postgres@127.0.0.1:5432/postgres")


class Missing(Exception):
    """Something that a benchmark needs is not available: a server or a model."""


def report(measure: Callable[[], dict[str, Any]]) -> None:
    """Print the result of ``measure``, or why it was skipped, as one JSON object."""
    try:
        found = measure()
    except Missing as missing:
        found = {"skipped": str(missing)}
    print(json.dumps(found))


@contextmanager
def database() -> Iterator[str]:
    """The URL of a new, migrated ledger database, which is dropped afterwards."""
    server = make_url(SERVER).set(drivername="postgresql+psycopg")
    name = f"semantik_bench_{uuid.uuid4().hex}"
    admin = create_engine(server, isolation_level="AUTOCOMMIT", connect_args={"connect_timeout": 3})
    try:
        with admin.connect() as connection:
            connection.execute(text(f"create database {name}"))
    except exc.OperationalError as error:
        reason = str(error.orig).strip().splitlines()[0]
        raise Missing(f"No PostgreSQL at {server.render_as_string()}: {reason}") from None
    try:
        url = server.set(database=name, drivername="postgresql").render_as_string(hide_password=False)
        ledger = Ledger(url, check=False)
        schema.migrate(ledger.engine)
        ledger.close()
        yield url
    finally:
        with admin.connect() as connection:
            connection.execute(text(f"drop database {name} with (force)"))
        admin.dispose()


@contextmanager
def own_redis() -> Iterator[OwnRedis]:
    if not OwnRedis.available():
        raise Missing("There is no redis-server here.")
    server = OwnRedis()
    try:
        yield server.start()
    finally:
        server.stop()


class Fleet:
    """Workers on shared servers, with this process as their client. They use the fake embedder and a store that keeps
    nothing; extraction is off."""

    def __init__(self, folder: Path, redis: OwnRedis, url: str, **environment: str) -> None:
        self.folder = folder
        self.redis = redis
        settings, fakes = fake_settings(folder, store="null-store")
        sys.path[:0] = [place for place in fakes["PYTHONPATH"].split(os.pathsep) if place not in sys.path]
        self.environment = {
            **os.environ,
            **fakes,
            **environment,
            "SEMANTIK_CONFIG": str(settings),
            "SEMANTIK_DATA_DIR": str(folder / "data"),
            "SEMANTIK_DATABASE_URL": url,
            "SEMANTIK_BROKER_URL": redis.url,
        }
        (folder / "data").mkdir(exist_ok=True)
        urls = {"database": {"url": url}, "broker": {"url": redis.url}}
        self.settings = load_settings(settings, data_dir=folder / "data", **urls)
        self.workers: list[subprocess.Popen[bytes]] = []

    def configure(self, **options: object) -> None:
        """Write the fake embedder's options to the shared plugin state file."""
        state = {"version": 1, "revision": 1, "disabled_ids": [], "configs": {"fake-embedder": options}}
        (self.folder / "data" / "plugins.json").write_text(json.dumps(state))

    @contextmanager
    def client(self, **changes: Any) -> Iterator[Runtime]:
        """A runtime in this process that wakes the fleet's workers. ``changes`` replaces sections of the settings."""
        from celery import Celery

        app = Celery("client", set_as_current=False)
        configure(app, self.settings)
        bell = Bell(app)
        with Runtime(self.settings.model_copy(update=changes), ring=bell.ring) as runtime:
            try:
                yield runtime
            finally:
                bell.close()

    @contextmanager
    def working(self, runtime: Runtime, count: int, profile: str = "all") -> Iterator[None]:
        """Run ``count`` worker processes, started as an init system would start them. They are ready when the block
        starts."""
        try:
            for number in range(count):
                self._start(f"w{number}", profile)
            self._until_ready(runtime, count)
            yield
        finally:
            self._end()

    def _start(self, name: str, profile: str) -> None:
        command = [sys.executable, "-m", "celery", "-A", "workers.app", "worker", "-n", f"{name}@%h"]
        quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        with (self.folder / f"{name}.log").open("ab") as log:
            self.workers.append(
                subprocess.Popen(
                    [*command, *quiet],
                    env={**self.environment, "SEMANTIK_WORKER_PROFILE": profile},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=Path(__file__).parents[2],
                )
            )

    def _until_ready(self, runtime: Runtime, count: int, seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while True:
            with runtime.ledger.read() as tx:
                ready = sum(row.state == "ready" for row in ledger_workers.living(tx))
            if ready == count:
                return
            if time.monotonic() > deadline or any(worker.poll() is not None for worker in self.workers):
                raise RuntimeError(f"{ready} of {count} workers are ready.\n{self._logs()}")
            time.sleep(0.1)

    def _end(self) -> None:
        for worker in self.workers:
            worker.terminate()
        for worker in self.workers:
            try:
                worker.wait(timeout=30)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
        self.workers.clear()

    def _logs(self) -> str:
        return "\n".join(path.read_text(errors="replace")[-2000:] for path in sorted(self.folder.glob("w*.log")))
