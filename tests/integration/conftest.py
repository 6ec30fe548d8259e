"""A pipeline to test with: fakes as installed plugins, a runtime on a folder of its own, and a loop without Celery."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from semantik_pipeline import maintenance, operations, pipeline
from semantik_pipeline.ledger.operations import lifecycle as ledger_operations
from semantik_pipeline.ledger.tables import documents, sources, work
from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.runtime import Runtime
from semantik_pipeline.settings import load_settings
from semantik_pipeline.testing.hub_double import HubDouble
from semantik_pipeline.testing.tiny_models import write_tiny_embedder
from tests.shared_children import SharedChildren, SharingRuntime

#: A collection that needs no model: fakes behind the built-in parsers.
FAKE_COLLECTION: dict[str, Any] = {
    "embedding": {"plugin": "fake-embedder", "options": {}},
    "chunking": {"plugin": "recursive", "options": {"max_tokens": 40, "min_tokens": 1, "overlap_tokens": 0}},
    "extraction": {"enabled": False},
}


class Pipeline:
    """A runtime, and what tests do with it. ``run`` works on every due stage until nothing is due."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    def index(
        self, *sources: SourceRequest, config: dict[str, Any] | None = None, run: bool = True, **options: Any
    ) -> dict[str, Any]:
        """Sync sources; with ``run``, to the end. Returns the operation's result with its outcome and id."""
        options.setdefault("collection", "default")
        operation_id = operations.begin_sync(self.runtime, sources, config=config or FAKE_COLLECTION, **options)
        if run:
            self.run()
        return self.result(operation_id)

    def folder(self, path: Path, **options: Any) -> dict[str, Any]:
        return self.index(operations.folder_source(path), **options)

    def result(self, operation_id: int) -> dict[str, Any]:
        with self.runtime.ledger.read() as tx:
            progress = ledger_operations.progress(tx, operation_id)
        return {**(progress.result or {}), "outcome": progress.outcome, "id": operation_id}

    def run(self, *stages: str, rounds: int = 2000) -> None:
        """Work until nothing (of these stages) is due; waits that the ledger asks for are cut short."""
        for _ in range(rounds):
            self.hurry()
            due = [stage for stage in maintenance.ring_due(self.runtime) if not stages or stage in stages]
            for stage in due:
                pipeline.work_on(self.runtime, stage)
            if not due:
                return
        raise AssertionError(f"still due after {rounds} rounds: {maintenance.ring_due(self.runtime)}")

    def hurry(self) -> None:
        """Make what waits for a later time due now."""
        with self.runtime.ledger.write() as tx:
            tx.execute(update(work).values(not_before=0))
            tx.execute(update(sources).values(not_before=0))

    def unit(self, name: str) -> dict[str, Any]:
        """The ledger's row of a document, by the end of its name."""
        query = select(work, documents.c.unique_id).join(documents, documents.c.id == work.c.document_id)
        with self.runtime.ledger.read() as tx:
            rows = tx.execute(query.where(documents.c.unique_id.endswith(name))).mappings().all()
        assert len(rows) == 1, f"{len(rows)} documents end with {name}"
        return dict(rows[0])

    def stages(self) -> dict[str, str]:
        """Document name -> the stage where it is."""
        rows = operations.list_documents(self.runtime, collection=None, status=None)
        return {row["document"].rpartition("/")[2]: row["status"] for row in rows}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A module with ``LEDGERS = ("sqlite", "postgres")`` runs its pipelines on each."""
    ledgers = getattr(metafunc.module, "LEDGERS", None)
    if ledgers and "ledger" in metafunc.fixturenames:
        metafunc.parametrize("ledger", ledgers, indirect=True)


@pytest.fixture
def ledger(request: pytest.FixtureRequest) -> str | None:
    """The URL of the pipelines' ledger, its tables made; None is the data folder's SQLite file."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return None
    return request.getfixturevalue("ledger_url")


@pytest.fixture(scope="session")
def shared_children() -> Iterator[SharedChildren]:
    """The child processes of :func:`make_pipeline`'s runtimes, one test after the other."""
    shared = SharedChildren()
    yield shared
    shared.close()


@pytest.fixture
def make_pipeline(
    tmp_path: Path,
    installed_fakes: Path,
    ledger: str | None,
    fresh_ledger_file: Path,
    shared_children: SharedChildren,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[..., Pipeline]]:
    """``make_pipeline(plugins={id: options}, disabled=[...], **settings)``; several share folder and ledger."""
    monkeypatch.syspath_prepend(str(installed_fakes))
    before = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(installed_fakes), before])))
    monkeypatch.setenv("SEMANTIK_WORK_BACKOFF", "0")
    monkeypatch.setenv("SEMANTIK_RETENTION_TRASH_DAYS", "0")  # what is deleted is gone, but for the tests of the trash
    made: list[Runtime] = []

    def make(
        *, plugins: dict[str, Any] | None = None, disabled: tuple[str, ...] = (), folder: str = "data", **settings: Any
    ) -> Pipeline:
        data = tmp_path / folder
        data.mkdir(exist_ok=True)
        state = {"version": 1, "disabled_ids": list(disabled), "configs": plugins or {}}
        (data / "plugins.json").write_text(json.dumps(state))
        if ledger is None and not (data / "ledger.sqlite3").exists():
            shutil.copyfile(fresh_ledger_file, data / "ledger.sqlite3")
        runtime = SharingRuntime(load_settings(data_dir=data, database={"url": ledger}, **settings), shared_children)
        made.append(runtime)
        return Pipeline(runtime)

    yield make
    for runtime in made:
        runtime.close()


def texts(folder: Path, **contents: str) -> Path:
    """Write ``name=text`` as ``name.txt`` files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in contents.items():
        (folder / f"{name}.txt").write_text(text)
    return folder


@pytest.fixture
def hub(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubDouble]:
    """A hub with two commits of ``acme/tiny``; the client in this process asks no other."""
    from huggingface_hub import constants

    root = tmp_path_factory.mktemp("hub")
    commits = {str(seed) * 40: write_tiny_embedder(root / str(seed), seed=seed) for seed in (1, 2)}
    for folder in commits.values():
        (folder / "README.md").write_text("# for people", "utf-8")
        (folder / "pytorch_model.bin").write_bytes(b"a pickle")
        (folder / "onnx").mkdir()
        (folder / "onnx" / "model.onnx").write_bytes(b"another framework")
    found = HubDouble(name="acme/tiny", commits=commits, main="1" * 40)
    with found.serving() as url:
        monkeypatch.setattr(constants, "ENDPOINT", url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield found
