"""Fleets on servers of their own."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from kombu import Connection

from semantik_pipeline.pipeline import QUEUES
from semantik_pipeline.testing.qdrant_double import QdrantDouble
from tests.chaos.fleet import Fleet
from tests.chaos.servers import OwnRedis, answers
from tests.conftest import missing_server

LOCAL_RABBITMQ = "amqp://guest:guest@127.0.0.1:5672//"


@pytest.fixture
def redis() -> Iterator[OwnRedis]:
    """A Redis server of the test's own."""
    if not OwnRedis.available():
        missing_server("There is no redis-server here.", "Install it, for example: apt install redis-server.")
    server = OwnRedis()
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture
def brokers(redis: OwnRedis, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """The URL of a broker by its name; RabbitMQ's is the machine's own, under queue names of the test's own."""
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
def qdrant() -> Iterator[QdrantDouble]:
    """A double of a Qdrant server, in this process."""
    double = QdrantDouble().start()
    yield double
    double.stop()


@pytest.fixture
def make_fleet(
    tmp_path: Path, installed_fakes: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Fleet]]:
    """``make_fleet(database=url, broker=url, qdrant=url)``; every process is ended afterwards."""
    monkeypatch.syspath_prepend(str(installed_fakes))
    with ExitStack() as stack:

        def make(**urls: str) -> Fleet:
            fleet = Fleet(tmp_path, installed_fakes, **urls)
            stack.callback(fleet.close)
            return fleet

        yield make
