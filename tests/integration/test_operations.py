"""Operations as operators steer them: paused, resumed, cancelled, run again.

None is a success over missing documents.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import insert, select, update

from semantik_pipeline import operations
from semantik_pipeline.errors import UsageError
from semantik_pipeline.ledger.access import audit_trail
from semantik_pipeline.ledger.ingestion import sync as ledger_sync
from semantik_pipeline.ledger.operations import blocked_operations, operation_reports
from semantik_pipeline.ledger.operations import lifecycle as ledger
from semantik_pipeline.ledger.queue.workers import WorkerRow
from semantik_pipeline.ledger.tables import documents, generations, sources, work
from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.pipeline import STAGES, work_on
from semantik_pipeline.verification import verify

both_ledgers = pytest.mark.parametrize("ledger", ["sqlite", "postgres"], indirect=True)


class Site:
    """A fake source whose documents a test rewrites."""

    def __init__(self, file: Path, **options: object) -> None:
        self.file, self.options = file, options
        self.texts = {f"t{number:02}": f"text number {number} about leases" for number in range(12)}

    @property
    def request(self) -> SourceRequest:
        self.file.write_text(json.dumps(self.texts))
        config = {"documents_file": str(self.file), "checkpoint_every": 4, **self.options}
        return SourceRequest(connector="fake-connector", name="fake", config=config)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "site.json")


def shown(pipeline, operation_id: int, workers: list[WorkerRow] | None = None) -> dict:
    with pipeline.runtime.ledger.read() as tx:
        return operation_reports.show_operation(tx, operation_id, workers=workers)


def state(pipeline, operation_id: int) -> str:
    return shown(pipeline, operation_id)["state"]


def half_way(pipeline, site: Site, **options) -> int:
    """A sync whose documents are read, parsed and wait to be embedded."""
    operation_id = pipeline.index(site.request, run=False, **options)["id"]
    pipeline.run("sync", "chunk", "extract")
    assert set(pipeline.stages().values()) == {"embed"}
    return operation_id


def test_what_a_sync_took_over_and_did_not_name_decides_its_outcome_and_is_not_counted_as_seen(make_pipeline, site):
    pipeline = make_pipeline(plugins={"fake-embedder": {"fail_on": "POISON", "fail_as": "permanent"}})
    site.texts["t00"] = "POISON"
    operation_id = half_way(pipeline, site)
    with pipeline.runtime.ledger.write() as tx:  # as if a run before had named it, and this one not
        tx.execute(update(documents).where(documents.c.unique_id == "t00").values(seen_run=0))
    pipeline.run()
    result = pipeline.result(operation_id)
    assert (result["outcome"], result["quarantined"]) == ("degraded", 1)
    assert (result["documents"]["seen"], result["documents"]["quarantined"]) == (11, 0)


# -- pause and resume --------------------------------------------------------------------------------------------------


@both_ledgers
def test_a_paused_operation_waits_and_goes_on_where_it_was(make_pipeline, site):
    pipeline = make_pipeline()
    operation_id = half_way(pipeline, site)
    assert operations.pause(pipeline.runtime, operation_id) == 12
    pipeline.run()
    assert state(pipeline, operation_id) == "paused"
    assert set(pipeline.stages().values()) == {"embed"}
    assert operations.resume(pipeline.runtime, operation_id) == 12
    pipeline.run()
    result = pipeline.result(operation_id)
    assert (result["outcome"], result["documents"]["new"]) == ("succeeded", 12)
    assert verify(pipeline.runtime).clean
    with pipeline.runtime.ledger.read() as tx:
        events = [(one["event"], one["subject"]) for one in audit_trail.entries(tx, limit=5)]
    assert events[:2] == [("operation.resume", f"sync-{operation_id}"), ("operation.pause", f"sync-{operation_id}")]


def test_units_in_hand_finish_their_piece_and_their_next_stage_waits(make_pipeline, site):
    pipeline = make_pipeline()
    operation_id = half_way(pipeline, site)
    runtime = pipeline.runtime
    call = runtime.embedder(1).embed_texts

    async def pausing(*args, **options):
        runtime.embedder(1).embed_texts = call
        operations.pause(runtime, operation_id)
        return await call(*args, **options)

    runtime.embedder(1).embed_texts = pausing
    work_on(runtime, "embed")
    pipeline.run()
    assert set(pipeline.stages().values()) == {"upsert"}
    operations.resume(runtime, operation_id)
    pipeline.run()
    assert pipeline.result(operation_id)["outcome"] == "succeeded"


@both_ledgers
def test_a_slice_of_a_paused_sync_ends_at_its_next_flush_and_holds_what_it_takes_in(make_pipeline, site, monkeypatch):
    pipeline = make_pipeline()
    operation_id = pipeline.index(site.request, run=False)["id"]
    flushed = ledger_sync.mark_seen
    runtime = pipeline.runtime

    def pausing(tx, run, document_ids):
        monkeypatch.setattr(ledger_sync, "mark_seen", flushed)
        flushed(tx, run, document_ids)
        from semantik_pipeline.ledger.operations import holds

        holds.pause(tx, operation_id)  # as if it had been committed just before this flush

    monkeypatch.setattr(ledger_sync, "mark_seen", pausing)
    pipeline.run()
    assert set(pipeline.stages().values()) == {"chunk"}
    assert len(pipeline.stages()) == 4  # up to the first checkpoint
    operations.resume(runtime, operation_id)
    pipeline.run()
    result = pipeline.result(operation_id)
    assert (result["outcome"], result["documents"]["new"]) == ("succeeded", 12)


@both_ledgers
def test_a_sync_somebody_asks_for_takes_up_what_a_paused_one_holds_and_a_scheduled_one_does_not(make_pipeline, site):
    pipeline = make_pipeline()
    runtime = pipeline.runtime
    paused = half_way(pipeline, site)
    operations.pause(runtime, paused)
    with runtime.ledger.write() as tx:
        scheduled = ledger.begin(tx, 1, "sync")
        ledger.request_sync(tx, scheduled, 1, lane=2, allow_deletions=False)
    pipeline.run()
    found = shown(pipeline, scheduled)
    assert found["state"] == "blocked"
    assert f"held by operation {paused}" in found["reason"]
    asked = pipeline.index(site.request)
    assert asked["outcome"] == "succeeded"
    assert pipeline.result(scheduled)["outcome"] == "succeeded"
    assert state(pipeline, paused) == "finished"  # nothing was left of it


@both_ledgers
def test_documents_of_two_paused_operations_wait_for_both(make_pipeline, site):
    pipeline = make_pipeline()
    runtime = pipeline.runtime
    first = half_way(pipeline, site)
    second = pipeline.index(site.request, run=False)["id"]
    pipeline.run("sync")
    operations.pause(runtime, first)
    operations.pause(runtime, second)
    operations.resume(runtime, first)
    pipeline.run()
    assert set(pipeline.stages().values()) == {"embed"}
    operations.resume(runtime, second)
    pipeline.run()
    assert {pipeline.result(one)["outcome"] for one in (first, second)} == {"succeeded"}


# -- cancel and retry --------------------------------------------------------------------------------------------------


@both_ledgers
def test_a_cancelled_sync_parks_what_is_not_finished_and_the_next_one_goes_on(make_pipeline, site, tmp_path):
    log = tmp_path / "log"
    pipeline = make_pipeline(plugins={"fake-embedder": {"log_path": str(log)}})
    pipeline.index(site.request)
    before = len(log.read_text().splitlines())
    site.texts |= {"t00": "another text about queues", "u1": "a new text about fences"}
    del site.texts["t11"]
    operation_id = pipeline.index(site.request, run=False)["id"]
    pipeline.run("sync", "chunk", "extract", "embed")
    assert operations.cancel(pipeline.runtime, operation_id) == 2
    assert state(pipeline, operation_id) == "cancelling"  # the deletion is carried out
    pipeline.run()
    result = pipeline.result(operation_id)
    assert (result["outcome"], result["cancelled"]) == ("cancelled", 2)
    documents = result["documents"]
    assert documents["seen"] == sum(documents[kind] for kind in ("new", "changed", "unchanged", "skipped")) == 12
    assert (documents["new"], documents["changed"], documents["deleted"]) == (1, 1, 1)
    assert {name: stage for name, stage in pipeline.stages().items() if stage != "indexed"} == {
        "t00": "upsert", "u1": "upsert",
    }  # fmt: skip
    assert verify(pipeline.runtime).clean
    view = pipeline.runtime.ledger.visible(1, [1])
    assert view  # what was indexed of it before is found still
    again = pipeline.index(site.request)
    assert (again["outcome"], again["documents"]["seen"]) == ("succeeded", 12)
    assert set(pipeline.stages().values()) == {"indexed"}
    assert len(log.read_text().splitlines()) == before + 2  # nothing is embedded twice
    assert verify(pipeline.runtime).clean


def test_a_sync_that_is_cancelled_while_it_reads_reads_no_further(make_pipeline, site):
    pipeline = make_pipeline(work={"max_in_flight": 3})
    operation_id = pipeline.index(site.request, run=False)["id"]
    work_on(pipeline.runtime, "sync")
    assert len(pipeline.stages()) == 4
    operations.cancel(pipeline.runtime, operation_id)
    pipeline.run()
    result = pipeline.result(operation_id)
    assert (result["outcome"], result["cancelled"], result["documents"]["seen"]) == ("cancelled", 4, 4)
    assert result["chunks"]["reused"] == 0  # what was not embedded was not reused either
    again = pipeline.index(site.request)  # parked documents are not under way: they crowd nobody out
    assert (again["outcome"], again["documents"]["seen"]) == ("succeeded", 12)


@both_ledgers
def test_retry_takes_up_what_was_parked_and_reads_the_source_to_its_end(make_pipeline, site):
    pipeline = make_pipeline(work={"max_in_flight": 3})
    operation_id = pipeline.index(site.request, run=False)["id"]
    work_on(pipeline.runtime, "sync")
    operations.cancel(pipeline.runtime, operation_id)
    again = operations.retry(pipeline.runtime, operation_id)
    pipeline.run()
    result = pipeline.result(again)
    assert (result["outcome"], result["documents"]["seen"]) == ("succeeded", 12)
    assert shown(pipeline, again)["operation"] == f"retry-{again}"
    with pytest.raises(UsageError, match="left nothing unfinished"):
        operations.retry(pipeline.runtime, again)
    with pytest.raises(UsageError, match="has ended"):
        operations.pause(pipeline.runtime, operation_id)


def test_retry_runs_quarantined_documents_again_and_is_degraded_as_long_as_they_fail(make_pipeline, site):
    site.texts["bad"] = "POISON here"
    site.options["fail_fetch"] = {"t03": "permanent"}
    pipeline = make_pipeline(plugins={"fake-embedder": {"fail_on": "POISON", "fail_as": "permanent"}})
    first = pipeline.index(site.request)
    assert (first["outcome"], first["documents"]["quarantined"]) == ("degraded", 2)
    again = operations.retry(pipeline.runtime, first["id"])
    pipeline.run()
    assert pipeline.result(again)["outcome"] == "degraded"
    assert pipeline.result(again)["documents"]["quarantined"] == 2
    pipeline.runtime.close()
    mended = make_pipeline()
    site.options["fail_fetch"] = {}
    with mended.runtime.ledger.write() as tx:
        tx.execute(update(sources).values(config=site.request.config))
    last = operations.retry(mended.runtime, again)
    mended.run()
    assert mended.result(last)["outcome"] == "succeeded"
    assert set(mended.stages().values()) == {"indexed"}


@pytest.mark.parametrize("incremental", [False, True])
def test_a_retry_counts_what_it_reads_again_and_the_documents_it_takes_up(make_pipeline, tmp_path, incremental):
    """``good`` is read only once. The retry reads ``part`` again; an incremental run names no document of it."""
    given = {"good": {"g1": "one", "g2": "two"}, "part": {"p1": "three", "p2": "four", "p3": "five"}}
    options = {"good": {}, "part": {"fail_fetch": {"p3": "unreadable"}, "incremental": incremental}}
    requests = [
        SourceRequest(connector="fake-connector", name=name, config={"documents": texts, **options[name]})
        for name, texts in given.items()
    ]
    pipeline = make_pipeline()
    first = pipeline.index(*requests, run=False)["id"]
    pipeline.run("sync", "chunk", "extract")
    operations.cancel(pipeline.runtime, first)
    pipeline.run()
    again = operations.retry(pipeline.runtime, first)
    pipeline.run()
    result = pipeline.result(again)
    assert [source["source"] for source in shown(pipeline, again)["sources"]] == ["part"]
    kinds = ("new", "changed", "unchanged", "skipped")
    assert result["documents"]["seen"] == sum(result["documents"][kind] for kind in kinds) == 5
    assert (result["chunks"]["total"], set(pipeline.stages().values())) == (4, {"indexed", "quarantined"})


def test_what_another_operation_waits_for_is_not_parked(make_pipeline, site):
    pipeline = make_pipeline()
    first = half_way(pipeline, site)
    second = pipeline.index(site.request, run=False)["id"]
    pipeline.run("sync")
    assert operations.cancel(pipeline.runtime, first) == 0
    pipeline.run()
    assert pipeline.result(first)["outcome"] == "cancelled"
    assert pipeline.result(second)["outcome"] == "succeeded"


# -- no success over missing documents ---------------------------------------------------------------------------------


def test_a_source_that_fails_midway_is_no_success(make_pipeline, site):
    site.options |= {"fail_after": 6, "checkpoint_every": 100}
    pipeline = make_pipeline(work={"max_attempts": 2}, sync={"batch_size": 2})
    result = pipeline.index(site.request)
    assert (result["outcome"], len(pipeline.stages())) == ("failed", 6), "it comes no further the second time"
    site.options.pop("fail_after")
    with pipeline.runtime.ledger.write() as tx:
        tx.execute(update(sources).values(config=site.request.config))
    again = operations.retry(pipeline.runtime, result["id"])
    pipeline.run()
    assert (pipeline.result(again)["outcome"], len(pipeline.stages())) == ("succeeded", 12)


def test_a_sync_whose_source_was_taken_over_is_no_success(make_pipeline, site):
    pipeline = make_pipeline()
    first = pipeline.index(site.request, run=False)["id"]
    second = pipeline.index(site.request)
    assert second["outcome"] == "succeeded"
    taken = pipeline.result(first)
    assert taken["outcome"] == "cancelled"
    assert f"taken over by operation {second['id']}" in taken["taken_over"][0]


def test_a_document_in_quarantine_in_another_generation_is_no_success(make_pipeline, site):
    pipeline = make_pipeline()
    pipeline.index(site.request)
    with pipeline.runtime.ledger.write() as tx:
        first = dict(tx.execute(select(generations)).mappings().one())
        building = {**first, "id": 2, "state": "building", "index_name": "other"}
        tx.execute(insert(generations).values(**building))
        unit = dict(tx.execute(select(work).limit(1)).mappings().one())
        tx.execute(insert(work).values(**{**unit, "generation_id": 2, "stage": "quarantined"}))
    again = pipeline.index(site.request)
    assert (again["outcome"], again["documents"]["quarantined"]) == ("degraded", 1)


@both_ledgers
def test_counts_add_up_where_a_later_sync_supersedes_an_earlier_one(make_pipeline, site):
    pipeline = make_pipeline(plugins={"fake-embedder": {"fail_on": "POISON", "fail_as": "permanent"}})
    pipeline.index(site.request)
    site.texts |= {"t00": "changed once", "t01": "changed once too"}
    first = pipeline.index(site.request, run=False)["id"]
    pipeline.run("sync")
    site.texts |= {"t00": "changed twice, now POISON", "extra": "one more"}
    second = pipeline.index(site.request)
    assert (second["outcome"], second["documents"]["seen"]) == ("degraded", 13)
    result = pipeline.result(first)
    assert (result["outcome"], result["superseded"]) == ("succeeded", 1)  # the newer revision is the later one's
    assert result["documents"] == {
        "seen": 12, "new": 0, "changed": 2, "unchanged": 10, "deleted": 0, "skipped": 0, "quarantined": 0,
    }  # fmt: skip


def test_what_could_not_be_read_is_no_success(make_pipeline, site):
    pipeline = make_pipeline()
    operation_id = half_way(pipeline, site)
    with pipeline.runtime.ledger.write() as tx:
        tx.execute(update(sources).values(problems=["a folder: permission denied"]))
    pipeline.run()
    assert pipeline.result(operation_id)["outcome"] == "degraded"


def test_what_a_sync_could_not_read_counts_for_that_sync_alone(make_pipeline, site):
    """Also where the next one starts, and reads everything, before its documents are indexed."""
    pipeline = make_pipeline()
    first = half_way(pipeline, site)
    with pipeline.runtime.ledger.write() as tx:
        tx.execute(update(sources).values(problems=["a folder: permission denied"]))
    second = pipeline.index(site.request, run=False)["id"]
    pipeline.run()
    assert [pipeline.result(one)["outcome"] for one in (first, second)] == ["degraded", "succeeded"]


# -- blocked -----------------------------------------------------------------------------------------------------------


def worker(*queues: str, **activity: object) -> WorkerRow:
    return WorkerRow(
        id="w", host="h", pid=1, profile="p", state="ready", report={"queues": list(queues)}, activity=activity,
        command=None, age=0.0, up=9.0,
    )  # fmt: skip


@both_ledgers
def test_an_operation_that_no_worker_serves_is_blocked_until_one_does(make_pipeline, site):
    pipeline = make_pipeline()
    operation_id = half_way(pipeline, site)
    everything = ("sync", *STAGES)
    cpu = worker("sync", "chunk", "extract", "upsert")
    assert "semantik worker" in shown(pipeline, operation_id, [])["reason"]
    assert "embed" in shown(pipeline, operation_id, [cpu])["reason"]
    assert shown(pipeline, operation_id, [cpu])["state"] == "blocked"
    other = worker(*everything, refusals={"1:embed": "another model"})
    assert "another model" in shown(pipeline, operation_id, [cpu, other])["reason"]
    assert shown(pipeline, operation_id, [cpu, worker(*everything)])["state"] == "running"
    pipeline.run()
    assert shown(pipeline, operation_id, [])["state"] == "finished"


@both_ledgers
def test_units_that_all_say_why_they_wait_block_their_operation_and_go_on_by_themselves(make_pipeline, site):
    broken = make_pipeline(disabled=("fake-embedder",))
    assert broken.runtime.host  # it has read the state file that the next one writes anew
    good = make_pipeline()
    operation_id = half_way(good, site)
    with good.runtime.ledger.read() as tx:
        assert blocked_operations.reason(tx, operation_id, None) is None
    work_on(broken.runtime, "embed")
    found = shown(good, operation_id)
    assert found["state"] == "blocked"
    assert "fake-embedder" in found["reason"]
    good.run()
    assert good.result(operation_id)["outcome"] == "succeeded"


def test_a_paused_source_blocks_its_operation(make_pipeline, site):
    pipeline = make_pipeline()
    operation_id = pipeline.index(site.request, run=False)["id"]
    with pipeline.runtime.ledger.write() as tx:
        tx.execute(update(sources).values(paused="credentials were refused"))
    assert "credentials were refused" in shown(pipeline, operation_id)["reason"]


def test_who_waits_asks_the_less_often_the_longer_it_takes():
    waited = asked = 0.0
    while waited < 10:
        waited, asked = waited + operations.ask_interval(waited), asked + 1
    assert asked < 150  # three hundred would take four per cent of a processor
    assert operations.ask_interval(1) < 0.05
    assert operations.ask_interval(3600) < 0.5


def test_operations_are_found_by_name_and_number(make_pipeline, site):
    pipeline = make_pipeline()
    first = pipeline.index(site.request)["id"]
    with pipeline.runtime.ledger.read() as tx:
        assert operation_reports.find(tx, f"sync-{first}") == operation_reports.find(tx, str(first)) == first
        for wrong in ("sync-99", f"retry-{first}", "nonsense", "9" * 30):
            with pytest.raises(UsageError):
                operation_reports.find(tx, wrong)
        listed = operation_reports.list_operations(tx, workers=None, finished=0)
        assert listed == []
        [one] = operation_reports.list_operations(tx, workers=None, finished=None)
    assert (one["operation"], one["documents"], one["outcome"]) == (f"sync-{first}", 12, "succeeded")
