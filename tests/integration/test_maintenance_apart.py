"""One bad thing keeps nothing else of a maintenance tick from being done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import exc, select, update

from semantik_pipeline import generations, maintenance, operations, sources, trash
from semantik_pipeline import pipeline as stage_table
from semantik_pipeline.errors import ServiceUnavailable
from semantik_pipeline.generations import building, rerunning
from semantik_pipeline.ledger.generations import backfill, switching
from semantik_pipeline.ledger.ingestion import sources as ledger_sources
from semantik_pipeline.ledger.ingestion import timetable
from semantik_pipeline.ledger.operations import lifecycle as ledger_operations
from semantik_pipeline.ledger.operations import outcomes, reruns
from semantik_pipeline.ledger.queue import reconciling
from semantik_pipeline.ledger.retention import removal
from semantik_pipeline.ledger.retention import trash as ledger_trash
from semantik_pipeline.ledger.tables import documents
from semantik_pipeline.ledger.tables import generations as generation_table
from semantik_pipeline.ledger.tables import sources as table
from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.pipeline import work_on
from semantik_pipeline.schedules import Schedule
from semantik_pipeline.sources import NewSource
from tests.integration.conftest import FAKE_COLLECTION

LEDGERS = ("sqlite", "postgres")


def fail(*_: Any, **__: Any) -> Any:
    raise ValueError("nobody expected this")


def counted(pipeline, step: str) -> float:
    return pipeline.runtime.tally.counts("maintenance_failures").get((("step", step),), 0)


def request(name: str, **texts: str) -> SourceRequest:
    found = {f"{name}/{key}": text for key, text in texts.items()}
    return SourceRequest(connector="fake-connector", name=name, config={"documents": found})


@pytest.mark.parametrize(
    ("module", "function", "step"),
    [
        (maintenance, "_free", "leases"),
        (reconciling, "reconcile", "reconcile"),
        (sources, "begin_due", "schedules"),
        (building, "advance", "builds"),
        (trash, "advance", "trash"),
        (maintenance, "_sweep", "sweep"),
    ],
)
def test_bells_are_rung_and_the_rest_is_done_whatever_fails(
    make_pipeline, monkeypatch: pytest.MonkeyPatch, module: Any, function: str, step: str
) -> None:
    pipeline = make_pipeline()
    pipeline.index(request("fake", a="alpha"), run=False)
    rung: list[str] = []
    done: list[str] = []
    monkeypatch.setattr(pipeline.runtime, "ring", rung.append)
    monkeypatch.setattr(maintenance.vocabulary, "advance", lambda runtime, seconds: bool(done.append("vocabulary")))
    monkeypatch.setattr(module, function, fail)
    maintenance.tick(pipeline.runtime)
    assert "sync" in rung
    assert done == ["vocabulary"]
    assert counted(pipeline, step) == 1


def test_a_ledger_that_is_away_ends_the_tick_at_once(make_pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = make_pipeline()

    def away(*_: Any) -> None:
        raise ServiceUnavailable("The ledger does not answer.")

    monkeypatch.setattr(maintenance, "_free", away)
    monkeypatch.setattr(maintenance, "ring_due", fail)
    with pytest.raises(ServiceUnavailable):
        maintenance.tick(pipeline.runtime)
    assert counted(pipeline, "queue_messages") == 0


def added(pipeline, name: str) -> dict[str, Any]:
    pipeline.runtime.collection("default", FAKE_COLLECTION)
    config = {"documents": {f"{name}/a": "alpha"}}
    new = NewSource(connector="fake-connector", name=name, config=config, schedule=Schedule(every=3600.0))
    return sources.add(pipeline.runtime, new, collection="default")


def test_a_source_with_a_schedule_that_makes_no_sense_keeps_no_other_from_its_time(make_pipeline) -> None:
    pipeline = make_pipeline()
    bad, good = added(pipeline, "bad"), added(pipeline, "good")
    with pipeline.runtime.ledger.write() as tx:
        gone = {"cron": "0 3 * * *", "timezone": "Atlantis/Poseidonis"}
        tx.execute(update(table).where(table.c.id == bad["id"]).values(due_at=0.0, schedule=gone))
        tx.execute(update(table).where(table.c.id == good["id"]).values(due_at=1.0))
    assert len(sources.begin_due(pipeline.runtime)) == 1
    with pipeline.runtime.ledger.read() as tx:
        shown = {row["name"]: row for row in ledger_sources.list_sources(tx)}
    assert (shown["good"]["state"], shown["bad"]["state"]) == ("waiting", "failing")
    assert "can't be started" in shown["bad"]["last_error"]["message"]
    assert shown["bad"]["next_sync_at"] > shown["bad"]["now"]


def test_a_removal_that_fails_keeps_no_other_waiting(make_pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = make_pipeline()
    pipeline.index(request("bad", a="alpha"), request("good", a="beta"))
    with pipeline.runtime.ledger.read() as tx:
        bad, good = (ledger_sources.find_source(tx, name) for name in ("bad", "good"))
    for source in (bad, good):
        sources.remove(pipeline.runtime, source, purge=True)
    step = removal.step
    monkeypatch.setattr(
        removal, "step", lambda tx, source_id: fail() if source_id == bad["id"] else step(tx, source_id)
    )
    maintenance.tick(pipeline.runtime)
    with pipeline.runtime.ledger.read() as tx:
        left = select(documents.c.source_id).where(documents.c.deleted_at.is_(None))
        assert tx.execute(left).scalars().all() == [bad["id"]]
    assert counted(pipeline, "removals") == 1


def test_a_collection_that_can_t_be_purged_keeps_no_other_in_the_trash(make_pipeline, monkeypatch) -> None:
    pipeline = make_pipeline()
    for name in ("bad", "good"):
        pipeline.index(request(name, a="alpha"), collection=name)
    names = {trash.delete_collection(pipeline.runtime, name, purge=True)["id"]: name for name in ("bad", "good")}
    purge = trash._purge_collection

    def some(runtime: Any, collection_id: int) -> Iterator[bool]:
        if names[collection_id] == "bad":
            fail()
        yield from purge(runtime, collection_id)

    monkeypatch.setattr(trash, "_purge_collection", some)
    while maintenance.tick(pipeline.runtime):
        pass
    with pipeline.runtime.ledger.read() as tx:
        left = tx.execute(select(documents.c.unique_id)).scalars().all()
    assert left == ["bad/a"]
    assert counted(pipeline, "trash") >= 1


@pytest.mark.parametrize("words", ["canceling statement due to lock timeout", "database is locked"])
def test_what_the_ledger_can_t_do_now_is_held_against_no_source(make_pipeline, monkeypatch, words: str) -> None:
    pipeline = make_pipeline()
    source = added(pipeline, "one")
    with pipeline.runtime.ledger.write() as tx:
        tx.execute(update(table).where(table.c.id == source["id"]).values(due_at=1.0))

    def fails(*_: Any) -> None:
        raise exc.OperationalError("update sources", {}, Exception(words))

    with monkeypatch.context() as context, pytest.raises(ServiceUnavailable, match=words):
        context.setattr(timetable, "_begin", fails)
        sources.begin_due(pipeline.runtime)
    with pipeline.runtime.ledger.read() as tx:
        shown = ledger_sources.find_source(tx, "one")
    assert (shown["consecutive_failures"], shown["last_error"], shown["next_sync_at"]) == (0, None, 1.0)
    assert len(sources.begin_due(pipeline.runtime)) == 1


def test_documents_that_can_t_be_purged_keep_no_others_in_the_trash(make_pipeline, monkeypatch) -> None:
    """Those of one collection fill what is looked at at a time."""
    monkeypatch.setattr(ledger_trash, "BATCH", 2)
    pipeline = make_pipeline(retention={"trash_days": 7})
    for name in ("bad", "good"):
        pipeline.index(request(name, a="alpha", b="beta", c="gamma"), collection=name)
        rows = operations.list_documents(pipeline.runtime, collection=name, status=None)
        operations.begin_drop(pipeline.runtime, rows)
        pipeline.run()
    with pipeline.runtime.ledger.write() as tx:
        tx.execute(update(documents).values(trashed_at=documents.c.id))
        bad = tx.execute(select(documents.c.collection_id).where(documents.c.unique_id == "bad/a")).scalar_one()
    purge = trash._purge_documents
    monkeypatch.setattr(
        trash, "_purge_documents", lambda runtime, one, ids: fail() if one == bad else purge(runtime, one, ids)
    )
    maintenance.tick(pipeline.runtime)
    with pipeline.runtime.ledger.read() as tx:
        left = select(documents.c.unique_id).where(documents.c.trashed_at.is_not(None)).order_by(documents.c.id)
        assert tx.execute(left).scalars().all() == ["bad/a", "bad/b", "bad/c"]


@pytest.fixture
def two_done(make_pipeline, monkeypatch: pytest.MonkeyPatch):
    """A pipeline, and two operations that have nothing left to do; the counts of the first can't be made."""
    pipeline = make_pipeline()
    begun = [pipeline.index(request(name, a=name), run=False, collection=name)["id"] for name in ("bad", "good")]
    with monkeypatch.context() as context:
        context.setattr(maintenance, "settle", lambda runtime: None)
        pipeline.run()
    counts = outcomes.counts

    def some(tx: Any, operation_id: int) -> Any:
        if operation_id == begun[0]:
            tx.execute(update(table).values(weight=7.0))
            fail()
        return counts(tx, operation_id)

    monkeypatch.setattr(outcomes, "counts", some)
    return pipeline, begun


def ended(pipeline, begun: list[int]) -> list[bool]:
    with pipeline.runtime.ledger.read() as tx:
        return [ledger_operations.state(tx, one) == "finished" for one in begun]


def test_an_operation_that_can_t_be_ended_keeps_no_other_from_its_end(two_done) -> None:
    pipeline, begun = two_done
    maintenance.tick(pipeline.runtime)
    assert ended(pipeline, begun) == [False, True]
    assert counted(pipeline, "operations") == 1
    with pipeline.runtime.ledger.read() as tx:
        assert set(tx.execute(select(table.c.weight)).scalars()) == {1.0}, "what was done of it is undone"


def test_an_operation_that_can_t_be_ended_does_not_end_the_slice_of_a_stage(two_done) -> None:
    pipeline, begun = two_done
    work_on(pipeline.runtime, "upsert")
    assert ended(pipeline, begun) == [False, True]


def test_operations_that_can_t_be_looked_at_leave_the_last_stage_at_its_work(make_pipeline, monkeypatch) -> None:
    pipeline = make_pipeline()
    pipeline.index(request("fake", a="alpha"), run=False)
    looking = stage_table.Settling(pipeline.runtime, 0.0)
    monkeypatch.setattr(maintenance, "settle", fail)
    looking()
    assert counted(pipeline, "operations") == 1


# -- builds, reruns, and generations that retire ----------------------------------------------------------------------


@pytest.fixture
def two_collections(make_pipeline):
    """A pipeline with the collections ``bad`` and ``good``, of a document each."""
    pipeline = make_pipeline()
    for name in ("bad", "good"):
        pipeline.index(request(name, a="alpha"), collection=name)
    return pipeline


def failing_for_first(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, which: Callable[[Any], int]) -> None:
    """The first one that the function is asked for makes it fail, each time."""
    function, first = getattr(module, name), []

    def some(*args: Any, **options: Any) -> Any:
        one = which(args[1])
        first[:] = first or [one]
        return fail() if one == first[0] else function(*args, **options)

    monkeypatch.setattr(module, name, some)


def reindexed(pipeline) -> list[int]:
    return [generations.reindex(pipeline.runtime, name, {"embedding.dimension": 32}) for name in ("bad", "good")]


def work_for(pipeline, rounds: int = 6) -> None:
    for _ in range(rounds):
        maintenance.tick(pipeline.runtime)
        pipeline.run()


def test_a_build_that_fails_keeps_no_other_from_its_end(two_collections, monkeypatch) -> None:
    failing_for_first(monkeypatch, backfill, "step", lambda build: build.generation_id)
    begun = reindexed(two_collections)
    work_for(two_collections)
    assert [two_collections.result(one)["outcome"] for one in begun] == [None, "succeeded"]
    assert counted(two_collections, "builds") >= 1


def test_a_rerun_that_fails_keeps_no_other_and_no_build_from_its_end(two_collections, monkeypatch) -> None:
    pipeline = two_collections
    with monkeypatch.context() as context:
        context.setattr(rerunning, "_go_on", lambda runtime, rerun: None)  # its process dies before the first slice
        again = [generations.rerun(pipeline.runtime, name, {}) for name in ("bad", "good")]
    failing_for_first(monkeypatch, reruns, "crowded", lambda rerun: rerun.operation_id)
    (_, build) = reindexed(pipeline)
    work_for(pipeline)
    assert [pipeline.result(one)["outcome"] for one in (*again, build)] == [None, "succeeded", "succeeded"]


def test_a_generation_that_can_t_be_removed_keeps_no_other(two_collections, monkeypatch) -> None:
    pipeline = two_collections
    begun = reindexed(pipeline)
    work_for(pipeline)
    assert [pipeline.result(one)["outcome"] for one in begun] == ["succeeded"] * 2
    with pipeline.runtime.ledger.write() as tx:
        tx.execute(update(generation_table).where(generation_table.c.state == "kept").values(retire_at=1.0))
    failing_for_first(monkeypatch, switching, "remove_rows", lambda generation_id: generation_id)
    work_for(pipeline)
    with pipeline.runtime.ledger.read() as tx:
        left = tx.execute(select(generation_table.c.state).order_by(generation_table.c.id)).scalars().all()
    assert left == ["retired", "active", "active"]
