"""The fleet's Celery app, for ``celery -A workers.app worker``. Settings and profile come from the environment.

:mod:`workers.profiles` decides which queues a worker consumes, in which pool and with how many threads. ``semantik
worker`` runs this same app in as many processes as the profile says.
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
