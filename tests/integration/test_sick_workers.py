"""A worker that is broken, or short of memory, or without its ledger for a moment, harms no document."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import pytest
from sqlalchemy import select, update

from semantik_pipeline import maintenance
from semantik_pipeline.builtin.chunkers.recursive import RecursiveChunker
from semantik_pipeline.errors import OutOfMemory, ServiceUnavailable, StorageUnavailable, WorkerUnfit
from semantik_pipeline.ledger.queue import work
from semantik_pipeline.ledger.queue import workers as ledger_workers
from semantik_pipeline.ledger.tables import collections
from semantik_pipeline.ledger.tables import work as units
from semantik_pipeline.operations import SourceRequest, wait
from semantik_pipeline.pipeline import STAGES, work_on
from semantik_pipeline.plugins.child import ChildPool
from semantik_pipeline.runtime import CHILD_KINDS
from semantik_pipeline.stages import embed
from semantik_pipeline.stages.claims import Claims
from semantik_pipeline.testing.fakes import FakeEmbedder
from tests.integration.conftest import FAKE_COLLECTION
from workers.heartbeat import Presence
from workers.startup import give_back

CUDA = "CUDA error: an illegal memory access was encountered\nCompile with TORCH_USE_CUDA_DSA"


def documents(count: int = 8, **more: str) -> SourceRequest:
    texts = {f"t{number:02}": f"text number {number} about devices" for number in range(count)}
    return SourceRequest(connector="fake-connector", name="fake", config={"documents": {**texts, **more}})


def embed_often(pipeline, rounds: int = 12) -> None:
    for _ in range(rounds):
        pipeline.hurry()
        work_on(pipeline.runtime, "embed")


def chunked(make_pipeline, **options):
    """A pipeline with eight documents that wait for ``embed``."""
    pipeline = make_pipeline(**options)
    begun = pipeline.index(documents(), run=False)
    pipeline.run("sync", "chunk")
    assert set(pipeline.stages().values()) == {"embed"}
    pipeline.operation = begun["id"]
    return pipeline


def harmless(pipeline) -> bool:
    """Whether all documents wait at ``embed``, none charged, none suspect, and each says why."""
    units = [pipeline.unit(f"t{number:02}") for number in range(8)]
    return all(
        unit["stage"] == "embed"
        and unit["attempts"] == 0
        and not unit["suspect"]
        and unit["lease_token"] is None
        and unit["blocked"]
        for unit in units
    )


def raising(error: Exception) -> Callable:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def test_a_device_that_fails_while_the_model_loads_ends_the_process_and_harms_nothing(make_pipeline, monkeypatch):
    pipeline = chunked(make_pipeline)
    with monkeypatch.context() as broken:
        broken.setattr(FakeEmbedder, "initialize", raising(RuntimeError(CUDA)))
        embed_often(pipeline)
    assert harmless(pipeline)
    assert isinstance(pipeline.runtime.fatal, WorkerUnfit)
    with pytest.raises(WorkerUnfit, match=r"CUDA error.*device: cpu"):
        wait(pipeline.runtime, pipeline.operation)
    pipeline.runtime.close()
    healthy = make_pipeline()
    healthy.run()
    assert set(healthy.stages().values()) == {"indexed"}


def test_a_model_that_cannot_be_loaded_is_left_to_others_for_a_while(make_pipeline, monkeypatch):
    pipeline = chunked(make_pipeline)
    tries = []

    def initialize(*_: object, **__: object) -> None:
        tries.append(1)
        raise OSError("model.safetensors is cut short")

    with monkeypatch.context() as broken:
        broken.setattr(FakeEmbedder, "initialize", initialize)
        embed_often(pipeline)
    assert harmless(pipeline)
    assert len(tries) == 1  # it claims no more than it must
    assert pipeline.runtime.fatal is None
    [refusal] = pipeline.runtime.refusals(["embed"]).values()
    assert "cut short" in refusal
    monkeypatch.setattr("semantik_pipeline.runtime.REFUSAL_SECONDS", 0.0)
    pipeline.run()
    assert set(pipeline.stages().values()) == {"indexed"}


@pytest.mark.parametrize("hidden", [{"importing_at": 1.0, "trashed_at": 1.0}, {"trashed_at": 1.0}])
def test_a_collection_that_is_not_shown_yet_or_any_more_is_left_to_those_that_give_its_fingerprint(
    make_pipeline, monkeypatch, hidden
):
    """Its units are claimed like any other.

    A worker with other plugins must not store its results under their fingerprint.
    """
    pipeline = make_pipeline()
    pipeline.index(documents(), run=False)
    pipeline.run("sync")
    with pipeline.runtime.ledger.write() as tx:
        tx.execute(update(collections).values(**hidden))
    other = make_pipeline()
    with monkeypatch.context() as newer:
        newer.setattr(RecursiveChunker, "OUTPUT_VERSION", "another")
        work_on(other.runtime, "chunk")

    def stages() -> set[str]:
        with pipeline.runtime.ledger.read() as tx:
            return set(tx.execute(select(units.c.stage)).scalars())

    assert stages() == {"chunk"}
    pipeline.run()
    assert stages() == {"indexed"}


def test_a_device_that_fails_at_work_is_found_out_before_any_document_is_suspected(make_pipeline, monkeypatch):
    pipeline = chunked(make_pipeline)
    monkeypatch.setattr(FakeEmbedder, "embed_texts", raising(RuntimeError(CUDA)))
    embed_often(pipeline)
    assert harmless(pipeline)
    assert isinstance(pipeline.runtime.fatal, WorkerUnfit)


def test_a_plugin_that_fails_on_every_text_is_left_to_others(make_pipeline, monkeypatch):
    pipeline = chunked(make_pipeline)
    monkeypatch.setattr(FakeEmbedder, "embed_texts", raising(KeyError("pooling")))
    embed_often(pipeline)
    assert harmless(pipeline)
    assert pipeline.runtime.fatal is None
    assert "pooling" in pipeline.unit("t00")["blocked"]


def test_a_device_that_fails_under_a_semantic_chunker_harms_nothing_either(make_pipeline, monkeypatch):
    chunking = {"plugin": "semantic", "options": {"max_tokens": 40, "min_tokens": 1}}
    config = {**FAKE_COLLECTION, "chunking": chunking}
    pipeline = make_pipeline()
    pipeline.index(documents(1, long="One sentence. Another one. A third one here."), config=config, run=False)
    pipeline.run("sync")
    monkeypatch.setattr(FakeEmbedder, "embed_texts", raising(RuntimeError(CUDA)))
    work_on(pipeline.runtime, "chunk")
    unit = pipeline.unit("long")
    assert (unit["stage"], unit["attempts"], unit["suspect"], unit["lease_token"]) == ("chunk", 0, False, None)
    assert isinstance(pipeline.runtime.fatal, WorkerUnfit)


@pytest.mark.parametrize("stage", ["chunk", "extract"])
def test_a_child_that_cannot_be_started_harms_nothing(make_pipeline, monkeypatch, stage):
    extraction = {"chunk": [{"plugin": "fake-extractor", "options": {}}], "document": []}
    pipeline = make_pipeline()
    pipeline.index(documents(4), config={**FAKE_COLLECTION, "extraction": extraction}, run=False)
    pipeline.run("sync", *(["chunk"] if stage == "extract" else []))
    runtime = pipeline.runtime
    runtime.children.close()
    runtime.children = ChildPool(1, runtime.host.state, kinds=CHILD_KINDS, memory_mb=400)
    monkeypatch.setattr("subprocess.Popen", raising(BlockingIOError(11, "Resource temporarily unavailable")))
    for _ in range(3):
        pipeline.hurry()
        work_on(runtime, stage)
    units = [pipeline.unit(f"t0{number}") for number in range(4)]
    assert {(unit["stage"], unit["attempts"], unit["suspect"]) for unit in units} == {(stage, 0, False)}
    assert "could not start" in units[0]["blocked"]


def test_many_bad_documents_in_a_row_are_still_the_documents_fault(make_pipeline):
    pipeline = make_pipeline(plugins={"fake-embedder": {"fail_on": "text", "fail_as": "bug"}})
    pipeline.index(documents(5))
    assert set(pipeline.stages().values()) == {"quarantined"}
    assert pipeline.runtime.fatal is None


@pytest.mark.parametrize("error", [OutOfMemory("no room"), RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")])
def test_out_of_memory_is_charged_to_nobody_and_stops_what_does_not_fit_alone(make_pipeline, monkeypatch, error):
    embed_texts = FakeEmbedder.embed_texts

    def short(self, texts: list[str], **options: object) -> object:
        if any("LARGE" in text for text in texts):
            raise error
        return embed_texts(self, texts, **options)

    pipeline = make_pipeline()
    pipeline.index(documents(3, large="a LARGE text"), run=False)
    pipeline.run("sync", "chunk")
    monkeypatch.setattr(FakeEmbedder, "embed_texts", short)
    embed_often(pipeline)
    assert {pipeline.unit(f"t0{number}")["stage"] for number in range(3)} == {"upsert"}
    large = pipeline.unit("large")
    assert (large["stage"], large["attempts"]) == ("embed", 0)
    assert str(error).split(".")[0] in large["blocked"]


def test_only_what_a_stage_finished_counts_as_done(make_pipeline):
    pipeline = make_pipeline(plugins={"fake-embedder": {"fail_on": "POISON", "fail_as": "bug"}})
    pipeline.index(documents(6, bad="POISON"))
    tally = pipeline.runtime.tally
    units = {(dict(one)["stage"], dict(one)["outcome"]): count for one, count in tally.counts("units").items() if count}
    assert units == {
        ("sync", "done"): 7,
        ("chunk", "done"): 7,
        ("embed", "suspected"): 7,  # they failed together
        ("embed", "failed"): 2,
        ("embed", "quarantined"): 1,
        ("embed", "done"): 6,
        ("upsert", "done"): 6,
    }
    chunks = {dict(one)["stage"]: count for one, count in tally.counts("chunks").items()}
    assert chunks == {"chunk": 7, "embed": 6, "upsert": 6}


def test_a_claim_that_a_ledger_away_kept_from_being_given_back_is_given_back_later(make_pipeline, monkeypatch):
    pipeline = chunked(make_pipeline, work={"lease_renewal": 0.05})
    runtime, give_back, failures = pipeline.runtime, work.give_back, []

    def away(tx, token):
        if len(failures) < 3:
            failures.append(token)
            raise ServiceUnavailable("The ledger does not answer.")
        return give_back(tx, token)

    monkeypatch.setattr(work, "give_back", away)
    held = Claims(runtime, "embed", limit=8, deadline=60, until=time.monotonic() + 60).take()
    assert held is not None
    with pytest.raises(ServiceUnavailable):
        held.close()
    assert runtime.keeper.tokens() == [held.claim.token]
    until = time.monotonic() + 10
    while runtime.keeper.tokens() and time.monotonic() < until:
        time.sleep(0.02)
    assert failures == [held.claim.token] * 3
    maintenance.tick(runtime)
    units = [pipeline.unit(f"t{number:02}") for number in range(8)]
    assert not any(unit["lease_token"] or unit["suspect"] or unit["attempts"] for unit in units)


def test_a_stage_that_ended_while_the_ledger_was_away_leaves_no_lease_behind(make_pipeline, monkeypatch):
    pipeline = chunked(make_pipeline, work={"lease_renewal": 60})
    runtime = pipeline.runtime
    with monkeypatch.context() as blip:
        blip.setattr(work, "held", raising(ServiceUnavailable("The ledger does not answer.")))
        with pytest.raises(ServiceUnavailable):
            embed.run(runtime, Claims(runtime, "embed", limit=8, deadline=60, until=time.monotonic() + 60))
    assert pipeline.unit("t00")["lease_token"]
    runtime.close()  # the last chance to give back
    after = make_pipeline()
    units = [after.unit(f"t{number:02}") for number in range(8)]
    assert not any(unit["lease_token"] or unit["suspect"] for unit in units)
    after.run()
    assert set(after.stages().values()) == {"indexed"}


def test_a_loop_that_is_still_at_work_when_its_process_has_ended_says_nothing(make_pipeline, monkeypatch):
    pipeline = chunked(make_pipeline)
    runtime, said = pipeline.runtime, []
    monkeypatch.setattr(sys, "unraisablehook", said.append)  # what is thrown away can't raise, and is written to stderr
    loop = iter(Claims(runtime, "embed", limit=8, deadline=60, until=time.monotonic() + 60))
    held = next(loop)
    give_back(runtime)
    runtime.close()
    del loop  # as where the stage fails: all that it asks for is gone
    assert said == []
    after = make_pipeline()
    units = [after.unit(f"t{number:02}") for number in range(8)]
    assert held.claim.units and not any(unit["lease_token"] or unit["attempts"] for unit in units)


def test_a_claim_that_can_not_be_given_back_at_the_end_keeps_no_other_from_it(make_pipeline, monkeypatch):
    pipeline = chunked(make_pipeline)
    runtime, really = pipeline.runtime, work.give_back
    one, other = (Claims(runtime, "embed", limit=4, deadline=60, until=time.monotonic() + 60).take() for _ in range(2))
    assert one is not None and other is not None

    def failing(tx, token):
        if token == one.claim.token:
            raise StorageUnavailable("The ledger kept a lock for too long.")
        return really(tx, token)

    monkeypatch.setattr(work, "give_back", failing)
    give_back(runtime)
    with runtime.ledger.read() as tx:
        assert work.passed(tx, one.claim)[1] and not work.passed(tx, other.claim)[1]
    monkeypatch.undo()
    for held in (one, other):
        held.close()


def test_a_plugin_that_raises_what_nobody_expects_harms_no_other_collection(make_pipeline, monkeypatch):
    pipeline = make_pipeline()
    broken = {**FAKE_COLLECTION, "embedding": {"plugin": "fake-embedder", "options": {"model": "broken"}}}
    pipeline.index(documents(2), collection="broken", config=broken, run=False)
    other = SourceRequest(connector="fake-connector", name="other", config={"documents": {"well": "a text"}})
    pipeline.index(other, run=False)
    pipeline.run("sync")

    def if_broken(answer: object, error: Exception) -> Callable:
        return lambda self: raising(error)() if self.config["model"] == "broken" else answer

    runtime = pipeline.runtime
    runtime.host.instance("fake-embedder", {"model": "broken"})
    denied = OSError("tokenizer.json: permission denied")
    monkeypatch.setattr(FakeEmbedder, "tokenizer_revision", if_broken("white-space", denied))
    monkeypatch.setattr(FakeEmbedder, "get_model_info", if_broken({"model": "fake"}, KeyError("model_type")))
    for _ in range(4):
        pipeline.hurry()
        for stage in ("chunk", "embed", "upsert"):
            work_on(runtime, stage)
    assert pipeline.stages() == {"well": "indexed", "t00": "chunk", "t01": "chunk"}
    presence = Presence(runtime, profile="all", queues=tuple(STAGES))
    presence.announce()
    presence.beat()
    with runtime.ledger.read() as tx:
        [row] = ledger_workers.list_workers(tx)
    presence.close()
    refusals = row.activity["refusals"]
    assert len(refusals) == 3 and all("OSError: tokenizer.json: permission denied" in why for why in refusals.values())
    assert [one.get("error") for one in row.activity["models"]] == ["KeyError: 'model_type'", None]
