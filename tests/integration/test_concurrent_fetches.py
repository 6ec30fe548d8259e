"""Documents of one source are fetched several at a time where its connector allows it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from semantik_pipeline.documents import Complete, DocumentReference, IngestedDocument
from semantik_pipeline.errors import CredentialsRejected, ServiceUnavailable, SkipDocument
from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.pipeline import work_on
from semantik_pipeline.stages import fetching

TEXTS = {f"t{number:02}": f"text number {number}" for number in range(40)}

#: Seconds after which a test gives up waiting for fetches that should run at the same time.
PATIENCE = 20.0


class Fetches:
    """Replaces ``fetch`` of the fake connector. Counts the calls that are running, and lets each wait for company."""

    def __init__(self, pipeline: Any, monkeypatch: Any, *, concurrency: int, company: int = 1) -> None:
        self.running = self.most = self.started = 0
        self.company = company
        self.together = asyncio.Event()
        self.fail: set[str] = set()
        cls = pipeline.runtime.host.registry.get("fake-connector").cls
        whole = cls.fetch

        async def fetch(connector: Any, reference: DocumentReference) -> IngestedDocument:
            self.started += 1
            self.running += 1
            self.most = max(self.most, self.running)
            try:
                if self.running >= self.company:
                    self.together.set()
                await asyncio.wait_for(self.together.wait(), PATIENCE)
                await asyncio.sleep(0)  # let others begin
                if reference.unique_id in self.fail:
                    raise ServiceUnavailable("The source is away.")
                return await whole(connector, reference)
            finally:
                self.running -= 1

        monkeypatch.setattr(cls, "fetch", fetch)
        monkeypatch.setattr(cls, "FETCH_CONCURRENCY", concurrency)


def index(pipeline: Any, texts: dict[str, str] = TEXTS) -> dict[str, Any]:
    return pipeline.index(SourceRequest(connector="fake-connector", name="fake", config={"documents": texts}))


def test_as_many_run_together_as_the_connector_allows(make_pipeline, monkeypatch) -> None:
    pipeline = make_pipeline()
    fetches = Fetches(pipeline, monkeypatch, concurrency=4, company=4)
    assert index(pipeline)["outcome"] == "succeeded"
    assert fetches.most == 4 and fetches.started == len(TEXTS)
    assert set(pipeline.stages()) == set(TEXTS)


def test_one_at_a_time_by_default(make_pipeline, monkeypatch) -> None:
    pipeline = make_pipeline()
    fetches = Fetches(pipeline, monkeypatch, concurrency=1)
    assert index(pipeline)["outcome"] == "succeeded"
    assert fetches.most == 1 and fetches.started == len(TEXTS)


@pytest.mark.parametrize(("size", "most"), [(fetching.BYTES // 2, 2), (2 * fetching.BYTES, 1), (None, 4), (1, 4)])
def test_the_declared_sizes_of_what_is_fetched_together_are_limited(make_pipeline, monkeypatch, size, most) -> None:
    pipeline = make_pipeline()
    fetches = Fetches(pipeline, monkeypatch, concurrency=4, company=most)
    cls = pipeline.runtime.host.registry.get("fake-connector").cls

    async def enumerate_(connector: Any, cursor: Any = None) -> Any:
        for name in TEXTS:
            yield DocumentReference(name, size=size)
        yield Complete(full=True)

    monkeypatch.setattr(cls, "enumerate", enumerate_)
    assert index(pipeline)["outcome"] == "succeeded"
    assert fetches.most == most


def test_after_an_error_no_other_document_is_asked_for(make_pipeline, monkeypatch) -> None:
    """The first document is slow, and all others are refused: results come in order, but nobody waits for it."""
    pipeline = make_pipeline()
    fetches = Fetches(pipeline, monkeypatch, concurrency=4, company=5)
    cls = pipeline.runtime.host.registry.get("fake-connector").cls
    whole, refused, began = cls.fetch, [], asyncio.Event()

    async def fetch(connector: Any, reference: DocumentReference) -> IngestedDocument:
        if reference.unique_id == "t00":
            await asyncio.wait_for(began.wait(), PATIENCE)
            fetches.together.set()
            return await whole(connector, reference)
        refused.append(reference.unique_id)
        began.set()
        raise CredentialsRejected("The account is locked.")

    monkeypatch.setattr(cls, "fetch", fetch)
    assert index(pipeline)["outcome"] == "failed"
    assert 1 <= len(refused) <= 3, "those that ran beside the first"


def test_once_the_process_stops_no_other_document_is_asked_for(make_pipeline, monkeypatch) -> None:
    pipeline, other = make_pipeline(), make_pipeline()
    fetches = Fetches(pipeline, monkeypatch, concurrency=4, company=4)
    cls = pipeline.runtime.host.registry.get("fake-connector").cls
    whole = cls.fetch

    async def fetch(connector: Any, reference: DocumentReference) -> IngestedDocument:
        document = await whole(connector, reference)
        pipeline.runtime.stopping.set()
        return document

    monkeypatch.setattr(cls, "fetch", fetch)
    pipeline.index(SourceRequest(connector="fake-connector", name="fake", config={"documents": TEXTS}), run=False)
    work_on(pipeline.runtime, "sync")
    assert fetches.started == 4 and set(pipeline.stages()) == {"t00", "t01", "t02", "t03"}, "what was fetched is kept"
    monkeypatch.setattr(cls, "fetch", whole)
    other.run()
    assert set(other.stages().values()) == {"indexed"} and fetches.started == len(TEXTS)


@pytest.mark.parametrize("concurrency", [1, 4])
def test_documents_that_are_skipped_are_progress(make_pipeline, monkeypatch, concurrency) -> None:
    """Each takes a while: together they take longer than a lease may last without progress."""
    pipeline = make_pipeline(sync={"progress_timeout": 0.4})
    cls = pipeline.runtime.host.registry.get("fake-connector").cls

    async def fetch(connector: Any, reference: DocumentReference) -> IngestedDocument:
        await asyncio.sleep(0.05)
        raise SkipDocument("It has no text.")

    monkeypatch.setattr(cls, "fetch", fetch)
    monkeypatch.setattr(cls, "FETCH_CONCURRENCY", concurrency)
    assert index(pipeline)["outcome"] == "succeeded"
    assert set(pipeline.stages().values()) == {"skipped"}


def test_a_source_that_goes_away_ends_the_slice_after_what_is_in_progress(make_pipeline, monkeypatch) -> None:
    pipeline = make_pipeline()
    fetches = Fetches(pipeline, monkeypatch, concurrency=4, company=4)
    fetches.fail = {"t02"}
    pipeline.index(SourceRequest(connector="fake-connector", name="fake", config={"documents": TEXTS}), run=False)
    work_on(pipeline.runtime, "sync")
    assert fetches.running == 0, "nothing is fetched for a slice that has ended"
    assert fetches.started < 3 + 4, "those that ran beside it"
    assert pipeline.stages() == {}, "the batch was not written in part"
