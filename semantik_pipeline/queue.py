"""The Celery app's configuration, and the bells. Defines no task; tasks are in ``workers/tasks.py``.

A message names a stage, never a document. A lost message costs only the time until the next maintenance tick.

The number of bells is bounded by the queue and not by the ringing processes, because many of them never receive bells
(a command line, a worker of another profile). One waiting bell per stage is enough: the worker that takes it claims
after the commit that the bell was for, and while it waits, no worker is free to take another. So a bell is sent only
into an empty queue, and a queue without workers holds no more bells than processes that rang at the same moment,
however many documents wait. The cost is one request to the broker per ring.

No message has an absolute expiry time. Celery's ``expires`` is absolute, on the sender's clock, so a worker whose clock
is a minute ahead would drop every bell. RabbitMQ's ``expiration`` is an age that the broker measures, and has no such
problem.

Inside one process (``memory://``) the worker fetches bells long before its threads handle them, so the queue is always
empty. There, the process itself tracks which bells are unheard.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from semantik_pipeline.errors import SettingsError
from semantik_pipeline.pipeline import QUEUES, STAGES, longest_loop
from semantik_pipeline.settings import Settings
from semantik_pipeline.tally import Tally

if TYPE_CHECKING:
    from celery import Celery
    from kombu import Connection, Queue

log = logging.getLogger(__name__)

#: The task that works on a stage; its argument is the stage.
TASK = "semantik.work"

#: The task that answers a search; its argument has the query's fields.
SEARCH_TASK = "semantik.search"

#: The queue of searches for search workers; every other queue belongs to a stage.
SEARCH = "search"

#: Seconds after which RabbitMQ drops an unheard bell and a single process rings again. Maintenance rings for due work.
EXPIRES = 60

#: Seconds that a ring waits for the broker, at most twice: the ringing thread has other work to do.
PATIENCE = 1.0

#: Seconds without ringing after the broker did not answer: the first wait, which doubles, and the maximum.
QUIET, LONGEST_QUIET = 0.5, 8.0

SCHEMES = ("memory", "redis", "rediss", "amqp", "amqps")


def configure(app: Celery, settings: Settings) -> None:
    """Apply the settings that every process shares, whether it rings or works.

    Queue names have the prefix ``broker.prefix``; Celery knows the queues by their stages. Raises SettingsError for an
    unsupported broker URL, or a visibility timeout that is shorter than the longest task.
    """
    from celery import signals
    from kombu import Exchange, Queue

    signals.setup_logging.connect(_leave_logs_alone, dispatch_uid="semantik")  # logging is configured in logs.py
    broker = settings.broker
    scheme = _scheme(broker.url)
    exchange = Exchange(broker.prefix, type="direct")
    queues = [Queue(f"{broker.prefix}.{name}", exchange, routing_key=name, alias=name) for name in (*QUEUES, SEARCH)]
    app.conf.update(
        broker_url=broker.url,
        broker_use_ssl=_tls(settings),
        broker_transport_options=_transport_options(settings),
        # a worker reconnects by itself, however long the broker was unavailable
        broker_connection_retry=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=5,
        broker_heartbeat=30,
        task_queues=queues,
        task_default_queue=f"{broker.prefix}.maintenance",  # the full name, because Flower shows it
        task_create_missing_queues=False,
        task_ignore_result=True,
        task_acks_late=False,
        task_serializer="json",
        accept_content=["json"],
        # only searches have replies; the caller is waiting, so a reply expires after a minute
        result_backend={"memory": None, "redis": broker.url, "rediss": broker.url}.get(scheme, "rpc://"),
        result_expires=EXPIRES,
        redis_backend_use_ssl=_tls(settings),
        control_exchange=f"{broker.prefix}.control",
        event_exchange=f"{broker.prefix}.events",
        event_queue_prefix=f"{broker.prefix}.events",
        worker_prefetch_multiplier=1,
        # After a reconnect, Celery would set the prefetch count from a thread of its pool while the consumer sets it
        # too. One then reads the answer for the other, and the worker hangs until the broker closes the connection.
        worker_enable_prefetch_count_reduction=False,
        worker_redirect_stdouts=False,
        worker_hijack_root_logger=False,
        worker_enable_remote_control=scheme != "memory",
        worker_send_task_events=False,
    )


def _leave_logs_alone(**_: Any) -> None:
    """Do nothing: a connected receiver of this signal keeps Celery from configuring logging itself."""


def longest_task(settings: Settings) -> float:
    """Return the maximum seconds of a task: its loop, and the work that the loop has begun when it ends."""
    return longest_loop(settings) + max(
        settings.sync.progress_timeout, *(stage.deadline(settings) for stage in STAGES.values())
    )


def _scheme(url: str) -> str:
    scheme = url.partition("://")[0]
    if scheme not in SCHEMES:
        raise SettingsError(
            f"broker.url has an unknown scheme: {scheme[:20]!r}.",
            f"Use one of {', '.join(f'{one}://' for one in SCHEMES)}.",
        )
    return scheme


def _transport_options(settings: Settings) -> dict[str, Any]:
    scheme, visible = _scheme(settings.broker.url), settings.broker.visibility_timeout
    if scheme == "memory":
        # The default polls once a second, which allows four tasks a second. One poll of all queues costs 0.1 ms.
        return {"polling_interval": 0.02}
    if not scheme.startswith("redis"):
        return {}
    if visible <= longest_task(settings):
        raise SettingsError(
            f"A task may take {longest_task(settings):.0f} s, but Redis hands it to another worker after"
            f" broker.visibility_timeout = {visible:.0f} s.",
            "Raise broker.visibility_timeout, or lower work.time_slice or the stages' deadlines.",
        )
    # keepalive detects a connection whose other end disappeared silently, also in workers that only wait
    return {
        "visibility_timeout": visible,
        "socket_timeout": 30.0,
        "socket_connect_timeout": 5.0,
        "socket_keepalive": True,
    }


def _tls(settings: Settings) -> dict[str, Any] | None:
    """Return the TLS options of the broker's client; certificates are verified unless ``broker.verify`` is off.

    None means no TLS, or that the URL's query has the options (``rediss://...?ssl_cert_reqs=...``).
    """
    import ssl

    broker = settings.broker
    url = urlsplit(broker.url)
    if url.scheme not in ("rediss", "amqps") or any(name.startswith("ssl_") for name in parse_qs(url.query)):
        return None
    files = {"ca_certs": broker.ca_file, "certfile": broker.cert_file, "keyfile": broker.key_file}
    options: dict[str, Any] = {name: str(path) for name, path in files.items() if path is not None}
    options["cert_reqs"] = ssl.CERT_REQUIRED if broker.verify else ssl.CERT_NONE
    if url.scheme == "rediss":
        return {f"ssl_{name}": value for name, value in options.items()} | {"ssl_check_hostname": broker.verify}
    return options | ({"server_hostname": url.hostname} if broker.verify else {})


class Bell:
    """Rings stages through the broker. Never raises; never waits longer than :data:`PATIENCE`, twice.

    It counts rings in the tally's ``queue_messages``: ``sent``, ``skipped`` (an unheard bell is waiting) or ``failed``.
    """

    def __init__(self, app: Celery, tally: Tally | None = None) -> None:
        self._app = app
        self._tally = tally or Tally()
        self._inside = str(app.conf.broker_url).startswith("memory://")
        self._unheard: dict[str, float] = {}  # stage -> time.monotonic() when its bell was rung
        self._line: Line | None = None
        self._lock = threading.Lock()
        self._wanted: set[str] = set()
        self._ringing = False  # one thread at a time rings for all threads: it uses the line
        self._failures = 0
        self._quiet_until = 0.0

    def ring(self, stage: str) -> None:
        """Tell the workers that a stage has work. If no worker hears it, nothing is lost: maintenance rings again."""
        with self._lock:
            if time.monotonic() < self._quiet_until:
                return
            if self._inside and self._is_unheard(stage):
                self._count(stage, "skipped")
                return
            self._wanted.add(stage)
            if self._ringing:
                return  # the thread that is ringing will also ring this stage
            self._ringing = True
        try:
            while (wanted := self._next()) is not None:
                self._ring(wanted)
        except BaseException:  # for example an interrupt: the next caller rings itself
            with self._lock:
                self._ringing = False
            raise

    def heard(self, stage: str) -> None:
        """Record that a task of the stage has begun: work that is committed from now on needs a new bell."""
        with self._lock:
            self._unheard.pop(stage, None)

    def close(self) -> None:
        """Close the connection. A later ring opens it again."""
        with self._lock:
            line, self._line = self._line, None
        if line is not None:
            line.close()

    def _is_unheard(self, stage: str) -> bool:
        return time.monotonic() < self._unheard.get(stage, float("-inf")) + EXPIRES

    def _next(self) -> str | None:
        with self._lock:
            if not self._wanted:
                self._ringing = False  # under the lock, so that a thread that rings from now on sees it
                return None
            stage = self._wanted.pop()
            self._unheard[stage] = time.monotonic()
            return stage

    def _ring(self, stage: str) -> None:
        fresh = self._line is None
        try:
            try:
                self._send(stage)
            except Exception:
                self.close()
                if fresh:
                    raise
                self._send(stage)  # an idle connection may have been closed long ago: connect once more
            self._failures = 0
        except Exception as error:  # whatever the broker's client raises: the work is safe in the ledger
            self._be_quiet(stage, error)

    def _send(self, stage: str) -> None:
        if self._line is None:
            self._line = Line(self._app)
        empty = self._inside or self._line.waiting(stage) == 0
        if empty:
            self._line.send(stage)
        self._count(stage, "sent" if empty else "skipped")

    def _count(self, stage: str, outcome: str) -> None:
        self._tally.count("queue_messages", stage=stage, outcome=outcome)

    def _be_quiet(self, stage: str, error: Exception) -> None:
        self._count(stage, "failed")
        self.close()
        self.heard(stage)
        with self._lock:
            wait = min(QUIET * 2**self._failures, LONGEST_QUIET)
            self._failures += 1
            self._quiet_until = time.monotonic() + wait
            self._wanted.clear()
        if self._failures == 1:
            told = "Workers of %s could not be notified: %s: %s. Nothing is lost; the work starts at a later tick."
            log.warning(told, stage, type(error).__name__, str(error).rstrip("."))


class Line:
    """A connection for bells only, with short timeouts. Not thread-safe.

    Every method may raise an exception of the broker's client; after that the line can't be used any more.
    """

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._connection: Connection = app.connection_for_write(
            connect_timeout=PATIENCE, transport_options=_hasty(app.conf.broker_url)
        )
        self._connection.ensure_connection(max_retries=0)
        self._channel = self._connection.channel()
        self._producer = app.amqp.Producer(self._channel, auto_declare=False)
        self._queues: dict[str, Queue] = {}

    def waiting(self, stage: str) -> int:
        """Return the number of bells in the stage's queue that no worker has taken. Declares a missing queue."""
        if stage not in self._queues:
            self._queues[stage] = self._app.amqp.queues[stage].bind(self._channel)
            self._queues[stage].declare()
        return self._queues[stage].queue_declare().message_count

    def all_waiting(self) -> dict[str, int]:
        """Return that number for every queue."""
        return {name: self.waiting(name) for name in (*QUEUES, SEARCH)}

    def server(self) -> str:
        """Return the broker's name and version, as it reports them."""
        if self._connection.transport.driver_type == "amqp":
            about = self._connection.connection.server_properties
            return f"{about.get('product', 'AMQP')} {about.get('version', '')}".strip()
        if self._connection.transport.driver_type == "redis":
            return f"Redis {self._channel.client.info('server')['redis_version']}"
        return self._connection.transport.driver_type

    def send(self, stage: str) -> None:
        self._app.send_task(TASK, args=[stage], queue=stage, expiration=EXPIRES, producer=self._producer, retry=False)

    def close(self) -> None:
        try:
            # release() of AMQP waits for the broker's answer, which never arrives if the connection is broken
            goodbye = self._connection.transport.driver_type != "amqp"
            self._connection.release() if goodbye else self._connection.collect()
        except Exception as error:  # the connection is closed already
            log.debug("Hanging up: %s", error)


@contextmanager
def looking(settings: Settings) -> Iterator[Line]:
    """Open a line for reading the queues only. Raises the exceptions of the broker's client."""
    from celery import Celery

    with closing(Celery("semantik", set_as_current=False)) as app:
        configure(app, settings)
        with closing(Line(app)) as line:
            yield line


def _hasty(url: str) -> dict[str, Any]:
    """Return transport options that limit each call to :data:`PATIENCE` seconds."""
    if url.startswith("redis"):
        return {"socket_timeout": PATIENCE, "socket_connect_timeout": PATIENCE, "retry_on_timeout": False}
    if url.startswith("amqp"):
        return {"read_timeout": PATIENCE, "write_timeout": PATIENCE}
    return {}
