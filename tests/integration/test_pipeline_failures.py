"""One bad document harms itself alone; a worker that lost its lease harms nothing."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text, update

from semantik_pipeline import maintenance
from semantik_pipeline.errors import LeaseLost, ServiceUnavailable
from semantik_pipeline.ledger import tables
from semantik_pipeline.ledger.documents import content
from semantik_pipeline.ledger.queue import expired_leases, work
from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.pipeline import STAGES, work_on
from semantik_pipeline.search import SearchQuery, search
from semantik_pipeline.stages import upsert
from semantik_pipeline.stages.claims import Claims
from semantik_pipeline.stages.points import PointBuilder
from semantik_pipeline.stages.upsert import Upsert, reconcile
from semantik_pipeline.verification import verify
from tests.integration.conftest import FAKE_COLLECTION

#: Claims, leases and fences, which are the ledger's own; the rest of this file is about what a failing plugin costs.
both_ledgers = pytest.mark.parametrize("ledger", ["sqlite", "postgres"], indirect=True)


def extracting(*plugins: str) -> dict:
    chosen = [{"plugin": plugin, "options": {}} for plugin in plugins]
    return {**FAKE_COLLECTION, "extraction": {"enabled": True, "chunk": chosen, "document": []}}


def source(**documents: str) -> SourceRequest:
    return SourceRequest(connector="fake-connector", name="fake", config={"documents": documents})


def many(count: int = 12, **more: str) -> SourceRequest:
    return source(**{f"t{number:02}": f"text number {number} about leases" for number in range(count)}, **more)


def claims(pipeline, stage: str, limit: int = 8) -> Claims:
    return Claims(pipeline.runtime, stage, limit=limit, deadline=60, until=time.monotonic() + 60)


# -- poison ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["permanent", "bug", "transient"])
def test_a_document_that_breaks_the_embedder_is_quarantined_alone(make_pipeline, kind):
    pipeline = make_pipeline(plugins={"fake-embedder": {"fail_on": "POISON", "fail_as": kind}})
    result = pipeline.index(many(bad="POISON here"))
    assert result["outcome"] == "degraded"
    assert result["documents"]["quarantined"] == 1
    unit = pipeline.unit("bad")
    assert unit["stage"] == "quarantined"
    assert unit["error"]["stage"] == "embed"
    assert "POISON" in unit["error"]["message"]
    assert "Traceback" in unit["error"]["traceback"]
    others = [pipeline.unit(f"t{number:02}") for number in range(12)]
    assert all(one["stage"] == "indexed" and one["attempts"] == 0 for one in others)


def test_a_server_that_is_away_costs_no_attempt(make_pipeline):
    pipeline = make_pipeline(plugins={"fake-embedder": {"fail_on": "text", "fail_as": "unavailable"}})
    pipeline.index(many(3), run=False)
    for _ in range(10):
        pipeline.hurry()
        for stage in ("sync", "chunk", "embed"):
            work_on(pipeline.runtime, stage)
    assert {pipeline.unit(f"t0{n}")["stage"] for n in range(3)} == {"embed"}
    assert pipeline.unit("t00")["attempts"] == 0
    assert "fails" in pipeline.unit("t00")["blocked"]
    pipeline.runtime.close()
    back = make_pipeline()
    back.run()
    assert set(back.stages().values()) == {"indexed"}


@pytest.mark.parametrize(
    ("option", "error", "attempts"), [("hang_on", "ChildTimeout", 2), ("crash_on", "ChildCrashed", 3)]
)
def test_a_parser_that_hangs_or_crashes_costs_one_document(make_pipeline, tmp_path, option, error, attempts):
    folder = tmp_path / "docs"
    folder.mkdir()
    for number in range(4):
        (folder / f"t{number}.fake").write_text(f"text number {number}")
    (folder / "bad.fake").write_text("POISON for the parser")
    pipeline = make_pipeline(
        plugins={"fake-parser": {option: "POISON"}},
        child={"parse_deadline": 0.3},
        work={"max_attempts": 3},
    )
    by_media_type = {"parsers": {"by_media_type": {"text/*": "fake-parser"}}}
    result = pipeline.folder(folder, config={**_fake(), **by_media_type})
    assert result["documents"]["quarantined"] == 1
    unit = pipeline.unit("bad.fake")
    assert unit["error"]["type"] == error
    assert unit["attempts"] == attempts  # each hang costs a whole deadline, so there are fewer
    assert sorted(pipeline.stages().values()) == ["indexed"] * 4 + ["quarantined"]


def _fake() -> dict:
    return {
        "embedding": {"plugin": "fake-embedder", "options": {}},
        "extraction": {"enabled": False},
    }


@pytest.mark.parametrize("options", [{"fail_on": "POISON", "fail_as": "bug"}, {"crash_on": "POISON"}])
def test_an_extractor_that_fails_is_noted_and_the_rest_goes_on(make_pipeline, options):
    pipeline = make_pipeline(plugins={"fake-extractor": options})
    result = pipeline.index(
        many(4, bad="POISON for one extractor, mail ada@example.org"), config=extracting("patterns", "fake-extractor")
    )
    assert result["outcome"] == "succeeded"
    assert set(pipeline.stages().values()) == {"indexed"}
    assert list(pipeline.unit("bad")["notes"]) == ["fake-extractor"]
    query = SearchQuery(
        text="mail", rerank=False, filter={"must": [{"key": "entities.EMAIL", "match": {"value": "ada@example.org"}}]}
    )
    assert [hit.document for hit in search(pipeline.runtime, query).hits] == ["bad"]
    clean = [pipeline.unit(f"t{number:02}")["notes"] for number in range(4)]
    assert clean == [None] * 4


def test_a_later_sync_retries_an_extractor_that_failed(make_pipeline, monkeypatch):
    documents = {"bad": "POISON, and 3 May 2024"}
    broken = make_pipeline(plugins={"fake-extractor": {"fail_on": "POISON", "fail_as": "bug"}})
    broken.index(source(**documents), config=extracting("fake-extractor"))
    assert broken.unit("bad")["notes"]
    broken.index(source(**documents))
    assert broken.unit("bad")["notes"]  # too early for another try
    broken.runtime.close()
    monkeypatch.setattr("semantik_pipeline.stages.sync.NOTES", 0.0)
    mended = make_pipeline()
    result = mended.index(source(**documents))
    assert mended.unit("bad")["notes"] is None
    assert result["chunks"]["embedded"] == 0
    assert verify(mended.runtime).clean


# -- dead workers ----------------------------------------------------------------------------------------------------


def die_with(pipeline, stage: str, limit: int) -> list[str]:
    """Claim like a worker that dies at once: the lease is never renewed or given back."""
    with pipeline.runtime.ledger.write() as tx:
        claim = work.claim(tx, stage, worker="dead", lease=0.01, limit=limit)
    time.sleep(0.05)
    return [unit.unique_id for unit in claim.units]


@both_ledgers
def test_companions_of_a_dead_worker_run_alone_and_are_not_charged(make_pipeline):
    pipeline = make_pipeline()
    pipeline.index(many(4), run=False)
    work_on(pipeline.runtime, "sync")
    assert len(die_with(pipeline, "chunk", limit=3)) == 3
    maintenance.tick(pipeline.runtime)
    suspects = [pipeline.unit(f"t0{n}") for n in range(3)]
    assert all(unit["suspect"] and unit["attempts"] == 0 for unit in suspects)
    sizes = []
    for held in claims(pipeline, "chunk"):
        sizes.append(len(held.claim.units))
        with pipeline.runtime.ledger.write() as tx:
            for unit in held.claim.units:
                work.move(tx, unit, "embed")
    assert sorted(sizes) == [1, 1, 1, 1]  # three suspects alone, and the one good document


@both_ledgers
def test_units_that_were_alone_in_their_claims_but_not_in_their_process_are_not_charged(make_pipeline):
    pipeline = make_pipeline()
    pipeline.index(many(2), run=False)
    work_on(pipeline.runtime, "sync")
    for stage in ("chunk", "embed"):
        die_with(pipeline, stage, limit=1)
        with pipeline.runtime.ledger.write() as tx:
            tx.execute(text("update work set stage = 'embed' where lease_token is null"))
    maintenance.tick(pipeline.runtime)
    assert [(unit["suspect"], unit["attempts"]) for unit in (pipeline.unit("t00"), pipeline.unit("t01"))] == [
        (1, 0)
    ] * 2


def make_suspect(pipeline, name: str, stage: str) -> None:
    with pipeline.runtime.ledger.write() as tx:
        named = "document_id = (select id from documents where unique_id = :n)"
        tx.execute(text(f"update work set suspect = true, stage = :s where {named}"), {"n": name, "s": stage})


@both_ledgers
def test_a_suspect_has_its_process_to_itself_whatever_the_stage(make_pipeline):
    pipeline = make_pipeline()
    pipeline.index(many(2, bad="text of a suspect"), run=False)
    work_on(pipeline.runtime, "sync")
    make_suspect(pipeline, "bad", "embed")
    good = claims(pipeline, "chunk", limit=1).take()
    with ThreadPoolExecutor() as threads:
        suspect = threads.submit(claims(pipeline, "embed").take)
        time.sleep(0.3)
        assert not suspect.done()  # a chunk is in hand
        good.close()
        lone = suspect.result(10)
        assert [unit.unique_id for unit in lone.claim.units] == ["bad"]
        next_good = threads.submit(claims(pipeline, "chunk", limit=1).take)
        time.sleep(0.3)
        assert not next_good.done()  # the suspect is in hand
        lone.close()
        next_good.result(10).close()


def test_what_a_stage_loads_is_loaded_before_its_first_suspect_is_claimed(make_pipeline):
    pipeline = make_pipeline()
    pipeline.index(source(bad="text of a suspect"), run=False)
    work_on(pipeline.runtime, "sync")
    make_suspect(pipeline, "bad", "embed")
    held = []
    taken = Claims(
        pipeline.runtime,
        "embed",
        limit=1,
        deadline=60,
        until=time.monotonic() + 60,
        prepare=lambda runtime, generation: held.append((generation.id, pipeline.unit("bad")["lease_token"])),
    )
    taken.take().close()
    taken.take().close()
    assert held == [(pipeline.unit("bad")["generation_id"], None)]


def test_every_stage_can_be_made_ready_without_a_document(make_pipeline, tmp_path):
    log = tmp_path / "embedded.log"
    pipeline = make_pipeline(plugins={"fake-embedder": {"log_path": str(log)}})
    pipeline.index(source(doc="a text"), config=extracting("fake-extractor"), run=False)
    runtime = pipeline.runtime
    for stage in STAGES.values():
        stage.prepare(runtime, runtime.generation(runtime.live_generations()[0]))
    assert not log.exists()  # nothing was embedded for any index


@both_ledgers
def test_a_document_that_kills_its_worker_is_quarantined_after_its_attempts(make_pipeline):
    pipeline = make_pipeline(work={"max_attempts": 3})
    pipeline.index(many(2), run=False)
    work_on(pipeline.runtime, "sync")
    die_with(pipeline, "chunk", limit=2)  # in company
    maintenance.tick(pipeline.runtime)
    victim = None
    for _ in range(3):
        with pipeline.runtime.ledger.write() as tx:
            tx.execute(text("update work set not_before = 0"))
            if victim is not None:  # only the victim is claimed again
                tx.execute(text("update work set not_before = 1e12 where document_id != :d"), {"d": victim})
            claim = work.claim(tx, "chunk", worker="dead", lease=0.01, limit=5, alone=True)
        victim = claim.units[0].document_id
        time.sleep(0.05)
        maintenance.tick(pipeline.runtime)
    pipeline.run()
    assert sorted(pipeline.stages().values()) == ["indexed", "quarantined"]
    (bad,) = [name for name, stage in pipeline.stages().items() if stage == "quarantined"]
    assert pipeline.unit(bad)["error"]["type"] == "WorkerDied"
    assert pipeline.unit(bad)["attempts"] == 3


@both_ledgers
def test_a_graceful_stop_gives_units_back_without_blame(make_pipeline):
    pipeline = make_pipeline()
    pipeline.index(many(4), run=False)
    work_on(pipeline.runtime, "sync")
    held = claims(pipeline, "chunk").take()
    held.close()
    assert all(pipeline.unit(f"t0{n}")["lease_token"] is None for n in range(4))
    assert not any(pipeline.unit(f"t0{n}")["suspect"] for n in range(4))
    pipeline.run()
    assert set(pipeline.stages().values()) == {"indexed"}


@both_ledgers
def test_a_lease_is_renewed_while_work_goes_on_and_not_past_its_deadline(make_pipeline):
    pipeline = make_pipeline(work={"lease": 0.4, "lease_renewal": 0.1})
    pipeline.index(many(1), run=False)
    work_on(pipeline.runtime, "sync")
    taken = Claims(pipeline.runtime, "chunk", limit=1, deadline=1.0, until=time.monotonic() + 60).take()
    time.sleep(0.7)
    maintenance.tick(pipeline.runtime)
    assert pipeline.unit("t00")["lease_token"] == taken.claim.token  # longer than the lease, renewed
    time.sleep(1.2)
    maintenance.tick(pipeline.runtime)
    assert pipeline.unit("t00")["lease_token"] is None  # hung: past the deadline nobody keeps it
    with pytest.raises(LeaseLost):
        taken.hold.check()


# -- fencing ---------------------------------------------------------------------------------------------------------


def set_text(pipeline, content: str) -> None:
    pipeline.index(source(doc=content), run=False)
    work_on(pipeline.runtime, "sync")


def run_to_upsert(pipeline) -> None:
    pipeline.run("chunk", "extract", "embed")


def shown(pipeline, query: str) -> list[str]:
    return [hit.text for hit in search(pipeline.runtime, SearchQuery(text=query, rerank=False)).hits]


@both_ledgers
@pytest.mark.parametrize("paused_before", ["insert", "delete", "finish"])
def test_a_paused_holder_of_an_older_text_harms_nothing(make_pipeline, paused_before):
    """FACTS: text A -> B -> A, the holder of B pauses in the middle and goes on after the second A is indexed."""
    pipeline = make_pipeline()
    runtime = pipeline.runtime
    pipeline.index(source(doc="text A about apples"))
    set_text(pipeline, "text B about bananas")
    run_to_upsert(pipeline)
    held = claims(pipeline, "upsert").take()
    upsert = Upsert(runtime, held.claim, held.hold, runtime.generation(held.claim.units[0].generation_id))
    upsert.index = runtime.index(upsert.generation)
    units = list(held.claim.units)
    steps = paused_steps(upsert, units)
    order = ["insert", "delete", "finish"]
    for step in order[: order.index(paused_before)]:
        steps[step]()
    set_text(pipeline, "text A about apples")  # the paused holder's unit is revised under it
    pipeline.run()
    assert pipeline.unit("doc")["stage"] == "indexed"
    with pytest.raises(LeaseLost):
        for step in order[order.index(paused_before) :]:
            steps[step]()
    reconcile(runtime, units)
    maintenance.tick(runtime)
    pipeline.run()
    assert shown(pipeline, "text about apples") == ["text A about apples"]
    report = verify(runtime).to_dict()
    assert (report["points_found"], report["missing"], report["orphaned"], report["stale"]) == (1, 0, 0, 0)


def paused_steps(upsert: Upsert, units: list) -> dict:
    """The steps of an upsert, each to be called by itself, as a holder that can be paused between any two."""
    runtime = upsert.runtime

    def insert() -> None:
        builder = PointBuilder(runtime, upsert.generation)
        for unit in units:
            with runtime.ledger.read() as tx:
                rows = content.chunk_rows(tx, unit, unit.chunks_epoch or 0)
            if not builder.add([(unit, rows)]):
                raise LeaseLost("its rows are gone")
        upsert._insert(builder)

    return {
        "insert": insert,
        "delete": lambda: upsert._delete_older(units),
        "finish": lambda: upsert._finish(units),
    }


@both_ledgers
def test_what_a_store_writes_late_is_looked_at_again_though_its_call_failed(make_pipeline, monkeypatch):
    """The lease is over meanwhile, another worker has indexed the document, and it is changed once more."""
    pipeline = make_pipeline()
    runtime = pipeline.runtime
    pipeline.index(source(doc="text A about apples", other="something else"), run=False)
    work_on(runtime, "sync")
    run_to_upsert(pipeline)
    insert, late = runtime.store.insert, list[Any]()

    def meanwhile() -> None:
        monkeypatch.setattr(runtime.store, "insert", insert)
        with runtime.ledger.write() as tx:
            expired_leases.expire(tx, max_attempts=3, backoff=0, everything=True)
            tx.execute(update(tables.work).values(suspect=False, attempts=0, not_before=0))
        pipeline.run("upsert")
        pipeline.index(source(doc="text B about bananas", other="something else"))

    async def hangs(*given: Any, **named: Any) -> None:
        late.append((given, named))
        await asyncio.to_thread(meanwhile)
        raise ServiceUnavailable("The store did not answer in time.")

    monkeypatch.setattr(runtime.store, "insert", hangs)
    upsert.run(runtime, claims(pipeline, "upsert"))
    [(given, named)] = late
    runtime.host.call(insert, *given, **named)
    assert verify(runtime).to_dict()["orphaned"] + verify(runtime).to_dict()["stale"] > 0
    maintenance.tick(runtime)
    pipeline.run()
    assert verify(runtime).clean
    assert set(pipeline.stages().values()) == {"indexed"}


@both_ledgers
def test_a_deletion_wins_over_a_paused_writer(make_pipeline):
    pipeline = make_pipeline()
    runtime = pipeline.runtime
    pipeline.index(source(doc="text A about apples", other="something else"))
    pipeline.index(source(doc="text B about bananas", other="something else"), run=False)
    work_on(runtime, "sync")
    run_to_upsert(pipeline)
    held = claims(pipeline, "upsert").take()
    upsert = Upsert(runtime, held.claim, held.hold, runtime.generation(held.claim.units[0].generation_id))
    upsert.index = runtime.index(upsert.generation)
    pipeline.index(source(other="something else"))
    paused_steps(upsert, list(held.claim.units))["delete"]()
    with pytest.raises(LeaseLost):
        upsert._finish(list(held.claim.units))
    maintenance.tick(runtime)
    pipeline.run()
    assert "doc" not in pipeline.stages()
    assert verify(runtime).clean
    assert [hit for hit in shown(pipeline, "bananas apples") if "text" in hit] == []


# -- claims ----------------------------------------------------------------------------------------------------------


@both_ledgers
def test_many_threads_never_claim_a_unit_twice(make_pipeline):
    pipeline = make_pipeline()
    pipeline.index(many(120), run=False)
    work_on(pipeline.runtime, "sync")
    taken: list[int] = []
    lock = threading.Lock()

    def take() -> None:
        while True:
            with pipeline.runtime.ledger.write() as tx:
                claim = work.claim(tx, "chunk", worker="w", lease=60, limit=3)
            if claim is None:
                return
            with lock:
                taken.extend(unit.document_id for unit in claim.units)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(set(taken)) == 120


@both_ledgers
def test_fair_shares_by_weight_and_lane(make_pipeline, tmp_path: Path):
    pipeline = make_pipeline()
    big = SourceRequest(
        connector="fake-connector", name="big", config={"documents": {f"b{n:03}": f"big {n}" for n in range(200)}}
    )
    small = SourceRequest(
        connector="fake-connector", name="small", config={"documents": {f"s{n}": f"small {n}" for n in range(5)}}
    )
    pipeline.index(big, run=False)
    work_on(pipeline.runtime, "sync")
    pipeline.index(small, run=False)
    work_on(pipeline.runtime, "sync")
    with pipeline.runtime.ledger.write() as tx:
        claim = work.claim(tx, "chunk", worker="w", lease=60, limit=20)
    assert sum(unit.unique_id.startswith("s") for unit in claim.units) == 5  # though 200 of the other came first


def test_disabling_a_plugin_blocks_its_units_and_they_go_on_when_it_is_back(make_pipeline):
    pipeline = make_pipeline()
    pipeline.index(source(doc="first text"))
    pipeline.runtime.close()
    without = make_pipeline(disabled=("fake-embedder",))
    without.index(source(doc="first text", more="second text"), run=False)
    for stage in ("sync", "chunk", "embed"):
        work_on(without.runtime, stage)
    unit = without.unit("more")
    assert unit["stage"] == "chunk"  # its tokenizer is the embedder's
    assert "fake-embedder" in unit["blocked"] and "disabled" in unit["blocked"]
    without.runtime.close()
    back = make_pipeline()
    back.run()
    assert back.stages() == {"doc": "indexed", "more": "indexed"}


def test_a_model_of_another_dimension_blocks_and_says_both(make_pipeline):
    pipeline = make_pipeline()
    pipeline.index(source(doc="first text"))
    with pipeline.runtime.ledger.write() as tx:
        tx.execute(text("update generations set dimension = 32"))
    pipeline.runtime._generations.clear()
    pipeline.index(source(doc="another text"), run=False)
    for stage in ("sync", "chunk", "embed"):
        work_on(pipeline.runtime, stage)
    blocked = pipeline.unit("doc")["blocked"]
    assert "64" in blocked and "32" in blocked


def test_every_stage_is_in_the_ledgers_list():
    assert tuple(STAGES) == work.STAGES
