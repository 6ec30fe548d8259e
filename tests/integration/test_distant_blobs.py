"""Bodies in a bucket: every read and write is a round trip, so each stage has many of them in progress."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from semantik_pipeline.contracts import ConnectorPlugin
from semantik_pipeline.documents import IngestedDocument, content_hash
from semantik_pipeline.errors import StorageUnavailable
from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.pipeline import work_on
from semantik_pipeline.stages import bodies
from tests.integration.conftest import FAKE_COLLECTION

TEXTS = {f"t{number:02}": f"Anna met Ben in room {number}." for number in range(24)}

#: Calls that should be in progress together, and seconds after which the first of them gives up waiting for the others.
TOGETHER, PATIENCE = 4, 20.0

EXTRACTION = {"chunk": [], "document": [{"plugin": "fake-extractor", "options": {}}]}


class Distant(MemoryFileSystem):
    """A store in memory. The first calls of each kind end when ``TOGETHER`` of them are in progress."""

    protocol = ("memory", "distant")
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    cachable = False

    lock = threading.Lock()
    running: ClassVar[Counter[str]] = Counter()
    most: ClassVar[Counter[str]] = Counter()
    together: ClassVar[dict[str, threading.Event]] = {}
    broken: ClassVar[set[str]] = set()

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: Any) -> bytes:
        return self._waiting("read", path, lambda: super(Distant, self).cat_file(path, start, end, **options))

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: Any) -> Any:
        return self._waiting("write", path, lambda: super(Distant, self).pipe_file(path, value, mode, **options))

    def _waiting(self, kind: str, path: str, call: Any) -> Any:
        if any(word in path for word in self.broken):
            raise ConnectionError("no answer")
        what = f"{kind} {'raw' if '/raw/' in path else 'parsed'}"
        with self.lock:
            self.running[what] += 1
            self.most[what] = max(self.most[what], self.running[what])
            event = self.together.setdefault(what, threading.Event())
            if self.running[what] >= TOGETHER:
                event.set()
        try:
            event.wait(PATIENCE)
            return call()
        finally:
            with self.lock:
                self.running[what] -= 1


@pytest.fixture
def distant(monkeypatch: pytest.MonkeyPatch) -> type[Distant]:
    fsspec.register_implementation("distant", Distant, clobber=True)
    for kept in (Distant.store, Distant.running, Distant.most, Distant.together, Distant.broken):
        kept.clear()
    return Distant


def begun(make_pipeline: Any) -> Any:
    pipeline = make_pipeline(blob={"url": "distant://bucket/bodies"})
    source = SourceRequest(connector="fake-connector", name="fake", config={"documents": TEXTS})
    pipeline.index(source, config={**FAKE_COLLECTION, "extraction": EXTRACTION}, run=False)
    return pipeline


def test_each_stage_has_several_bodies_in_progress(make_pipeline, distant) -> None:
    pipeline = begun(make_pipeline)
    work_on(pipeline.runtime, "sync")
    assert distant.most["write raw"] >= TOGETHER
    work_on(pipeline.runtime, "chunk")
    assert distant.most["read raw"] >= TOGETHER and distant.most["write parsed"] >= TOGETHER
    distant.most.clear()
    distant.together.clear()
    work_on(pipeline.runtime, "extract")
    assert distant.most["read parsed"] >= TOGETHER
    pipeline.run()
    assert set(pipeline.stages().values()) == {"indexed"} and len(pipeline.stages()) == len(TEXTS)


@pytest.mark.parametrize("unstored", [bodies.UNSTORED, 100], ids=["together", "by size"])
def test_bodies_of_loaded_documents_are_stored_together(make_pipeline, distant, monkeypatch, unstored) -> None:
    """A connector that only loads documents brings each with its body."""
    monkeypatch.setattr(bodies, "UNSTORED", unstored)
    pipeline = begun(make_pipeline)
    cls = pipeline.runtime.host.registry.get("fake-connector").cls

    async def load_documents(connector: Any, source_id: Any = None) -> Any:
        for name, text in TEXTS.items():
            yield IngestedDocument(text, name, "fake", {}, content_hash(text), media_type="text/plain")

    monkeypatch.setattr(cls, "enumerate", ConnectorPlugin.enumerate)
    monkeypatch.setattr(cls, "load_documents", load_documents)
    work_on(pipeline.runtime, "sync")
    assert distant.most["write raw"] >= TOGETHER
    pipeline.run()
    assert set(pipeline.stages().values()) == {"indexed"} and len(pipeline.stages()) == len(TEXTS)


def test_bodies_are_read_ahead_by_their_size(make_pipeline, distant, monkeypatch) -> None:
    monkeypatch.setattr(bodies, "READ_AHEAD", 1)  # each document is larger
    for what in ("read raw", "read parsed"):  # none waits for others
        distant.together.setdefault(what, threading.Event()).set()
    pipeline = begun(make_pipeline)
    pipeline.run()
    assert distant.most["read raw"] == 1
    assert set(pipeline.stages().values()) == {"indexed"}


def test_bodies_that_can_not_be_written_cost_no_document_an_attempt(make_pipeline, distant) -> None:
    pipeline = begun(make_pipeline)
    work_on(pipeline.runtime, "sync")
    distant.broken.add("/parsed/")
    work_on(pipeline.runtime, "chunk")
    assert set(pipeline.stages().values()) == {"chunk"}
    assert {pipeline.unit(name)["attempts"] for name in TEXTS} == {0}
    with pytest.raises(StorageUnavailable):
        pipeline.runtime.blobs.get_parsed("ab" * 32)
    distant.broken.clear()
    pipeline.run()
    assert set(pipeline.stages().values()) == {"indexed"}
