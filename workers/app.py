"""The fleet's Celery app: ``celery -A workers.app worker``, with the settings and the profile that the environment names.

What a worker answers, in which pool and with how many threads, comes from :mod:`workers.profiles`; ``semantik worker``
runs this same app, as many processes of it as the profile says.
"""

from __future__ import annotations

from celery import Celery

from semantik_pipeline.queue import configure
from semantik_pipeline.settings import load_settings
from workers import tasks
from workers.profiles import profile
from workers.schedule import configure_beat
from workers.startup import WorkerProcess, connect

settings = load_settings()
app = Celery("semantik", set_as_current=False)
configure(app, settings)
process = WorkerProcess(app, settings, settings.worker.profile, profile(settings.worker.profile))
process.configure(app)
configure_beat(app, settings)
tasks.register(app, process)
connect(process)
