"""When a worker process ends or restarts by itself, when a probe calls it dead, and what it refuses to begin with."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from semantik_pipeline.ledger.queue import workers as ledger_workers
from semantik_pipeline.ledger.queue.renewals import Renewal
from tests.announced import announced
from workers import heartbeat as presences
from workers.consumer_liveness import Pulse
from workers.heartbeat import Presence


def watched(pipeline, *, pulse=None):
    """A worker's presence; the lists of what it was told and of why it should end."""
    heard, reasons = [], []
    presence = Presence(pipeline.runtime, profile="all", queues=("embed",), obey=heard.append, ended=reasons.append)
    presence.begin(pulse)
    return presence, heard, reasons


def until(condition, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_process_that_has_grown_too_large_restarts_once_and_in_its_turn(make_pipeline):
    pipeline = make_pipeline(worker={"heartbeat": 0.05, "memory_mb": 1})
    report = {"queues": ["embed"], "heartbeat": 5.0}
    with pipeline.runtime.ledger.write() as tx:
        announced(tx, "another", host="there", pid=1, profile="all", report=report)
    with pipeline.runtime.ledger.write() as tx:
        assert ledger_workers.take_turn(tx, "another")
    presence, heard, _ = watched(pipeline)
    try:
        beaten = presence.beaten
        until(lambda: presence.beaten > beaten + 0.2)
        assert heard == [] and presence.state == "ready", "another one restarts now"
        with pipeline.runtime.ledger.write() as tx:
            ledger_workers.end(tx, "another")
        until(lambda: heard)
        beaten = presence.beaten
        until(lambda: presence.beaten > beaten + 0.2)
        assert heard == ["restart"] and presence.state == "restarting"
    finally:
        presence.close()


def test_a_process_is_not_replaced_below_its_limit(make_pipeline):
    pipeline = make_pipeline(worker={"heartbeat": 0.05, "memory_mb": 1_000_000})
    presence, heard, _ = watched(pipeline)
    try:
        beaten = presence.beaten
        until(lambda: presence.beaten > beaten + 0.2)
        assert heard == []
    finally:
        presence.close()


def test_a_process_whose_unit_hangs_ends(make_pipeline, monkeypatch):
    monkeypatch.setattr(presences, "HUNG", 0.3)
    pipeline = make_pipeline(worker={"heartbeat": 0.05})
    presence, _, reasons = watched(pipeline)
    try:
        with pipeline.runtime.keeper.holding("token", lambda: Renewal(held=1, prolonged=1), deadline=0.3):
            began = time.monotonic()
            until(lambda: reasons)
            assert time.monotonic() - began > 0.6, "its deadline, and then some"
        assert "hangs" in reasons[0]
    finally:
        presence.close()


def test_a_consumer_that_stands_still_is_told_from_one_that_waits_for_its_broker(make_pipeline, monkeypatch):
    monkeypatch.setattr(presences, "DEAD", 0.5)
    turns, calls = threading.Event(), []
    consumer = SimpleNamespace(connection=None, call_soon=lambda call: call() if turns.is_set() else calls.append(call))
    pipeline = make_pipeline(worker={"heartbeat": 0.05})
    presence, _, _ = watched(pipeline, pulse=Pulse(consumer))
    try:
        time.sleep(0.8)
        assert presence.live() is None, "the broker is away: a new process would wait as well"
        consumer.connection = object()
        until(lambda: "consumer" in (presence.live() or ""))
        turns.set()
        until(lambda: presence.live() is None)
    finally:
        presence.close()


@pytest.mark.parametrize(
    ("options", "told"), [(["-P", "solo"], "--pool"), (["-Q", "chunk"], "SEMANTIK_WORKER_PROFILE")]
)
def test_what_celery_s_command_would_do_wrongly_is_refused_with_the_way_out(tmp_path, options, told):
    command = [sys.executable, "-m", "celery", "-A", "workers.app", "worker", *options]
    environment = {**os.environ, "SEMANTIK_DATA_DIR": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert told in done.stderr and "Traceback" not in done.stderr
