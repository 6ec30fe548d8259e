"""Scheduled syncs, faults, pauses and removals of sources, on both ledgers."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import func, select, update

from semantik_pipeline import maintenance, sources
from semantik_pipeline import operations as operators
from semantik_pipeline import pipeline as stage_table
from semantik_pipeline.cli.source_views import state
from semantik_pipeline.errors import CredentialsRejected, PluginConfigError, UsageError
from semantik_pipeline.ledger.access import audit_trail
from semantik_pipeline.ledger.ingestion import sources as ledger
from semantik_pipeline.ledger.ingestion import timetable
from semantik_pipeline.ledger.ingestion.sync import claim_source, others_wait
from semantik_pipeline.ledger.operations import lifecycle as ledger_operations
from semantik_pipeline.ledger.queue import bulk_moves, fair_queue, work
from semantik_pipeline.ledger.retention import removal
from semantik_pipeline.ledger.tables import chunks, documents, operation_sources, operations
from semantik_pipeline.ledger.tables import sources as table
from semantik_pipeline.operations import SourceRequest, begin_sync
from semantik_pipeline.pipeline import work_on
from semantik_pipeline.schedules import FIRST_WAIT, Schedule
from semantik_pipeline.sources import NewSource
from semantik_pipeline.stages import slice_time, sync, upsert
from semantik_pipeline.testing import FakeConnector
from semantik_pipeline.verification import verify
from tests.integration.conftest import FAKE_COLLECTION

LEDGERS = ("sqlite", "postgres")


def added(pipeline, name: str = "fake", *, every: float | None = None, weight: float = 1.0, **config: Any) -> dict:
    schedule = Schedule(every=every) if every else None
    pipeline.runtime.collection("default", FAKE_COLLECTION)
    if not config:
        config = {"documents": {f"{name}/a": "alpha beta", f"{name}/b": "gamma delta"}}
    new = NewSource(connector="fake-connector", name=name, config=config, schedule=schedule, weight=weight)
    return sources.add(pipeline.runtime, new, collection="default")


def shown(pipeline, name: str = "fake") -> dict[str, Any]:
    with pipeline.runtime.ledger.read() as tx:
        return ledger.find_source(tx, name)


def counted(pipeline) -> dict[str, int]:
    """State -> sources, as the fleet's metrics have it; states that no source is in are left out."""
    with pipeline.runtime.ledger.read() as tx:
        return {state: number for state, number in ledger.count_states(tx).items() if number}


def change_row(pipeline, source: dict[str, Any], **values: Any) -> None:
    with pipeline.runtime.ledger.write() as tx:
        tx.execute(update(table).where(table.c.id == source["id"]).values(**values))


def count(pipeline, rows: Any) -> int:
    with pipeline.runtime.ledger.read() as tx:
        return tx.execute(select(func.count()).select_from(rows)).scalar_one()


def begun(pipeline) -> list[int]:
    return sources.begin_due(pipeline.runtime)


# -- schedules --------------------------------------------------------------------------------------------------------


def test_a_due_source_is_synced_and_due_again_at_its_next_time(make_pipeline) -> None:
    pipeline = make_pipeline()
    source = added(pipeline, every=900.0)
    assert source["state"] == "due"
    maintenance.tick(pipeline.runtime)
    before = shown(pipeline)
    assert before["state"] == "waiting"
    assert 0 < before["next_sync_at"] - before["now"] <= 900
    pipeline.run("sync")
    after = shown(pipeline)
    assert (after["state"], after["documents"], after["consecutive_failures"]) == ("idle", 2, 0)
    assert after["next_sync_at"] == before["next_sync_at"]
    assert after["last_sync_at"] is not None
    assert begun(pipeline) == []


def test_missed_times_run_once(make_pipeline) -> None:
    pipeline = make_pipeline()
    source = added(pipeline, every=60.0)
    change_row(pipeline, source, due_at=source["now"] - 100_000)
    assert len(begun(pipeline)) == 1
    pipeline.run("sync")
    assert begun(pipeline) == []
    assert 0 < shown(pipeline)["next_sync_at"] - shown(pipeline)["now"] <= 60


def test_a_source_never_overlaps_itself(make_pipeline) -> None:
    pipeline = make_pipeline()
    source = added(pipeline, every=60.0)
    assert len(begun(pipeline)) == 1
    change_row(pipeline, source, due_at=source["now"] - 1)  # its next time comes while it runs
    assert begun(pipeline) == []
    pipeline.run("sync")
    assert begun(pipeline) == []  # what came meanwhile is not made up for
    assert shown(pipeline)["next_sync_at"] > shown(pipeline)["now"]


def test_what_is_paused_removed_or_unscheduled_is_not_begun(make_pipeline) -> None:
    pipeline = make_pipeline()
    for name in ("one", "two", "three"):
        added(pipeline, name, every=60.0 if name != "three" else None)
    sources.pause(pipeline.runtime, shown(pipeline, "one"), "not now")
    sources.remove(pipeline.runtime, shown(pipeline, "two"))
    assert begun(pipeline) == []
    assert [shown(pipeline, name)["state"] for name in ("one", "two", "three")] == ["paused", "removing", "idle"]


def test_two_schedulers_begin_each_source_once(make_pipeline) -> None:
    pipeline = make_pipeline()
    for number in range(60):
        added(pipeline, f"source {number}", every=900.0)
    found: list[list[int]] = []
    start = threading.Barrier(2)

    def schedule() -> None:
        start.wait()
        found.append(begun(pipeline))

    threads = [threading.Thread(target=schedule) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    while more := begun(pipeline):  # what one skipped because the other had it locked
        found.append(more)
    ids = [one for some in found for one in some]
    assert len(ids) == len(set(ids)) == 60
    assert count(pipeline, operations) == 60
    with pipeline.runtime.ledger.read() as tx:
        by_source = select(operation_sources.c.source_id, func.count()).group_by(operation_sources.c.source_id)
        assert {row[1] for row in tx.execute(by_source)} == {1}


def test_a_process_that_ends_with_its_command_begins_nothing(make_pipeline) -> None:
    pipeline = make_pipeline()
    added(pipeline, every=60.0)
    pipeline.runtime.scheduling = False
    maintenance.tick(pipeline.runtime)
    assert shown(pipeline)["state"] == "due"


def test_a_new_schedule_counts_from_now_and_none_means_on_request(make_pipeline) -> None:
    pipeline = make_pipeline()
    source = added(pipeline, every=60.0)
    daily = sources.change(pipeline.runtime, source, schedule=Schedule(cron="0 3 * * *", timezone="Europe/Berlin"))
    assert 0 < daily["next_sync_at"] - daily["now"] <= 90_000
    assert sources.change(pipeline.runtime, source, schedule=None)["next_sync_at"] is None


# -- faults -----------------------------------------------------------------------------------------------------------


def test_a_source_that_fails_waits_longer_each_time_and_success_forgets_it(make_pipeline, tmp_path: Path) -> None:
    pipeline = make_pipeline(work={"max_attempts": 1, "backoff": 0})
    file = tmp_path / "documents.json"
    source = added(pipeline, every=30.0, documents_file=str(file))
    schedule = Schedule(every=30.0)
    for faults in (1, 2, 3):
        change_row(pipeline, source, due_at=0.0)
        assert len(begun(pipeline)) == 1
        pipeline.run("sync")
        after = shown(pipeline)
        assert (after["state"], after["consecutive_failures"]) == ("failing", faults)
        assert counted(pipeline) == {"failing": 1}
        over = after["last_error"]["at"] + FIRST_WAIT * 2 ** (faults - 1)
        due = schedule.next(over, key=source["id"], anchor=source["created_at"])
        assert after["next_sync_at"] == pytest.approx(due)
        assert begun(pipeline) == []
    assert after["last_error"]["type"] == "FileNotFoundError"
    assert str(file) in after["last_error"]["message"]
    file.write_text(json.dumps({"a": "alpha"}))
    sources.sync(pipeline.runtime, shown(pipeline))
    pipeline.run("sync")
    mended = shown(pipeline)
    assert (mended["consecutive_failures"], mended["last_error"]) == (0, None)
    assert mended["next_sync_at"] - mended["last_sync_at"] <= 31


def test_refused_credentials_pause_the_source_until_it_is_resumed(make_pipeline, monkeypatch) -> None:
    pipeline = make_pipeline()
    source = added(pipeline, every=60.0)

    def refuse(self) -> bool:
        raise CredentialsRejected("The password of anna was refused.", "Give another.")

    with monkeypatch.context() as context:
        context.setattr(FakeConnector, "authenticate", refuse)
        (operation,) = begun(pipeline)
        pipeline.run("sync")
    paused = shown(pipeline)
    assert pipeline.result(operation)["outcome"] == "failed"
    assert paused["state"] == "paused"
    assert counted(pipeline) == {"needs_attention": 1}
    assert "The password of anna was refused." in paused["paused_reason"]
    assert paused["last_error"]["type"] == "CredentialsRejected"
    change_row(pipeline, source, due_at=0.0)
    assert begun(pipeline) == []
    with pytest.raises(UsageError, match="is paused: The password"):
        sources.sync(pipeline.runtime, paused)
    sources.change(pipeline.runtime, paused, config={"documents": {"fake/a": "other words"}})
    assert sources.resume(pipeline.runtime, paused) is None
    resumed = shown(pipeline)
    assert (resumed["paused_reason"], resumed["consecutive_failures"], resumed["last_error"]) == (None, 0, None)
    change_row(pipeline, source, due_at=0.0)
    begun(pipeline)
    pipeline.run("sync")
    assert shown(pipeline)["documents"] == 1


def test_resume_answers_the_mass_deletion_guard(make_pipeline) -> None:
    pipeline = make_pipeline(sync={"deletion_guard_count": 3, "deletion_guard_share": 0.5})
    source = added(pipeline, documents={f"d{number}": f"text {number}" for number in range(10)})
    sources.sync(pipeline.runtime, source)
    pipeline.run()
    sources.change(pipeline.runtime, source, config={"documents": {"d0": "text 0"}})
    sources.sync(pipeline.runtime, source)
    pipeline.run()
    guarded = shown(pipeline)
    assert (guarded["state"], guarded["documents"], guarded["last_error"]["type"]) == ("paused", 10, "MassDeletion")
    assert f"semantik sources resume {source['id']} --allow-deletions" in guarded["paused_reason"]
    operation = sources.resume(pipeline.runtime, guarded, allow_deletions=True)
    pipeline.run()
    assert pipeline.result(operation)["documents"]["deleted"] == 9
    assert (shown(pipeline)["state"], shown(pipeline)["documents"]) == ("idle", 1)


def test_a_pause_in_the_middle_keeps_the_place(make_pipeline) -> None:
    pipeline = make_pipeline(work={"time_slice": 0.0001})
    texts = {f"d{number:03}": f"text {number}" for number in range(40)}
    source = added(pipeline, documents=texts, checkpoint_every=10)
    operation = sources.sync(pipeline.runtime, source)
    work_on(pipeline.runtime, "sync")
    sources.pause(pipeline.runtime, source, "a moment")
    pipeline.run("sync")
    assert 0 < shown(pipeline)["documents"] < 40
    assert sources.resume(pipeline.runtime, source) == operation
    pipeline.run("sync")
    assert shown(pipeline)["documents"] == 40
    assert count(pipeline, operations) == 1


# -- changes and removals ---------------------------------------------------------------------------------------------


def test_what_is_asked_wrongly_is_refused(make_pipeline) -> None:
    pipeline = make_pipeline()
    source = added(pipeline)
    with pytest.raises(UsageError, match="already"):
        added(pipeline)
    with pytest.raises(PluginConfigError, match="colour"):
        added(pipeline, "other", colour="red")
    with pytest.raises(UsageError, match="weight"):
        sources.change(pipeline.runtime, source, weight=0)
    for slip in (Schedule(every=4e8), Schedule(cron="0 3 * * *", jitter=4e8)):
        with pytest.raises(UsageError, match="ten years"):
            sources.change(pipeline.runtime, source, schedule=slip)
    with pytest.raises(UsageError, match="no source 'nobody'"):
        shown(pipeline, "nobody")


def test_syncing_twice_is_one_sync(make_pipeline) -> None:
    pipeline = make_pipeline()
    source = added(pipeline)
    assert sources.sync(pipeline.runtime, source) == sources.sync(pipeline.runtime, source)


def test_a_sync_that_somebody_asks_for_does_not_wait_for_a_paused_operation(make_pipeline) -> None:
    pipeline = make_pipeline()
    source = added(pipeline)
    paused = sources.sync(pipeline.runtime, source)
    operators.pause(pipeline.runtime, paused)
    assert shown(pipeline)["held_by"] == paused
    assert state({**shown(pipeline), "state": "waiting"}) == f"waiting: operation {paused} is paused"
    again = sources.sync(pipeline.runtime, shown(pipeline))
    assert again != paused
    pipeline.run()
    assert pipeline.result(again)["outcome"] == "succeeded" and shown(pipeline)["documents"] == 2
    assert sources.sync(pipeline.runtime, source) == sources.sync(pipeline.runtime, source)


def test_a_removed_source_leaves_nothing(make_pipeline) -> None:
    pipeline = make_pipeline()
    kept, gone = added(pipeline, "kept"), added(pipeline, "gone")
    for source in (kept, gone):
        sources.sync(pipeline.runtime, source)
    pipeline.run()
    operation = sources.remove(pipeline.runtime, gone)
    assert sources.remove(pipeline.runtime, shown(pipeline, "gone")) == operation
    assert begun(pipeline) == []
    with pytest.raises(UsageError, match="being removed"):
        begin_sync(pipeline.runtime, [SourceRequest(connector="fake-connector", name="gone")], collection="default")
    for _ in range(3):
        maintenance.tick(pipeline.runtime)
        pipeline.run()
    with pytest.raises(UsageError, match="no source 'gone'"):
        shown(pipeline, "gone")
    result = pipeline.result(operation)
    assert (result["outcome"], result["documents"]["deleted"]) == ("succeeded", 2)
    assert (count(pipeline, documents), count(pipeline, chunks)) == (2, 2)
    (report,) = verify(pipeline.runtime).generations
    assert (report.found, report.orphaned, report.missing) == (2, 0, 0)
    again = added(pipeline, "gone")
    sources.sync(pipeline.runtime, again)
    pipeline.run()
    assert shown(pipeline, "gone")["documents"] == 2


def test_a_removal_ends_the_sync_in_hand(make_pipeline) -> None:
    pipeline = make_pipeline(work={"time_slice": 0.0001})
    texts = {f"d{number:03}": f"text {number}" for number in range(40)}
    source = added(pipeline, documents=texts, checkpoint_every=10)
    first = sources.sync(pipeline.runtime, source)
    work_on(pipeline.runtime, "sync")
    sources.remove(pipeline.runtime, shown(pipeline))
    for _ in range(3):
        maintenance.tick(pipeline.runtime)
        pipeline.run()
    assert count(pipeline, documents) == 0
    with pipeline.runtime.ledger.read() as tx:
        assert ledger_operations.progress(tx, first).state == "finished"
        assert removal.pending(tx) == []


def test_changes_leave_a_trail_without_secrets(make_pipeline) -> None:
    pipeline = make_pipeline()
    source = added(pipeline, every=60.0)
    sources.pause(pipeline.runtime, source, "at night")
    sources.resume(pipeline.runtime, shown(pipeline))
    sources.remove(pipeline.runtime, source)
    with pipeline.runtime.ledger.read() as tx:
        trail = audit_trail.entries(tx, limit=10)
        assert audit_trail.entries(tx, limit=1) == trail[:1]
        assert audit_trail.entries(tx, limit=10, since=3600) == trail
    events = ["source.remove", "source.resume", "source.pause", "source.add", "collection.create"]
    assert [entry["event"] for entry in trail] == events
    assert [entry["subject"] for entry in trail] == [*4 * ["default: fake"], "default"]
    assert trail[2]["detail"] == {"source": source["id"], "reason": "at night"}
    assert "@" in trail[0]["actor"]


# -- fair shares ------------------------------------------------------------------------------------------------------


def process(pipeline, *, until: str, batch: int = 20) -> int:
    """Take units through their stages, a batch at a time from each in turn, until those of the source are done.

    Returns how many units were claimed."""
    claimed = 0
    ends = {"chunk": "extract", "extract": "embed", "embed": "upsert", "upsert": "indexed"}
    for _ in range(10_000):
        for stage, then in ends.items():
            with pipeline.runtime.ledger.write() as tx:
                claim = work.claim(tx, stage, worker="w", lease=60, limit=batch)
                units = claim.units if claim else ()
                claimed += len(units)
                bulk_moves.move_all(tx, [(unit, then, {}) for unit in units])
        work_on(pipeline.runtime, "sync")
        if shown(pipeline, until)["state"] == "idle" and not unfinished(pipeline, until):
            return claimed
    raise AssertionError("it never ends")


def unfinished(pipeline, name: str) -> int:
    mine = work.work.c.source_id == shown(pipeline, name)["id"]
    waiting = select(work.work.c.document_id).where(mine, work.work.c.stage.in_(work.STAGES))
    return count(pipeline, waiting.subquery())


def texts_of(name: str, number: int) -> dict[str, str]:
    return {f"{name}{place:05}": f"{name} {place}" for place in range(number)}


@pytest.mark.parametrize("first", ["large", "small"])
def test_a_small_source_that_begins_with_a_large_one_goes_first(make_pipeline, first: str) -> None:
    pipeline = make_pipeline(work={"max_in_flight": 400})
    sizes = {"large": 2000, "small": 50}
    made = {name: added(pipeline, name, documents=texts_of(name, size)) for name, size in sizes.items()}
    alone = 4 * sizes["small"]
    for name in sorted(sizes, key=lambda name: name != first):
        sources.sync(pipeline.runtime, made[name])
    assert (
        process(pipeline, until="small") <= alone * (1 + 1 / fair_queue.SHARE) + 4 * 20
    )  # and the rest of the last batch
    assert unfinished(pipeline, "large") <= 400 + 200  # bounded: what is named between two checkpoints comes on top


def test_a_small_source_that_comes_to_a_large_one_hardly_waits_and_is_charged(make_pipeline) -> None:
    """All that it has goes before those of whoever has been busy for long. What it was ahead is missing from its next
    ones, so one that comes with as many again and again gets its half and no more."""
    pipeline = make_pipeline(work={"max_in_flight": 2000})
    large_and_half_way(pipeline)
    small = added(pipeline, "small", documents=texts_of("small", 50))
    sources.sync(pipeline.runtime, small)
    work_on(pipeline.runtime, "sync")
    assert process(pipeline, until="small") <= 4 * 50 + 4 * 20
    of_large = []
    for turn in range(1, 8):
        more = {"documents": texts_of("small", 50 * (turn + 1))}
        sources.change(pipeline.runtime, small, config=more)
        sources.sync(pipeline.runtime, small)
        work_on(pipeline.runtime, "sync")
        of_large.append(process(pipeline, until="small", batch=5) - 4 * 50)
    assert sum(of_large) >= 4 * (7 * 50 - fair_queue.SMALL - 50)


def large_and_half_way(pipeline) -> None:
    """A source of 1,000 documents, the first 200 of which are done."""
    sources.sync(pipeline.runtime, added(pipeline, "large", documents=texts_of("large", 1000)))
    work_on(pipeline.runtime, "sync")
    with pipeline.runtime.ledger.write() as tx:
        units = work.claim(tx, "chunk", worker="w", lease=60, limit=200).units
        bulk_moves.move_all(tx, [(unit, "indexed", {}) for unit in units])


def test_a_large_source_goes_on_however_many_small_ones_come(make_pipeline) -> None:
    """One after the other, each of them new, so that nothing is held against it."""
    pipeline = make_pipeline(work={"max_in_flight": 2000})
    large_and_half_way(pipeline)
    before, others = unfinished(pipeline, "large"), 6
    for number in range(others):
        sources.sync(pipeline.runtime, added(pipeline, f"small {number}", documents=texts_of(f"s{number}-", 30)))
        work_on(pipeline.runtime, "sync")
        process(pipeline, until=f"small {number}", batch=6)
    assert before - unfinished(pipeline, "large") >= others * 30 / fair_queue.SHARE - 6


def test_small_sources_go_ahead_together_as_far_as_is_agreed(make_pipeline) -> None:
    """Each is small, but together they are not: those that come last wait for their shares."""
    pipeline = make_pipeline(work={"max_in_flight": 2000})
    large_and_half_way(pipeline)
    enough = int(fair_queue.TOGETHER / 100)
    for number in range(enough + 2):
        sources.sync(pipeline.runtime, added(pipeline, f"small {number}", documents=texts_of(f"s{number}-", 100)))
        work_on(pipeline.runtime, "sync")
    last = {number: last_turn(pipeline, f"small {number}") for number in range(enough + 2)}
    time = min(last.values()) - 100 / fair_queue.SHARE
    assert [number for number, turn in last.items() if turn - time > 100 / fair_queue.SHARE + 1] == [enough, enough + 1]


def test_one_that_grows_has_gone_ahead_all_the_same(make_pipeline) -> None:
    pipeline = make_pipeline(work={"max_in_flight": 2000})
    large_and_half_way(pipeline)
    for number in range(int(fair_queue.TOGETHER / 100)):
        assert goes_ahead(pipeline, f"small {number}")
    first = sources.change(
        pipeline.runtime, shown(pipeline, "small 0"), config={"documents": texts_of("small 0-", 1100)}
    )
    sources.sync(pipeline.runtime, first)
    work_on(pipeline.runtime, "sync")
    assert not goes_ahead(pipeline, "the last")


def test_those_that_have_a_little_on_its_way_and_never_went_ahead_keep_none_from_it(make_pipeline) -> None:
    pipeline = make_pipeline(work={"max_in_flight": 2000})
    large_and_half_way(pipeline)
    with pipeline.runtime.ledger.read() as tx:
        reached = fair_queue.virtual_time(tx)
    for number in range(5):
        change_row(pipeline, added(pipeline, f"read for long {number}"), next_turn=reached + 110)
    assert goes_ahead(pipeline, "small")


def goes_ahead(pipeline, name: str) -> bool:
    """Whether a hundred documents that come now do."""
    sources.sync(pipeline.runtime, added(pipeline, name, documents=texts_of(f"{name}-", 100)))
    work_on(pipeline.runtime, "sync")
    with pipeline.runtime.ledger.read() as tx:
        reached = fair_queue.virtual_time(tx)
    return last_turn(pipeline, name) - reached <= 100 / fair_queue.SHARE + 1


def last_turn(pipeline, name: str) -> float:
    mine = work.work.c.source_id == shown(pipeline, name)["id"]
    with pipeline.runtime.ledger.read() as tx:
        return tx.execute(select(func.max(work.work.c.turn)).where(mine)).scalar_one()


def test_a_source_whose_documents_nobody_takes_brings_no_more(make_pipeline) -> None:
    pipeline = make_pipeline(work={"max_in_flight": 150, "poll": 0.01})
    sources.sync(pipeline.runtime, added(pipeline, "large", documents=texts_of("large", 1000)))
    for _ in range(5):
        work_on(pipeline.runtime, "sync")
        time.sleep(0.02)
    assert 150 < unfinished(pipeline, "large") <= 250  # what is named up to a checkpoint comes whole


def test_sources_are_counted_by_what_they_do(make_pipeline) -> None:
    pipeline = make_pipeline(work={"max_in_flight": 1, "poll": 60.0})
    source = added(pipeline, documents=texts_of("fake", 1000))
    assert counted(pipeline) == {"idle": 1}
    sources.sync(pipeline.runtime, source)
    assert counted(pipeline) == {"due": 1}
    work_on(pipeline.runtime, "sync")
    assert counted(pipeline) == {"waiting": 1}  # the stages after it are behind: no fault of the source
    assert shown(pipeline)["state"] == "waiting"


def test_a_source_that_is_tried_again_counts_as_failing_until_it_succeeds(make_pipeline, tmp_path: Path) -> None:
    pipeline = make_pipeline(work={"max_attempts": 3, "backoff": 60.0})
    source = added(pipeline, documents_file=str(tmp_path / "missing.json"))
    sources.sync(pipeline.runtime, source)
    work_on(pipeline.runtime, "sync")
    assert (shown(pipeline)["state"], counted(pipeline)) == ("retrying", {"failing": 1})
    change_row(pipeline, source, not_before=0.0)
    with pipeline.runtime.ledger.write() as tx:
        assert claim_source(tx, worker="w1", lease=60.0) is not None
    assert (shown(pipeline)["state"], counted(pipeline)) == ("running", {"failing": 1})


def test_who_was_idle_has_saved_no_turns(make_pipeline) -> None:
    """A new source begins while nothing waits; then one that has had 10,000 turns comes, and gets its half."""
    pipeline = make_pipeline()
    old = added(pipeline, "old", documents=texts_of("old", 50))
    new = added(pipeline, "new", documents=texts_of("new", 400))
    change_row(pipeline, old, next_turn=10_000.0)
    for source in (new, old):
        sources.sync(pipeline.runtime, source)
        work_on(pipeline.runtime, "sync")
    assert process(pipeline, until="old") <= 2 * 4 * 50 + 4 * 20


def test_a_unit_that_is_stuck_does_not_stop_the_time(make_pipeline) -> None:
    pipeline = make_pipeline()
    stuck = added(pipeline, "stuck", documents=texts_of("stuck", 1))
    busy = added(pipeline, "busy", documents=texts_of("busy", 50))
    fresh = added(pipeline, "fresh", documents=texts_of("fresh", 400))
    change_row(pipeline, busy, next_turn=10_000.0)
    sources.sync(pipeline.runtime, stuck)
    work_on(pipeline.runtime, "sync")
    with pipeline.runtime.ledger.write() as tx:
        tx.execute(update(work.work).values(turn=1.0, blocked="the plugin is disabled", not_before=1e12))
    for source in (busy, fresh):
        sources.sync(pipeline.runtime, source)
        work_on(pipeline.runtime, "sync")
    assert process(pipeline, until="busy") <= 2 * 4 * 50 + 4 * 20


def test_a_weight_is_a_share(make_pipeline) -> None:
    pipeline = make_pipeline()
    heavy = added(pipeline, "heavy", weight=4.0, documents=texts_of("heavy", 200))
    light = added(pipeline, "light", documents=texts_of("light", 200))
    for source in (light, heavy):
        sources.sync(pipeline.runtime, source)
        work_on(pipeline.runtime, "sync")
    assert process(pipeline, until="heavy") <= 4 * 200 * 1.25 + 4 * 20


def test_a_source_that_is_read_for_long_keeps_no_other_from_beginning(make_pipeline) -> None:
    pipeline = make_pipeline(work={"time_slice": 0.0001})
    long = added(pipeline, "long", documents=texts_of("long", 60), checkpoint_every=5)
    sources.sync(pipeline.runtime, long)
    pipeline.run("sync")
    other = added(pipeline, "other")
    change_row(pipeline, other, next_turn=1e6)  # it had many turns; the long one, unchanged, takes none
    sources.sync(pipeline.runtime, shown(pipeline, "long"))
    work_on(pipeline.runtime, "sync")
    sources.sync(pipeline.runtime, other)
    work_on(pipeline.runtime, "sync")
    assert (shown(pipeline, "other")["documents"], shown(pipeline, "long")["state"]) == (2, "waiting")


def test_a_small_sync_ends_though_the_last_stage_has_more_to_do(make_pipeline, monkeypatch) -> None:
    monkeypatch.setattr(stage_table, "OFTEN", 0.0)
    few = replace(stage_table.STAGES["upsert"], documents=2)
    monkeypatch.setitem(stage_table.STAGES, "upsert", few)
    pipeline = make_pipeline(work={"time_slice": 60.0})
    asked = [sources.sync(pipeline.runtime, added(pipeline, name, documents=texts_of(name, 2))) for name in "ab"]
    pipeline.run("sync", "chunk", "embed")
    states: list[list[str]] = []
    run = upsert.Upsert.run

    def noting(self, units) -> None:
        with pipeline.runtime.ledger.read() as tx:
            states.append(sorted(ledger_operations.state(tx, one) for one in asked))
        run(self, units)

    monkeypatch.setattr(upsert.Upsert, "run", noting)
    work_on(pipeline.runtime, "upsert")
    assert states[0] == ["running", "running"]
    assert states[-1] == ["finished", "running"]


def read_when_through(pipeline, monkeypatch) -> list[int]:
    """How many of a long source's sixty documents were read when one that waits was through, and when it was itself."""
    sources.sync(pipeline.runtime, added(pipeline, "long", documents=texts_of("long", 60), checkpoint_every=5))
    other = added(pipeline, "other")
    change_row(pipeline, other, next_turn=1.0)  # so that the long one begins
    seen: list[int] = []
    monkeypatch.setattr(sync.Slice, "_complete", noting(pipeline, seen, sync.Slice._complete))
    sources.sync(pipeline.runtime, other)
    work_on(pipeline.runtime, "sync")
    return seen


def test_a_slice_makes_way_for_a_source_that_waits(make_pipeline, monkeypatch) -> None:
    """There is one loop; without this the other one would begin when the slice of the first is over."""
    monkeypatch.setattr(slice_time, "ALONE", 0.0)
    monkeypatch.setattr(slice_time, "STARTS", 0)
    pipeline = make_pipeline(work={"time_slice": 60.0})
    assert read_when_through(pipeline, monkeypatch) == [5, 60], (
        "the other one was through when five documents of the long one were read"
    )


@pytest.mark.parametrize(("fetching", "expected"), [(0, [60, 60]), (60, [10, 60])])
def test_a_source_that_starts_slowly_gets_further_than_its_start(
    make_pipeline, monkeypatch, fetching: float, expected: list[int]
) -> None:
    """It takes 100 s until it begins, and five times as long before it makes way; a document takes so many seconds."""
    passed = [0.0]
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + passed[0], time=time.time)
    fetch = FakeConnector.fetch

    async def slow_to_begin(self) -> bool:
        passed[0] += 100
        return True

    async def slow_fetch(self, reference):
        passed[0] += fetching
        return await fetch(self, reference)

    for module in (sync, slice_time):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(FakeConnector, "authenticate", slow_to_begin)
    monkeypatch.setattr(FakeConnector, "fetch", slow_fetch)
    pipeline = make_pipeline(work={"time_slice": 1e6})
    assert read_when_through(pipeline, monkeypatch) == expected


def test_a_source_of_which_enough_is_under_way_is_none_that_waits(make_pipeline) -> None:
    pipeline = make_pipeline(work={"max_in_flight": 20, "poll": 60.0})
    crowded = added(pipeline, "crowded", documents=texts_of("crowded", 60), checkpoint_every=30)
    sources.sync(pipeline.runtime, crowded)
    work_on(pipeline.runtime, "sync")
    change_row(pipeline, crowded, not_before=0.0)
    sources.sync(pipeline.runtime, added(pipeline, "long"))
    with pipeline.runtime.ledger.write() as tx:
        claim = claim_source(tx, worker="w", lease=60.0, without=[crowded["id"]])
        assert not others_wait(tx, claim, max_in_flight=20)
        assert others_wait(tx, claim, max_in_flight=30)


def noting(pipeline, seen: list[int], complete):
    def completing(self, event) -> None:
        seen.append(shown(pipeline, "long")["documents"])
        complete(self, event)

    return completing


def test_a_batch_of_due_sources_is_bounded(make_pipeline) -> None:
    pipeline = make_pipeline()
    for number in range(3):
        added(pipeline, f"source {number}", every=60.0)
    with pipeline.runtime.ledger.write() as tx:
        assert len(timetable.begin_due(tx)) == 3 <= timetable.BATCH
