"""Bells that nobody heard are rung again; the thread that renews leases outlives whatever goes wrong."""

from __future__ import annotations

import socket
import ssl
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from semantik_pipeline import queue
from semantik_pipeline.errors import SettingsError
from semantik_pipeline.ledger.queue.leases import Keeper
from semantik_pipeline.ledger.queue.renewals import Renewal
from semantik_pipeline.settings import Settings, load_settings
from semantik_pipeline.tally import Tally


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(data_dir=tmp_path, broker={"prefix": uuid.uuid4().hex})  # memory:// is one for the process


def make_app(settings: Settings) -> Any:
    from celery import Celery

    app = Celery("semantik", set_as_current=False)
    queue.configure(app, settings)
    return app


@pytest.fixture
def rung(settings: Settings) -> Callable[[str], int]:
    """How many bells of a stage are in the broker."""
    return queue.Line(make_app(settings)).waiting


def test_a_bell_that_is_under_way_is_not_rung_twice(settings: Settings, rung: Callable[[str], int]) -> None:
    bell = queue.Bell(make_app(settings))
    bell.ring("chunk")
    bell.ring("chunk")
    bell.ring("embed")
    assert (rung("chunk"), rung("embed")) == (1, 1)
    bell.heard("chunk")
    bell.ring("chunk")
    assert (rung("chunk"), rung("embed")) == (2, 1)


def test_bells_are_counted_by_what_became_of_them(settings: Settings, tmp_path: Path) -> None:
    tally = Tally()
    bell = queue.Bell(make_app(settings), tally)
    for stage in ("chunk", "chunk", "embed"):
        bell.ring(stage)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        away = load_settings(data_dir=tmp_path, broker={"url": f"redis://127.0.0.1:{closed.getsockname()[1]}/0"})
        queue.Bell(make_app(away), tally).ring("chunk")
    found = {
        (dict(labels)["stage"], dict(labels)["outcome"]): count
        for labels, count in tally.counts("queue_messages").items()
    }
    assert found == {("chunk", "sent"): 1, ("chunk", "skipped"): 1, ("embed", "sent"): 1, ("chunk", "failed"): 1}


def test_a_bell_that_expired_unheard_is_rung_again(
    settings: Settings, rung: Callable[[str], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(queue.time, "monotonic", lambda: clock[0])
    bell = queue.Bell(make_app(settings))
    bell.ring("chunk")
    clock[0] += queue.EXPIRES - 1
    bell.ring("chunk")
    assert rung("chunk") == 1
    clock[0] += 2
    bell.ring("chunk")
    assert rung("chunk") == 2


def test_a_broker_that_is_away_stops_no_stage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        url = f"redis://:secret@127.0.0.1:{taken.getsockname()[1]}/0"
        bell = queue.Bell(make_app(load_settings(data_dir=tmp_path, broker={"url": url})))
        for _ in range(100):
            bell.ring("chunk")
    assert caplog.text.count("could not be notified") == 1  # an outage is told once
    assert "Nothing is lost" in caplog.text
    assert "refused" in caplog.text
    assert "secret" not in caplog.text


def test_a_ring_from_within_many_threads_is_one_at_a_time(settings: Settings, rung: Callable[[str], int]) -> None:
    bell = queue.Bell(make_app(settings))
    threads = [threading.Thread(target=bell.ring, args=(stage,)) for stage in queue.QUEUES * 5]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [rung(stage) for stage in queue.QUEUES] == [1] * len(queue.QUEUES)


@pytest.mark.parametrize(
    ("broker", "told"),
    [
        ({"url": "sqs://somewhere"}, "sqs"),
        ({"url": "no address"}, "redis"),
        ({"url": "redis://localhost", "visibility_timeout": 60}, "visibility_timeout"),
    ],
)
def test_a_broker_that_cannot_be_is_refused_at_the_start(tmp_path: Path, broker: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        make_app(load_settings(data_dir=tmp_path, broker=broker))


def test_tls_in_the_url_wins_over_the_settings(tmp_path: Path) -> None:
    given = load_settings(data_dir=tmp_path, broker={"url": "rediss://localhost:6390/0?ssl_cert_reqs=none"})
    with make_app(given).connection_for_write() as connection:
        assert connection.ssl["ssl_cert_reqs"] == ssl.CERT_NONE
    checked = load_settings(data_dir=tmp_path, broker={"url": "rediss://localhost:6390/0"})
    assert make_app(checked).conf.broker_use_ssl["ssl_cert_reqs"] == ssl.CERT_REQUIRED


def test_a_renewal_that_fails_oddly_costs_no_other_lease() -> None:
    renewed = threading.Event()

    def odd() -> Renewal:
        raise RuntimeError("nobody expected this")

    def renew() -> Renewal:
        renewed.set()
        return Renewal(held=1, prolonged=1)

    keeper = Keeper(0.01)
    try:
        with keeper.holding("odd", odd, 60), keeper.holding("good", renew, 60):
            assert renewed.wait(10)
            renewed.clear()
            assert renewed.wait(10)  # and again: the thread is alive
    finally:
        keeper.close()
