"""The fleet's one static tick."""

from __future__ import annotations

from pathlib import Path

from celery import Celery

from semantik_pipeline.queue import TASK, configure
from semantik_pipeline.settings import load_settings
from workers.schedule import beat_schedule, configure_beat


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


def test_there_is_one_entry_which_expires_with_the_next() -> None:
    (entry,) = beat_schedule(load_settings(schedule={"tick": 7.0})).values()
    assert (entry["task"], entry["args"], entry["schedule"]) == (TASK, ["maintenance"], 7.0)
    assert entry["options"] == {"queue": "maintenance", "expires": 7.0}
