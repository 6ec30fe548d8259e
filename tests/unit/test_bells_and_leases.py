"""Bells that nobody heard are rung again; the thread that renews leases outlives whatever goes wrong."""

from __future__ import annotations

import threading

from semantik_pipeline import queue
from semantik_pipeline.ledger.leases import Keeper


class Broker:
    """Takes messages as a Celery app does; away while ``error`` is set."""

    def __init__(self) -> None:
        self.rung: list[str] = []
        self.error: Exception | None = None

    def send_task(self, _task: str, *, queue: str, **_: object) -> None:
        if self.error is not None:
            raise self.error
        self.rung.append(queue)


def test_a_bell_that_is_under_way_is_not_rung_twice() -> None:
    broker = Broker()
    bell = queue.Bell(broker)
    bell.ring("chunk")
    bell.ring("chunk")
    bell.ring("embed")
    assert broker.rung == ["chunk", "embed"]
    bell.heard("chunk")
    bell.ring("chunk")
    assert broker.rung == ["chunk", "embed", "chunk"]


def test_a_bell_that_expired_unheard_is_rung_again(monkeypatch) -> None:
    broker, clock = Broker(), [1000.0]
    monkeypatch.setattr(queue.time, "time", lambda: clock[0])
    bell = queue.Bell(broker)
    bell.ring("chunk")
    clock[0] += queue.EXPIRES - 1
    bell.ring("chunk")
    assert broker.rung == ["chunk"]
    clock[0] += 2
    bell.ring("chunk")
    assert broker.rung == ["chunk", "chunk"]


def test_a_broker_that_is_away_stops_no_stage(caplog) -> None:
    broker = Broker()
    bell = queue.Bell(broker)
    broker.error = OSError("connection refused")
    bell.ring("chunk")
    assert "connection refused" in caplog.text
    broker.error = None
    bell.ring("chunk")
    assert broker.rung == ["chunk"]


def test_a_renewal_that_fails_oddly_costs_no_other_lease() -> None:
    renewed = threading.Event()

    def odd() -> int:
        raise RuntimeError("nobody expected this")

    def renew() -> int:
        renewed.set()
        return 1

    keeper = Keeper(0.01)
    try:
        with keeper.holding("odd", odd, 60), keeper.holding("good", renew, 60):
            assert renewed.wait(10)
            renewed.clear()
            assert renewed.wait(10)  # and again: the thread is alive
    finally:
        keeper.close()
