"""Bells over real brokers: the same tests for Redis and RabbitMQ, through a gate that can be shut."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import pickle
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from semantik_pipeline import queue
from semantik_pipeline.errors import ServiceUnavailable, UsageError
from semantik_pipeline.search import SearchQuery
from semantik_pipeline.settings import Settings, load_settings
from workers import remote_search

BROKERS = {
    "redis": os.environ.get("SEMANTIK_TEST_REDIS_URL", "redis://127.0.0.1:6379/9"),
    "rabbitmq": os.environ.get("SEMANTIK_TEST_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672//"),
}

WORKER = """
import logging
from celery import Celery
from semantik_pipeline import queue
from semantik_pipeline.settings import load_settings
logging.basicConfig(level="CRITICAL")
app = Celery("semantik", set_as_current=False)
queue.configure(app, load_settings())
@app.task(name=queue.TASK)
def work(stage):
    print("heard", stage, flush=True)
app.Worker(pool="threads", concurrency=1, queues=["chunk"], loglevel="CRITICAL", quiet=True,
           without_gossip=True, without_mingle=True).start()
"""


#: Answers a search with the query's own text, and complains where that is a number divisible by seven.
ANSWERER = """
from celery import Celery
from semantik_pipeline import queue
from semantik_pipeline.settings import load_settings
app = Celery("semantik", set_as_current=False)
queue.configure(app, load_settings())
@app.task(name=queue.SEARCH_TASK, ignore_result=False)
def search(asked):
    if int(asked["text"]) % 7 == 0:
        return {"error": {"type": "UsageError", "message": asked["text"], "hint": None}}
    return {"answer": {"hits": [], "reranked": False, "timings_ms": {}, "warnings": [asked["text"]]}}
app.Worker(pool="threads", concurrency=2, queues=["search"], loglevel="CRITICAL", quiet=True,
           without_gossip=True, without_mingle=True).start()
"""


class Gate:
    """A forwarder on the loopback in front of a server; shut, it refuses connections and cuts those there are.

    With ``tls`` (a server's context) it speaks TLS to the outside.
    """

    def __init__(self, target: tuple[str, int], tls: ssl.SSLContext | None = None) -> None:
        self._target, self._tls = target, tls
        self._listener: socket.socket | None = None
        self._open: list[socket.socket] = []
        self.port = 0
        self.open()

    def open(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def shut(self) -> None:
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        while self._open:
            one = self._open.pop()
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self._tls is not None:
                client = self._tls.wrap_socket(client, server_side=True)
            server = socket.create_connection(self._target, 5)
            server.settimeout(None)
            self._open += [client, server]
            threading.Thread(target=_pump, args=(server, client), daemon=True).start()
            _pump(client, server)


def _pump(one: socket.socket, other: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := one.recv(65536):
            other.sendall(data)
    with contextlib.suppress(OSError):
        other.shutdown(socket.SHUT_RDWR)


@pytest.fixture(params=BROKERS)
def broker(request: pytest.FixtureRequest, no_server: Callable[[str, str], None]) -> str:
    url = BROKERS[request.param]
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 0), 3).close()
    except OSError as error:
        no_server(
            f"No {request.param} at {parts.hostname}:{parts.port}: {error}.",
            f"Start one, or give its URL in SEMANTIK_TEST_{request.param.upper()}_URL.",
        )
    return url


Make = Callable[..., Settings]


@pytest.fixture
def settings_for(tmp_path: Path, broker: str) -> Iterator[Make]:
    """``settings_for(url)``: settings of a fleet with queues of its own, which are removed afterwards."""
    prefix = f"semantik-test-{uuid.uuid4().hex[:12]}"

    def make(url: str = broker, **options: Any) -> Settings:
        return load_settings(data_dir=tmp_path, broker={"url": url, "prefix": prefix, **options})

    yield make
    app = make_app(make())
    with app.connection_for_write() as connection:
        channel = connection.default_channel
        for name in (*queue.QUEUES, "search"):
            channel.queue_delete(f"{prefix}.{name}")
            if broker.startswith("redis"):
                channel.client.delete(f"{prefix}.{name}")
        for exchange in (prefix, f"{prefix}.control.pidbox", f"reply.{prefix}.control.pidbox", f"{prefix}.events"):
            channel.exchange_delete(exchange)
            if broker.startswith("redis"):
                channel.client.delete(f"_kombu.binding.{exchange}", f"_kombu.binding_permanent.{exchange}")


def make_app(settings: Settings) -> Any:
    from celery import Celery

    app = Celery("semantik", set_as_current=False)
    queue.configure(app, settings)
    return app


def through(gate: Gate, url: str) -> str:
    parts = urlsplit(url)
    return url.replace(f"{parts.hostname}:{parts.port}", f"127.0.0.1:{gate.port}")


def target_of(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "127.0.0.1", parts.port or 0


def waiting(settings: Settings, stage: str) -> int:
    line = queue.Line(make_app(settings))
    try:
        return line.waiting(stage)
    finally:
        line.close()


def eventually(condition: Callable[[], bool], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


@contextlib.contextmanager
def told_by_worker(settings: Settings, heard: Path) -> Iterator[None]:
    """A worker in a process of its own, that writes down what it hears, and what it has to say."""
    environment = {
        **os.environ,
        "SEMANTIK_BROKER_URL": settings.broker.url,
        "SEMANTIK_BROKER_PREFIX": settings.broker.prefix,
    }
    with heard.open("w") as output:
        worker = subprocess.Popen(
            [sys.executable, "-c", WORKER], stdout=output, stderr=subprocess.STDOUT, env=environment
        )
    try:
        yield
    finally:
        worker.terminate()
        try:
            worker.wait(10)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()


def test_a_queue_that_nobody_answers_does_not_grow(settings_for: Make) -> None:
    """Many processes ring, none hears; each would ring once a minute forever if only itself held it back."""
    settings = settings_for()
    bells = [queue.Bell(make_app(settings)) for _ in range(6)]

    def ring(bell: queue.Bell) -> None:
        for _ in range(50):
            bell.ring("embed")
            bell.heard("embed")

    threads = [threading.Thread(target=ring, args=(bell,)) for bell in bells]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    try:
        for bell in bells:
            bell.ring("chunk")
            assert eventually(lambda: waiting(settings, "chunk") == 1, 3)
        assert 1 <= waiting(settings, "embed") <= 2 * len(bells)
    finally:
        for bell in bells:
            bell.close()


def test_a_bell_is_json_and_carries_no_time_of_day(settings_for: Make) -> None:
    settings = settings_for()
    bell = queue.Bell(make_app(settings))
    bell.ring("upsert")
    bell.close()
    app = make_app(settings)
    with app.connection_for_read() as connection:
        taken = app.amqp.queues["upsert"].bind(connection.default_channel).get(no_ack=True)
    assert taken is not None
    assert taken.content_type == "application/json"
    body = taken.body.decode() if isinstance(taken.body, bytes) else taken.body
    assert json.loads(body)[0] == ["upsert"]
    assert taken.headers["task"] == queue.TASK
    assert taken.headers["expires"] is None, "a worker whose clock is ahead would drop it"


class Planted:
    """Its unpickling makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_pickled_message_is_dropped_unread_and_the_worker_goes_on(settings_for: Make, tmp_path: Path) -> None:
    """In both of Celery's forms: one is decoded where it is received, the other in the thread that would work on it."""
    settings, made, heard = settings_for(), tmp_path / "made", tmp_path / "heard"
    old = {"task": queue.TASK, "id": str(uuid.uuid4()), "args": ["chunk"], "kwargs": {"planted": Planted(made)}}
    new = (["chunk"], {"planted": Planted(made)}, {})
    app, bell = make_app(settings), queue.Bell(make_app(settings))
    with app.connection_for_write() as connection:
        bound = app.amqp.queues["chunk"].bind(connection.default_channel)
        bound.declare()
        for body, headers in ((old, {}), (new, {"task": queue.TASK, "id": str(uuid.uuid4()), "lang": "py"})):
            app.amqp.Producer(connection).publish(
                pickle.dumps(body),
                exchange=bound.exchange,
                routing_key=bound.routing_key,
                content_type="application/x-python-serialize",
                content_encoding="binary",
                headers=headers,
            )
        assert eventually(lambda: bound.queue_declare().message_count == 2, 5)
    with told_by_worker(settings, heard):
        assert eventually(lambda: waiting(settings, "chunk") == 0, 30)
        bell.ring("chunk")
        assert eventually(lambda: "heard chunk" in heard.read_text(), 10)
    bell.close()
    assert heard.read_text().count("heard chunk") == 1, "of the bell alone"
    assert "ContentDisallowed" in heard.read_text()
    assert not made.exists()
    assert waiting(settings, "chunk") == 0, "an ending worker gives back what it has not acknowledged"
    pickle.loads(pickle.dumps(new))
    assert made.exists(), "it is as bad as it looks"


def test_a_search_is_asked_for_without_a_time_of_day(settings_for: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMANTIK_SEARCH_WORKER_TIMEOUT", "1")
    settings = settings_for()
    failed: list[Exception] = []

    def ask() -> None:
        try:
            remote_search.ask(settings, SearchQuery(text="leases"))
        except Exception as error:
            failed.append(error)

    app, taken = make_app(settings), []
    asker = threading.Thread(target=ask)
    with app.connection_for_read() as connection:
        requests = app.amqp.queues["search"].bind(connection.default_channel)
        requests.declare()
        asker.start()
        assert eventually(lambda: bool(taken.append(requests.get(no_ack=True)) or taken[-1]), 5)
    asker.join(10)
    assert taken[-1].headers["task"] == queue.SEARCH_TASK
    assert taken[-1].headers["expires"] is None
    assert [type(error).__name__ for error in failed] == ["ServiceUnavailable"]


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_broker_that_is_away_answers_no_search_and_soon(scheme: str, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens there
        url = f"{scheme}://127.0.0.1:{taken.getsockname()[1]}"
        settings = load_settings(data_dir=tmp_path, broker={"url": url}, search={"worker_timeout": 1})
        began = time.monotonic()
        with pytest.raises(ServiceUnavailable, match="refused"):
            remote_search.ask(settings, SearchQuery(text="leases"))
        assert time.monotonic() - began < 5


def test_searches_of_many_threads_get_each_its_own_answer(settings_for: Make, tmp_path: Path) -> None:
    shared: dict[str, Any] = {
        "database": {"url": "postgresql://nobody@127.0.0.1/x"},
        "qdrant": {"url": "http://127.0.0.1"},
    }
    settings = load_settings(
        broker=settings_for().broker, data_dir=tmp_path, search={"execution": "workers", "worker_timeout": 20}, **shared
    )
    environment = {"SEMANTIK_BROKER_URL": settings.broker.url, "SEMANTIK_BROKER_PREFIX": settings.broker.prefix}
    worker = subprocess.Popen([sys.executable, "-c", ANSWERER], env={**os.environ, **environment})
    searching = remote_search.Searching(SimpleNamespace(settings=settings))  # type: ignore[arg-type]

    def ask(number: int) -> str:
        try:
            return searching(SearchQuery(text=str(number))).warnings[0]
        except UsageError as error:
            return f"refused {error.message}"

    try:
        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(ask, range(1, 41)))
    finally:
        worker.terminate()
        worker.wait(20)
        searching.close()
    assert answers == [f"refused {number}" if number % 7 == 0 else str(number) for number in range(1, 41)]
    assert len(searching._apps) < 20, "a connection for each thread, not for each question"


def test_who_waits_for_a_turn_to_ask_waits_no_longer_than_others(
    settings_for: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_search, "ASKERS", 2)
    settings = load_settings(
        broker=settings_for().broker, data_dir=tmp_path, search={"execution": "workers", "worker_timeout": 1},
        database={"url": "postgresql://nobody@127.0.0.1/x"}, qdrant={"url": "http://127.0.0.1"},
    )  # fmt: skip
    searching = remote_search.Searching(SimpleNamespace(settings=settings))  # type: ignore[arg-type]

    def waited(number: int) -> float:
        began = time.monotonic()
        with pytest.raises(ServiceUnavailable, match="within 1 s"):
            searching(SearchQuery(text=str(number)))
        return time.monotonic() - began

    try:
        with ThreadPoolExecutor(8) as threads:
            assert max(threads.map(waited, range(8))) < 3, "in turns, the last would wait for 4 s"
    finally:
        searching.close()


def test_fleets_with_other_prefixes_hear_nothing(settings_for: Make) -> None:
    mine, theirs = settings_for(), settings_for(prefix=f"semantik-test-{uuid.uuid4().hex[:12]}")
    bell = queue.Bell(make_app(mine))
    bell.ring("sync")
    bell.close()
    line = queue.Line(make_app(theirs))
    try:
        assert line.waiting("sync") == 0
    finally:
        line._channel.queue_delete(f"{theirs.broker.prefix}.sync")
        line._channel.exchange_delete(theirs.broker.prefix)
        line.close()
    assert eventually(lambda: waiting(mine, "sync") == 1, 3)


def test_the_broker_goes_away_and_comes_back(settings_for: Make, broker: str, tmp_path: Path) -> None:
    """The worker connects again by itself; who rings meanwhile is neither stopped nor held up."""
    gate = Gate(target_of(broker))
    settings = settings_for(through(gate, broker))
    bell = queue.Bell(make_app(settings))
    heard = tmp_path / "heard"
    with told_by_worker(settings, heard):

        def hears(seconds: float) -> bool:
            before = heard.read_text().count("heard chunk")
            bell.ring("chunk")
            return eventually(lambda: heard.read_text().count("heard chunk") > before, seconds)

        assert hears(30)
        gate.shut()
        start = time.monotonic()
        for _ in range(1000):
            bell.ring("chunk")
        assert time.monotonic() - start < 3
        time.sleep(1)
        gate.open()
        assert eventually(lambda: hears(1), 30)
    bell.close()
    gate.shut()


def test_a_broker_that_takes_calls_but_never_answers(settings_for: Make, broker: str, caplog: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        parts = urlsplit(broker)
        settings = settings_for(broker.replace(f":{parts.port}", f":{port}"))
        bell = queue.Bell(make_app(settings))
        start = time.monotonic()
        bell.ring("chunk")
        assert time.monotonic() - start < 3 * queue.PATIENCE
        silent.setblocking(False)
        called: list[socket.socket] = []
        with contextlib.suppress(BlockingIOError):
            while True:
                called.append(silent.accept()[0])
        assert called
        for _ in range(2):  # it is left alone for a while
            bell.ring("chunk")
            with pytest.raises(BlockingIOError):
                silent.accept()
        for one in called:
            one.close()
    assert "could not be notified" in caplog.text


def test_a_wrong_password_is_not_shown(settings_for: Make, broker: str, caplog: Any) -> None:
    parts = urlsplit(broker)
    wrong = broker.replace(parts.netloc, f"nobody:{quote('p@ss/w:rd')}@{parts.hostname}:{parts.port}")
    bell = queue.Bell(make_app(settings_for(wrong)))
    bell.ring("chunk")
    assert "could not be notified" in caplog.text
    assert "p@ss" not in caplog.text
    assert quote("p@ss/w:rd") not in caplog.text


#: What URLs mean something by, what is not ASCII, and what looks as if it were quoted already.
ODD_PASSWORD = "+p@ss/w:rd%41 grün?#&"


@contextlib.contextmanager
def redis_user(url: str, name: str, password: str) -> Iterator[None]:
    import redis

    server = redis.Redis.from_url(url)
    server.acl_setuser(name, enabled=True, passwords=[f"+{password}"], keys=["*"], categories=["+@all"])
    try:
        yield
    finally:
        server.acl_deluser(name)
        server.close()


@contextlib.contextmanager
def rabbitmq_user(url: str, name: str, password: str) -> Iterator[None]:
    """Made by the server's own tool, which reaches servers of this machine alone."""
    tool = shutil.which("rabbitmqctl")
    if tool is None or urlsplit(url).hostname not in ("127.0.0.1", "localhost"):
        pytest.skip("RabbitMQ's users are made by rabbitmqctl, on the server's own machine")
    salt = os.urandom(4)
    digest = base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()
    hashed = {"password_hash": digest, "hashing_algorithm": "rabbit_password_hashing_sha256"}
    may = dict.fromkeys(("configure", "write", "read"), ".*")
    wanted = {
        "users": [{"name": name, "tags": "", **hashed}],
        "permissions": [{"user": name, "vhost": "/", **may}],
    }
    told = json.dumps(wanted)
    made = subprocess.run([tool, "-q", "import_definitions"], input=told, capture_output=True, text=True, timeout=60)
    if made.returncode:
        pytest.skip(f"rabbitmqctl does not reach the server: {made.stderr or made.stdout}")
    try:
        yield
    finally:
        subprocess.run([tool, "-q", "delete_user", name], capture_output=True, timeout=60, check=True)


def test_a_right_password_with_odd_characters(settings_for: Make, broker: str) -> None:
    name = f"semantik-test-{uuid.uuid4().hex[:8]}"
    parts = urlsplit(broker)
    user = redis_user if parts.scheme == "redis" else rabbitmq_user
    with user(broker, name, ODD_PASSWORD):

        def with_password(password: str) -> Settings:
            there = f"{parts.hostname}:{parts.port}"
            return settings_for(broker.replace(parts.netloc, f"{name}:{quote(password, safe='')}@{there}"))

        right = with_password(ODD_PASSWORD)
        assert waiting(right, "chunk") == 0
        if parts.scheme == "redis":  # its replies to searches are read by another client than its messages
            assert make_app(right).backend.client.ping()
        with pytest.raises(Exception, match=r"(?i)auth|refused|invalid username"):
            waiting(with_password("another"), "chunk")


def test_tls_is_checked(settings_for: Make, broker: str, tmp_path: Path, caplog: Any) -> None:
    import trustme

    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    gate = Gate(target_of(broker), context)
    try:
        parts = urlsplit(broker)
        url = broker.replace(f"{parts.hostname}:{parts.port}", f"localhost:{gate.port}")
        url = url.replace(parts.scheme, f"{parts.scheme}s", 1)
        assert waiting(settings_for(url, ca_file=tmp_path / "ca.pem"), "chunk") == 0
        assert waiting(settings_for(url, verify=False), "chunk") == 0
        for refused in (
            settings_for(url),
            settings_for(url.replace("localhost", "127.0.0.1"), ca_file=tmp_path / "ca.pem"),
        ):
            caplog.clear()
            bell = queue.Bell(make_app(refused))
            bell.ring("chunk")
            assert "certificate" in caplog.text.lower()
    finally:
        gate.shut()
