"""What tests of several kinds share: the fakes as an installed package, and servers that a laptop may lack."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, exc, make_url, text

#: Where tests look for PostgreSQL unless SEMANTIK_TEST_DATABASE_URL says otherwise.
LOCAL_POSTGRES = "postgresql://postgres@127.0.0.1:5432/postgres"


#: Classes of ``semantik_pipeline.testing``; the plugin of FakeParser is ``fake-parser``.
FAKES = ("Connector", "Parser", "Chunker", "Extractor", "Embedder", "Reranker")


@pytest.fixture(scope="session")
def installed_fakes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that, on the path, is an installed package with the fakes, found as any stranger's plugins are."""
    folder = tmp_path_factory.mktemp("fakes")
    info = folder / "semantik_fakes-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: semantik-fakes\nVersion: 1.0\n")
    lines = [f"fake-{name.lower()} = semantik_pipeline.testing:Fake{name}" for name in FAKES]
    (info / "entry_points.txt").write_text("\n".join(["[semantik.plugins]", *lines, ""]))
    return folder


def missing_server(reason: str, way_out: str) -> None:
    """Skip with the reason; fail where CI is set, so that a server that went away is noticed."""
    message = f"{reason} {way_out}"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture
def no_server() -> Callable[[str, str], None]:
    """``no_server(reason, way_out)`` is :func:`missing_server`, for fixtures of other modules."""
    return missing_server


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """A database of the test's own on a PostgreSQL server, dropped afterwards."""
    server = make_url(os.environ.get("SEMANTIK_TEST_DATABASE_URL", LOCAL_POSTGRES)).set(drivername="postgresql+psycopg")
    name = f"semantik_test_{uuid.uuid4().hex}"
    engine = create_engine(server, isolation_level="AUTOCOMMIT", connect_args={"connect_timeout": 3})
    try:
        with engine.connect() as connection:
            connection.execute(text(f"create database {name}"))
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


class Repository:
    """A bare Git repository that a test commits to."""

    def __init__(self, path: Path) -> None:
        from dulwich.repo import Repo

        self.path = path
        self.repo = Repo.init_bare(str(path), mkdir=True, default_branch=b"main")
        self.entries: dict[bytes, tuple[int, bytes]] = {}

    def commit(self, changes: dict[str, str | bytes | None], *, mode: int = 0o100644, branch: str = "main") -> str:
        """Write these files (None: delete it), as entries of this mode; a submodule's content is its commit's id."""
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
    """A Git repository with nothing in it yet."""
    made = Repository(tmp_path / "repository.git")
    yield made
    made.repo.close()
