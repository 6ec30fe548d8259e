"""The fleet's one static tick."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
from celery import Celery

from semantik_pipeline.ledger import Ledger
from semantik_pipeline.ledger.database import schema
from semantik_pipeline.queue import TASK, configure
from semantik_pipeline.runtime import Runtime
from semantik_pipeline.settings import load_settings
from workers.schedule import beat_schedule, configure_beat, serve

PROBES = ("/live", "/ready")


def test_the_tick_rings_for_maintenance_once_while_nobody_hears(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings(data_dir=tmp_path, schedule={"tick": 0.01})
    app = Celery("test", set_as_current=False)
    configure(app, settings)
    configure_beat(app, settings)
    scheduler = app.conf.beat_scheduler(app)
    with app.connection_for_read() as connection:
        queue = app.amqp.queues["maintenance"].bind(connection.default_channel)
        queue.declare()
        queue.purge()
        for _ in range(5):
            for entry in scheduler.schedule.values():
                scheduler.apply_entry(scheduler.reserve(entry))
        assert queue.queue_declare(passive=True).message_count == 1
        assert queue.get(no_ack=True).decode()[0] == ["maintenance"]
    scheduler.close()
    assert list(tmp_path.iterdir()) == []  # no schedule file


def test_there_is_one_entry() -> None:
    (entry,) = beat_schedule(load_settings(schedule={"tick": 7.0})).values()
    assert (entry["task"], entry["args"], entry["schedule"]) == (TASK, ["maintenance"], 7.0)
    assert entry["options"] == {"queue": "maintenance"}


def test_probes_say_whether_it_ticks_and_whether_the_ledger_answers(tmp_path: Path) -> None:
    class Ticking:
        ticked = time.monotonic()

    def asked(path: str) -> tuple[int, str]:
        answer = httpx.get(f"http://127.0.0.1:{endpoint.port}{path}", trust_env=False)
        return answer.status_code, answer.text

    ledger = tmp_path / "ledger.sqlite3"
    with Runtime(load_settings(data_dir=tmp_path, database={"url": f"sqlite:///{ledger}"})) as runtime:
        schema.migrate(Ledger(f"sqlite:///{ledger}", check=False).engine)
        endpoint = serve(runtime, Ticking)
        try:
            assert asked("/live") == asked("/ready") == (200, "ok\n")
            assert "semantik_backlog_units" in asked("/metrics")[1]
            Ticking.ticked -= 3600
            assert asked("/live")[0] == asked("/ready")[0] == 503
            assert "there was no tick for" in asked("/live")[1]
        finally:
            endpoint.close()


def test_a_scheduler_without_a_ledger_is_not_ready_and_lives(tmp_path: Path) -> None:
    class Ticking:
        ticked = time.monotonic()

    url = "postgresql://nobody@127.0.0.1:9/none"  # the port of the discard service, which nobody serves
    with Runtime(load_settings(data_dir=tmp_path, database={"url": url})) as runtime:
        endpoint = serve(runtime, Ticking)
        try:
            answers = {path: httpx.get(f"http://127.0.0.1:{endpoint.port}{path}", trust_env=False) for path in PROBES}
        finally:
            endpoint.close()
    assert {path: answer.status_code for path, answer in answers.items()} == {"/live": 200, "/ready": 503}
    assert "127.0.0.1" in answers["/ready"].text
