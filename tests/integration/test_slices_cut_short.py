"""A sync whose process is about to end: it fetches no more, keeps what is fetched, and does not blame the source."""

from __future__ import annotations

import logging
import os
from typing import Any

import pytest
from celery import Celery
from sqlalchemy import select, update

from semantik_pipeline.contracts import ConnectorPlugin
from semantik_pipeline.documents import Checkpoint, IngestedDocument, content_hash
from semantik_pipeline.errors import StorageUnavailable, TransientError
from semantik_pipeline.ledger.ingestion import sync
from semantik_pipeline.ledger.queue import expired_leases
from semantik_pipeline.ledger.queue.renewals import Renewal
from semantik_pipeline.ledger.tables import sources
from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.pipeline import work_on
from semantik_pipeline.stages import sync as sync_stage
from workers.profiles import PROFILES
from workers.startup import WorkerProcess

LEDGERS = ("sqlite", "postgres")

TEXTS = {f"t{number}": f"text number {number}" for number in range(6)}


def begun(pipeline, **options: Any) -> int:
    request = SourceRequest(connector="fake-connector", name="fake", config={"documents": TEXTS, **options})
    return pipeline.index(request, run=False)["id"]


def source(pipeline) -> Any:
    with pipeline.runtime.ledger.read() as tx:
        return tx.execute(select(sources)).mappings().one()


def connector(pipeline) -> Any:
    return pipeline.runtime.host.registry.get("fake-connector").cls


@pytest.mark.parametrize("ends", ["stopping", "resting"])
def test_fetching_ends_with_the_process_and_another_goes_on_with_what_is_kept(make_pipeline, monkeypatch, ends) -> None:
    pipeline, other = make_pipeline(), make_pipeline()
    operation_id, fetched, rung = begun(pipeline, checkpoint_every=6), [], []
    pipeline.runtime.ring = rung.append
    whole = connector(pipeline).fetch

    async def fetch(self: Any, reference: Any) -> IngestedDocument:
        fetched.append(reference.unique_id)
        if len(fetched) == 2:
            getattr(pipeline.runtime, ends).set()
        return await whole(self, reference)

    monkeypatch.setattr(connector(pipeline), "fetch", fetch)
    work_on(pipeline.runtime, "sync")
    assert rung.count("sync") == 1, "or others would hear of the source with the next tick"
    row = source(pipeline)
    assert (row["lease_token"], row["suspect"], row["attempts"]) == (None, False, 0)
    assert set(pipeline.stages()) == {"t0", "t1"}
    assert "after" not in str(row["cursor"]), "no checkpoint is passed whose documents are not here"
    other.run()
    assert fetched == list(TEXTS), "each once"
    assert pipeline.result(operation_id)["outcome"] == "succeeded"


def test_a_connector_that_only_loads_documents_is_left_between_two(make_pipeline, monkeypatch) -> None:
    pipeline = make_pipeline()
    operation_id, loaded = begun(pipeline), []

    async def load_documents(self: Any, source_id: Any = None) -> Any:
        for name, text in TEXTS.items():
            loaded.append(name)
            if loaded == ["t0", "t1", "t2"]:
                pipeline.runtime.stopping.set()
            yield IngestedDocument(text, name, "fake", {}, content_hash(text), media_type="text/plain")

    monkeypatch.setattr(connector(pipeline), "enumerate", ConnectorPlugin.enumerate)
    monkeypatch.setattr(connector(pipeline), "load_documents", load_documents)
    work_on(pipeline.runtime, "sync")
    assert set(pipeline.stages()) == {"t0", "t1", "t2"}
    row = source(pipeline)
    assert (row["lease_token"], row["suspect"], row["attempts"]) == (None, False, 0)
    assert row["operation_id"] == operation_id, "it is not taken for a full enumeration"
    pipeline.runtime.stopping.clear()
    pipeline.run()
    assert set(pipeline.stages()) == set(TEXTS)
    assert pipeline.result(operation_id)["outcome"] == "succeeded"


def test_a_source_in_hand_is_given_back_unsuspected(make_pipeline, monkeypatch) -> None:
    pipeline = make_pipeline()
    begun(pipeline)
    runtime = pipeline.runtime
    with runtime.ledger.write() as tx:
        claim = sync.claim_source(tx, worker="w", lease=60)
    process = WorkerProcess(Celery("test", set_as_current=False), runtime.settings, "all", PROFILES["all"])
    monkeypatch.setattr(process, "runtime", runtime)
    monkeypatch.setattr(logging, "shutdown", lambda: None)
    monkeypatch.setattr(os, "_exit", lambda code: None)
    with runtime.keeper.holding(claim.token, lambda: Renewal(held=1, prolonged=1), 60):
        process._give_back()
    with runtime.ledger.write() as tx:
        assert not sync.source_held(tx, claim), "what this process still writes is fenced"
        assert expired_leases.expire_sources(tx, max_attempts=3, everything=True) == 0
        assert sync.sources_due(tx) == (True, False)
    pipeline.run()
    assert set(pipeline.stages().values()) == {"indexed"}


def test_a_source_that_brings_something_in_each_slice_is_never_given_up(make_pipeline) -> None:
    """A limited site answers so many requests and then no more for a while, however often."""
    pipeline = make_pipeline(work={"max_attempts": 2, "backoff": 0})
    operation_id = begun(pipeline, checkpoint_every=1, fail_after=1)
    for brought in range(1, 7):
        work_on(pipeline.runtime, "sync")
        assert len(pipeline.stages()) == brought
        with pipeline.runtime.ledger.write() as tx:
            tx.execute(update(sources).values(not_before=0))
    pipeline.run()
    assert pipeline.result(operation_id)["outcome"] == "succeeded"


def test_the_same_checkpoint_again_is_no_progress(make_pipeline, monkeypatch) -> None:
    pipeline = make_pipeline(work={"max_attempts": 3, "backoff": 0})

    async def enumerate(self: Any, cursor: Any = None) -> Any:
        yield Checkpoint({"after": "t2"})
        raise TransientError("The site does not answer.")

    monkeypatch.setattr(connector(pipeline), "enumerate", enumerate)
    operation_id = begun(pipeline)
    for _ in range(4):
        work_on(pipeline.runtime, "sync")
        with pipeline.runtime.ledger.write() as tx:
            tx.execute(update(sources).values(not_before=0))
    assert pipeline.result(operation_id)["outcome"] == "failed"


def test_what_is_skipped_in_each_slice_is_no_progress(make_pipeline) -> None:
    """Without a hint it comes again each time."""
    pipeline = make_pipeline(work={"max_attempts": 3, "backoff": 0}, sync={"batch_size": 1})
    operation_id = begun(pipeline, fail_after=1, hints=False, fail_fetch={"t0": "skip"})
    for _ in range(6):
        work_on(pipeline.runtime, "sync")
        with pipeline.runtime.ledger.write() as tx:
            tx.execute(update(sources).values(not_before=0))
    assert pipeline.result(operation_id)["outcome"] == "failed"


def test_a_slice_that_ended_while_the_ledger_was_away_leaves_no_lease_behind(make_pipeline, monkeypatch) -> None:
    pipeline = make_pipeline(work={"lease_renewal": 60})
    begun(pipeline, fail_after=1)

    def away(*_: Any) -> None:
        raise StorageUnavailable("The ledger does not answer.")

    with monkeypatch.context() as blip:
        blip.setattr(sync_stage, "fail_slice", away)
        with pytest.raises(StorageUnavailable):
            work_on(pipeline.runtime, "sync")
    row = source(pipeline)
    assert pipeline.runtime.keeper.tokens() == [row["lease_token"]]
    pipeline.runtime.close()  # the last chance to give it back
    row = source(make_pipeline())
    assert (row["lease_token"], row["suspect"], row["attempts"]) == (None, False, 0)
