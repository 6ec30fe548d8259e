"""Removals of sources that are paused, cancelled and begun anew, deletions beside a large ledger, and ticks that stay
short, on both ledgers."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from sqlalchemy import delete, select, text, update

from semantik_pipeline import maintenance, operations, sources
from semantik_pipeline.errors import UsageError
from semantik_pipeline.ledger.database.bulk import insert_rows
from semantik_pipeline.ledger.documents import content, forgetting
from semantik_pipeline.ledger.queue import fair_queue
from semantik_pipeline.ledger.queue import workers as ledger_workers
from semantik_pipeline.ledger.retention import removal
from semantik_pipeline.ledger.tables import chores, chunks, documents, embeddings, extractions, work
from semantik_pipeline.ledger.tables import sources as table
from semantik_pipeline.pipeline import work_on
from semantik_pipeline.verification import verify
from tests.integration.test_sources import added, change_row, count, shown, texts_of
from tests.integration.test_workers import register
from tests.plans import plans

LEDGERS = ("sqlite", "postgres")


def synced(pipeline, name: str = "fake", number: int = 4, **options: Any) -> dict[str, Any]:
    source = added(pipeline, name, documents=texts_of(name, number), **options)
    sources.sync(pipeline.runtime, source)
    pipeline.run()
    return shown(pipeline, name)


def ticks(pipeline, number: int = 3) -> None:
    for _ in range(number):
        maintenance.tick(pipeline.runtime)
        pipeline.run()


def one_step(pipeline, source: dict[str, Any]) -> bool:
    with pipeline.runtime.ledger.write() as tx:
        return removal.step(tx, source["id"])


# -- removals that are steered ----------------------------------------------------------------------------------------


def test_a_cancelled_removal_gives_the_source_back_and_the_next_sync_the_rest(make_pipeline, monkeypatch) -> None:
    monkeypatch.setattr(removal, "BATCH", 1)
    pipeline = make_pipeline()
    source = synced(pipeline, every=3600.0)
    operation = sources.remove(pipeline.runtime, source)
    assert one_step(pipeline, source)
    operations.cancel(pipeline.runtime, operation)
    pipeline.run()
    assert pipeline.result(operation)["outcome"] == "cancelled"
    back = shown(pipeline)
    assert (back["state"], back["documents"], back["operation_id"]) == ("due", 3, None)
    assert not one_step(pipeline, source)
    with pytest.raises(UsageError, match=r"sources remove"):
        operations.retry(pipeline.runtime, operation)
    maintenance.tick(pipeline.runtime)  # its schedule goes on
    pipeline.run()
    assert shown(pipeline)["documents"] == 4
    assert verify(pipeline.runtime).clean
    again = sources.remove(pipeline.runtime, shown(pipeline))
    assert again > operation
    ticks(pipeline)
    assert count(pipeline, documents) == 0


def test_a_paused_removal_deletes_nothing_until_it_is_resumed(make_pipeline) -> None:
    pipeline = make_pipeline()
    source = synced(pipeline)
    operation = sources.remove(pipeline.runtime, source)
    operations.pause(pipeline.runtime, operation)
    ticks(pipeline)
    assert (shown(pipeline)["documents"], shown(pipeline)["state"]) == (4, "removing")
    operations.resume(pipeline.runtime, operation)
    ticks(pipeline)
    assert pipeline.result(operation)["outcome"] == "succeeded"
    assert count(pipeline, table) == 0


def test_a_removal_that_nobody_carries_out_begins_anew(make_pipeline) -> None:
    pipeline = make_pipeline()
    source = synced(pipeline)
    change_row(pipeline, source, removed_at=1.0, operation_id=None)
    operation = sources.remove(pipeline.runtime, shown(pipeline))
    ticks(pipeline)
    assert pipeline.result(operation)["outcome"] == "succeeded"
    assert count(pipeline, table) == 0


def test_a_paused_source_is_paused_still_when_its_removal_is_cancelled(make_pipeline) -> None:
    pipeline = make_pipeline()
    sources.pause(pipeline.runtime, synced(pipeline, every=3600.0), "at night")
    operations.cancel(pipeline.runtime, sources.remove(pipeline.runtime, shown(pipeline)))
    ticks(pipeline)
    assert (shown(pipeline)["paused_reason"], shown(pipeline)["documents"]) == ("at night", 4)


# -- fair shares beside what is held and deleted ----------------------------------------------------------------------

FAR = 1_000_000.0

#: Between the turns of a source that is small, and all of it here.
STEP = 1 / fair_queue.SHARE


def busy(pipeline) -> None:
    """A source that has had a million turns, with documents that wait."""
    source = added(pipeline, "busy", documents=texts_of("busy", 5))
    change_row(pipeline, source, next_turn=FAR)
    sources.sync(pipeline.runtime, source)
    work_on(pipeline.runtime, "sync")


def given(pipeline, name: str) -> list[float]:
    """The turns of the source's units."""
    source = shown(pipeline, name)["id"]
    with pipeline.runtime.ledger.read() as tx:
        query = select(work.c.turn).where(work.c.source_id == source).order_by(work.c.turn)
        return list(tx.execute(query).scalars())


def virtual_time(pipeline) -> float:
    with pipeline.runtime.ledger.read() as tx:
        return fair_queue.virtual_time(tx)


@pytest.mark.parametrize("event", ["pause", "cancel"])
def test_what_is_held_does_not_stop_the_time_nor_does_it_when_it_is_free_again(make_pipeline, event: str) -> None:
    pipeline = make_pipeline()
    parked = added(pipeline, "parked", documents=texts_of("parked", 5))
    operation = sources.sync(pipeline.runtime, parked)
    work_on(pipeline.runtime, "sync")
    assert given(pipeline, "parked") == [1 + place * STEP for place in range(5)]
    getattr(operations, event)(pipeline.runtime, operation)
    busy(pipeline)
    assert virtual_time(pipeline) == FAR + 1
    fresh = added(pipeline, "fresh", documents=texts_of("fresh", 5))
    sources.sync(pipeline.runtime, fresh)
    work_on(pipeline.runtime, "sync")
    assert given(pipeline, "fresh") == [FAR + 1 + place * STEP for place in range(1, 6)]
    {"pause": operations.resume, "cancel": operations.retry}[event](pipeline.runtime, operation)
    assert given(pipeline, "parked") == [FAR + 1 + place * STEP for place in range(5)]
    assert virtual_time(pipeline) == FAR + 1


@pytest.mark.parametrize("how", ["remove", "drop"])
def test_deletions_have_turns_as_all_others(make_pipeline, how: str) -> None:
    pipeline = make_pipeline()
    source = synced(pipeline, "old", 3)
    busy(pipeline)
    if how == "remove":
        sources.remove(pipeline.runtime, source)
        assert one_step(pipeline, source)
    else:
        found = operations.list_documents(pipeline.runtime, collection=None, status="indexed")
        operations.begin_drop(pipeline.runtime, found)
    assert given(pipeline, "old") == [FAR + 1 + place for place in (1, 2, 3)]


def test_what_is_retried_has_turns_as_all_others(make_pipeline) -> None:
    pipeline = make_pipeline()
    source = added(pipeline, "old", documents=texts_of("old", 3))
    sources.sync(pipeline.runtime, source)
    work_on(pipeline.runtime, "sync")
    with pipeline.runtime.ledger.write() as tx:
        tx.execute(update(work).values(stage="quarantined"))
    busy(pipeline)
    failed = operations.list_documents(pipeline.runtime, collection=None, status="quarantined")
    operations.begin_retry(pipeline.runtime, failed)
    assert given(pipeline, "old") == [FAR + 1 + place for place in (1, 2, 3)]


# -- deletions beside a large ledger ----------------------------------------------------------------------------------


def crowd(pipeline, source: dict[str, Any], number: int) -> None:
    """Many more documents that are indexed, each with a text of its own."""
    with pipeline.runtime.ledger.write() as tx:
        one = dict(tx.execute(select(documents).limit(1)).mappings().one())
        unit = dict(tx.execute(select(work).limit(1)).mappings().one())
        first = one.pop("id")
        rows = [{**one, "unique_id": f"crowd {place}", "content_hash": f"c{place}"} for place in range(number)]
        made = insert_rows(tx, documents, rows, returning=("id", "unique_id"))
        assert first not in [row[0] for row in made]
        hashes = {"parse_key": "p", "text_hash": "t"}
        mine = [{name: f"{mark}{row[0]}" for name, mark in hashes.items()} | {"document_id": row[0]} for row in made]
        insert_rows(tx, work, [{**unit, **values} for values in mine])
    with pipeline.runtime.ledger.write() as tx:
        tx.execute(text("analyze"))


def test_who_shares_a_text_or_a_body_is_found_by_an_index(make_pipeline) -> None:
    pipeline = make_pipeline()
    ledger = pipeline.runtime.ledger
    crowd(pipeline, synced(pipeline, number=1), 3000)
    plan = plans(ledger, lambda tx: forgetting.unused_bodies(tx, "parsed", ["p1"]), about="work")
    assert "ix_work_parse_key" in plan
    with pipeline.runtime.ledger.write() as tx:
        content.save_extractions(tx, {(f"t{number}", "f"): [] for number in range(3000)})
        tx.execute(text("analyze"))
    statement = delete(extractions).where(extractions.c.text_hash.in_(["t7", "t8"]), forgetting.extraction_unused())
    assert "ix_work_text_hash" in plans(ledger, lambda tx: tx.execute(statement), about="work")


def test_deleting_several_documents_keeps_what_others_share(make_pipeline) -> None:
    pipeline = make_pipeline()
    shared = {"a": "the same text", "b": "the same text", "c": "another text", "d": "the same text"}
    source = added(pipeline, documents=shared)
    sources.sync(pipeline.runtime, source)
    pipeline.run()
    assert count(pipeline, embeddings) == 2
    found = operations.list_documents(pipeline.runtime, collection=None, status="indexed")
    operations.begin_drop(pipeline.runtime, [one for one in found if one["document"][-1] in "abc"])
    pipeline.run()
    assert (count(pipeline, embeddings), count(pipeline, chunks)) == (1, 1)
    assert verify(pipeline.runtime).clean


# -- short ticks ------------------------------------------------------------------------------------------------------


def test_a_tick_leaves_a_long_removal_to_the_next_ones(make_pipeline, monkeypatch) -> None:
    monkeypatch.setattr(removal, "BATCH", 1)
    monkeypatch.setattr(maintenance, "SLICE", 0.0)
    pipeline = make_pipeline()
    source = synced(pipeline)
    while maintenance.tick(pipeline.runtime):  # the sweep of this hour
        pass
    sources.remove(pipeline.runtime, source)
    assert maintenance.tick(pipeline.runtime)
    assert shown(pipeline)["documents"] == 3
    rung: list[str] = []
    pipeline.runtime.ring = rung.append
    work_on(pipeline.runtime, "maintenance")
    assert shown(pipeline)["documents"] == 2
    assert rung[-1] == "maintenance"  # it goes on at once, but behind whatever else is due


def test_a_sweep_goes_on_where_the_last_tick_left_it(make_pipeline, monkeypatch) -> None:
    monkeypatch.setattr(forgetting, "SWEPT", 2)
    monkeypatch.setattr(maintenance, "SLICE", 0.0)
    pipeline = make_pipeline()
    synced(pipeline, number=1)
    with pipeline.runtime.ledger.write() as tx:
        content.save_embeddings(tx, {f"unused {number}": b"1234" for number in range(7)})
        tx.execute(update(embeddings).values(created_at=0))
        tx.execute(update(chores).values(done_at=0))
    left = []
    while maintenance.tick(pipeline.runtime):
        left.append(count(pipeline, embeddings))
        assert len(left) < 50
    assert left[:5] == [7, 5, 3, 1, 1]  # the first two rows are one that is used and one that is not
    assert count(pipeline, embeddings) == 1


# -- the turn to restart ----------------------------------------------------------------------------------------------


def test_two_that_want_to_restart_at_once_do_so_one_after_the_other(make_pipeline) -> None:
    """Because of their memory, so that nobody asked them to; each has its own row locked by its heartbeat."""
    pipeline = make_pipeline()
    for name in ("a", "b"):
        register(pipeline, name)
    ledger, answers, begun = pipeline.runtime.ledger, {}, threading.Event()

    def other() -> None:
        with ledger.write() as tx:
            ledger_workers.beat(tx, "b", state="ready", activity={})
            begun.set()
            answers["b"] = ledger_workers.take_turn(tx, "b")

    thread = threading.Thread(target=other)
    with ledger.write() as tx:
        ledger_workers.beat(tx, "a", state="ready", activity={})
        thread.start()
        begun.wait(0.5)  # on SQLite it waits for this transaction to end
        answers["a"] = ledger_workers.take_turn(tx, "a")
        time.sleep(0.2)
    thread.join(10)
    assert not thread.is_alive()
    assert sorted(answers.values()) == [False, True]
