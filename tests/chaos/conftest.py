"""Fleets on their own servers; the total time limit of the long proofs, and a summary of what each took."""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from kombu import Connection

from semantik_pipeline.pipeline import QUEUES
from semantik_pipeline.testing.qdrant_double import QdrantDouble
from tests.chaos.account import record_charges
from tests.chaos.fleet import Fleet
from tests.chaos.servers import OwnPostgres, OwnRedis, RelayedRabbit, answers
from tests.conftest import missing_server

LOCAL_RABBITMQ = "amqp://guest:guest@127.0.0.1:5672//"

#: Seconds from the start of the first long proof to the end of the last.
BUDGET = 20 * 60.0

BEGAN = pytest.StashKey[float]()


def deadline_of(item: pytest.Item) -> float:
    """Return the time.monotonic() at which the time for all long proofs is over; infinity for a short proof."""
    if item.get_closest_marker("chaos") is None:
        return float("inf")
    return item.session.stash.setdefault(BEGAN, time.monotonic()) + BUDGET


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail a proof that would begin too late. A running proof fails in its next wait instead (``Fleet.deadline``)."""
    if time.monotonic() > deadline_of(item):
        pytest.fail(f"not begun: the {BUDGET / 60:.0f} minutes of all proofs together are over", pytrace=False)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Report the seconds of each proof, including its servers and fleet, and the values it recorded."""
    seconds: dict[str, float] = defaultdict(float)
    recorded: dict[str, list[str]] = defaultdict(list)
    for reports in terminalreporter.stats.values():
        for report in reports:
            name = getattr(report, "nodeid", "")
            if "tests/chaos/" in name and hasattr(report, "duration"):
                seconds[name.rpartition("::")[2]] += report.duration
                if report.when == "call":
                    recorded[name.rpartition("::")[2]] += [f"{what}: {value}" for what, value in report.user_properties]
    if seconds:
        terminalreporter.section("seconds of each proof")
        for name, spent in sorted(seconds.items(), key=lambda one: -one[1]):
            terminalreporter.line("; ".join([f"{spent:7.1f}  {name}", *recorded[name]]))
        terminalreporter.line(f"{sum(seconds.values()):7.1f}  together; the long ones may take {BUDGET:.0f}")


@pytest.fixture
def redis() -> Iterator[OwnRedis]:
    """A Redis server for one test."""
    if not OwnRedis.available():
        missing_server("There is no redis-server here.", "Install it, for example: apt install redis-server.")
    server = OwnRedis()
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture
def brokers(redis: OwnRedis, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """Return a broker's URL by its name; RabbitMQ is the machine's server, with queue names used by this test only."""
    prefix = f"semantik_test_{uuid.uuid4().hex[:8]}"
    used: list[str] = []

    def url(name: str) -> str:
        if name == "redis":
            return redis.url
        found = os.environ.get("SEMANTIK_TEST_RABBITMQ_URL", LOCAL_RABBITMQ)
        if found == LOCAL_RABBITMQ and not answers(5672):
            missing_server(
                "No RabbitMQ at 127.0.0.1:5672.", "Start one, or give its URL in SEMANTIK_TEST_RABBITMQ_URL."
            )
        monkeypatch.setenv("SEMANTIK_BROKER_PREFIX", prefix)
        used.append(found)
        return found

    yield url
    for address in used:
        with Connection(address) as connection:
            for queue in (*QUEUES, "search"):
                connection.default_channel.queue_delete(f"{prefix}.{queue}")
            connection.default_channel.exchange_delete(prefix)


@pytest.fixture
def unsteady(redis: OwnRedis, brokers: Callable[[str], str]) -> Iterator[Callable[[str], OwnRedis | RelayedRabbit]]:
    """Return a broker by its name, with its ``url`` and methods to ``forget`` all messages, ``stop`` and ``start``."""
    with ExitStack() as stack:

        def make(name: str) -> OwnRedis | RelayedRabbit:
            if name == "redis":
                return redis
            direct = brokers(name)
            prefix = os.environ["SEMANTIK_BROKER_PREFIX"]
            relayed = RelayedRabbit(direct, lambda: [f"{prefix}.{queue}" for queue in QUEUES]).start()
            stack.callback(relayed.stop)
            return relayed

        yield make


@pytest.fixture
def own_postgres() -> Iterator[OwnPostgres]:
    """A PostgreSQL server for one test."""
    if OwnPostgres.programs() is None:
        missing_server("PostgreSQL's own programs are not here.", "Install them, for example: apt install postgresql.")
    server = OwnPostgres().start()
    yield server
    server.stop()


@pytest.fixture
def qdrant() -> Iterator[QdrantDouble]:
    """A fake Qdrant server in this process."""
    double = QdrantDouble().start()
    yield double
    double.stop()


@pytest.fixture
def make_fleet(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    installed_fakes: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> Iterator[Callable[..., Fleet]]:
    """``make_fleet(database=url, broker=url, qdrant=url)`` creates a fleet; its processes are ended after the test."""
    monkeypatch.syspath_prepend(str(installed_fakes))
    with ExitStack() as stack:
        # Under nohup, these tests ignore SIGHUP and workers would inherit that, but workers must react to the signal.
        stack.callback(signal.signal, signal.SIGHUP, signal.signal(signal.SIGHUP, signal.SIG_DFL))

        def make(**urls: str) -> Fleet:
            fleet = Fleet(tmp_path, installed_fakes, urls, deadline=deadline_of(request.node), record=record_property)
            stack.callback(fleet.close)
            record_charges(fleet.ledger)
            return fleet

        yield make
