"""The Celery app's configuration, and :func:`ring`. Defines no task; tasks are in ``workers/tasks.py``.

A message names a stage, never a document. Bells are coalesced, they expire, and losing one costs nothing but the time
until the next maintenance tick.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from semantik_pipeline.pipeline import QUEUES
from semantik_pipeline.settings import Settings

if TYPE_CHECKING:
    from celery import Celery

log = logging.getLogger(__name__)

#: The one task's name: its argument is the stage.
TASK = "semantik.work"

#: Seconds after which an unheard bell is dropped; maintenance rings again for what is still due.
EXPIRES = 60


def configure(app: Celery, settings: Settings) -> None:
    """Settings that every process, ringing or working, shares."""
    from kombu import Exchange, Queue

    exchange = Exchange("semantik", type="direct")
    memory = settings.broker.url.startswith("memory://")
    app.conf.update(
        broker_url=settings.broker.url,
        broker_connection_retry_on_startup=True,
        # memory:// polls once a second unless told otherwise: four tasks a second
        broker_transport_options={"polling_interval": 0.005} if memory else {},
        task_queues=[Queue(name, exchange, routing_key=name) for name in QUEUES],
        task_default_queue="maintenance",
        task_create_missing_queues=False,
        task_ignore_result=True,
        task_acks_late=False,
        task_serializer="json",
        accept_content=["json"],
        result_backend=None,
        worker_prefetch_multiplier=1,
        worker_redirect_stdouts=False,
        worker_hijack_root_logger=False,
        worker_enable_remote_control=not memory,
        worker_send_task_events=False,
    )


class Bell:
    """Rings stages through the broker; no more bells of a stage are under way than could be answered."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._unheard: dict[str, float] = {}  # stage -> when its bell was rung, on the clock by which messages expire
        self._lock = threading.Lock()

    def ring(self, stage: str) -> None:
        """Tell the workers that a stage has work. Nothing is lost if nobody hears it."""
        with self._lock:
            if time.time() < self._unheard.get(stage, 0) + EXPIRES:
                return  # the task that hears it claims after this commit
            self._unheard[stage] = time.time()
        try:
            self._app.send_task(TASK, args=[stage], queue=stage, expires=EXPIRES)
        except (
            Exception
        ) as error:  # what the broker's client raises: the work is in the ledger, maintenance rings again
            log.warning("The bell of %s can't be rung: %s", stage, error)
            self.heard(stage)

    def heard(self, stage: str) -> None:
        """A task began: work committed from here on needs a new bell."""
        with self._lock:
            self._unheard.pop(stage, None)
