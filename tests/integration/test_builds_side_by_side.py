"""A build beside syncs, pauses and other verifiers: nobody waits for ever, nothing is switched twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from sqlalchemy import select, update

from semantik_pipeline import generations, maintenance, operations
from semantik_pipeline.errors import ServiceUnavailable
from semantik_pipeline.generations import aliases, building
from semantik_pipeline.generations.gate import Gate
from semantik_pipeline.ledger.generations import backfill, builds
from semantik_pipeline.ledger.ingestion import revisions
from semantik_pipeline.ledger.operations import blocked_operations
from semantik_pipeline.ledger.queue.workers import NOBODY
from semantik_pipeline.ledger.tables import generations as table
from semantik_pipeline.ledger.tables import operations as operation_table
from semantik_pipeline.ledger.tables import work
from semantik_pipeline.pipeline import work_on
from semantik_pipeline.stages.comparison import Comparison
from semantik_pipeline.testing.qdrant_double import QdrantDouble
from semantik_pipeline.verification import verify
from tests.integration.test_pipeline_races import arrive, shown, source
from tests.integration.test_reindex import build, states, view
from tests.integration.test_reindex import shown as operation_shown

LEDGERS = ("sqlite", "postgres")

CHANGES = {"embedding.dimension": 32}
NAMES = [f"d{number:02}" for number in range(8)]


def contents(turn: int) -> dict[str, str]:
    return {name: f"{name} in round {turn} speaks of topic{name}" for name in NAMES}


def both(*calls) -> None:
    """Run them at the same time; an error of one is raised here."""
    errors: list[BaseException] = []

    def run(call) -> None:
        try:
            call()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    if errors:
        raise errors[0]


@pytest.fixture
def pipe(make_pipeline):
    made = make_pipeline()
    made.index(source(**contents(0)))
    return made


# -- locks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["sync", "fill"])
def test_a_fill_and_a_sync_of_the_same_documents_lock_in_one_order(pipe, monkeypatch, caplog, first: str) -> None:
    """Whoever comes first has locked its documents when the other comes, and takes its other locks only then."""
    operation_id = generations.reindex(pipe.runtime, "default", CHANGES)
    pipe.index(source(**contents(1)), run=False)
    reached = threading.Event()
    where, name = (revisions, "live_generations") if first == "sync" else (backfill, "note_items")
    original = getattr(where, name)

    def slowly(*args):
        if not reached.is_set():
            reached.set()
            time.sleep(0.5)  # the other gets as far as it can
        return original(*args)

    monkeypatch.setattr(where, name, slowly)

    def sync() -> None:
        assert first == "sync" or reached.wait(30)
        work_on(pipe.runtime, "sync")

    def fill() -> None:
        assert first == "fill" or reached.wait(30)
        building.advance(pipe.runtime, seconds=5)

    both(sync, fill)
    monkeypatch.undo()
    assert "deadlock" not in caplog.text and "Traceback" not in caplog.text
    assert build(pipe, operation_id)["outcome"] == "succeeded"
    texts = shown(pipe, "round of topicd03")
    assert texts and all("round 1" in text for text in texts)
    assert verify(pipe.runtime).clean


def test_syncs_beside_a_fill_in_small_steps(pipe, monkeypatch, caplog) -> None:
    monkeypatch.setattr(backfill, "BATCH", 2)
    operation_id = generations.reindex(pipe.runtime, "default", CHANGES)

    def sync() -> None:
        for turn in range(1, 5):
            arrive(pipe, **contents(turn))

    def fill() -> None:
        for _ in range(20):
            building.advance(pipe.runtime, seconds=0)

    both(sync, fill)
    assert "deadlock" not in caplog.text and "Traceback" not in caplog.text
    assert build(pipe, operation_id)["outcome"] == "succeeded"
    texts = shown(pipe, "round of topicd03")
    assert texts and all("round 4" in text for text in texts)
    assert verify(pipe.runtime).clean


# -- two verifiers ---------------------------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[QdrantDouble]:
    """A store that two processes can have."""
    double = QdrantDouble().start()
    yield double
    double.stop()


@pytest.fixture
def verifiers(make_pipeline, server):
    """Two processes that could both verify the build, whose units are all done; and its operation."""
    one, other = (make_pipeline(qdrant={"url": server.url}) for _ in range(2))
    other.runtime.worker_id = f"{one.runtime.worker_id}-other"
    one.index(source(**contents(0)))
    operation_id = generations.reindex(one.runtime, "default", CHANGES)
    building.advance(one.runtime, seconds=5)
    one.run()
    return one, other, operation_id


def test_one_of_two_verifiers_at_a_time_and_one_switches(verifiers, monkeypatch) -> None:
    one, other, operation_id = verifiers
    at_work: set[str] = set()
    met: list[set[str]] = []
    original = Gate.advance

    def advance(gate, until):
        name = gate._runtime.worker_id
        at_work.add(name)
        met.append(set(at_work))
        time.sleep(0.02)
        try:
            return original(gate, time.monotonic())  # a step at a time
        finally:
            at_work.discard(name)

    monkeypatch.setattr(Gate, "advance", advance)

    def verify(pipe) -> None:
        for _ in range(200):
            building.advance(pipe.runtime, seconds=0)
            if pipe.result(operation_id)["outcome"] is not None:
                return

    both(lambda: verify(one), lambda: verify(other))
    assert all(len(names) == 1 for names in met)
    assert one.result(operation_id)["outcome"] == "succeeded"
    assert states(one) == ["active", "kept"]


def test_one_that_looked_before_the_other_began_to_verify_leaves_it_to_it(verifiers, monkeypatch) -> None:
    one, other, operation_id = verifiers
    original = builds.is_unfinished

    def is_unfinished(tx, build, **how):
        left = original(tx, build, **how)
        monkeypatch.setattr(builds, "is_unfinished", original)
        building.advance(one.runtime, seconds=0)
        return left

    monkeypatch.setattr(builds, "is_unfinished", is_unfinished)
    building.advance(other.runtime, seconds=0)
    with one.runtime.ledger.read() as tx:
        (mine,) = builds.building(tx)
    assert mine.progress["verifier"]["worker"] == one.runtime.worker_id
    assert build(one, operation_id)["outcome"] == "succeeded"


def test_a_verifier_that_comes_late_with_its_verdict_changes_nothing(verifiers) -> None:
    """Its time was over, another one verified and switched, and somebody went back."""
    one, other, operation_id = verifiers
    building.advance(one.runtime, seconds=0)
    with one.runtime.ledger.read() as tx:
        (mine,) = builds.building(tx)
    gate = Gate(one.runtime, mine)
    while (verdict := gate.advance(float("inf"))) is None:
        pass
    with one.runtime.ledger.write() as tx:  # it stood still for a minute
        builds.note(tx, mine.generation_id, verifier={"worker": one.runtime.worker_id, "until": 1.0})
    assert build(other, operation_id)["outcome"] == "succeeded"
    generations.rollback(other.runtime, "default")
    before, active = states(one), view(one)
    assert not building._decide(one.runtime, mine, verdict)
    assert (states(one), view(one)) == (before, active)


def test_a_verifier_that_cannot_embed_leaves_the_build_to_others(verifiers, monkeypatch) -> None:
    """It is the first to come by each time."""
    one, other, operation_id = verifiers

    def away(*_: object) -> None:
        raise ServiceUnavailable("The key for the embedder is not accepted here.")

    monkeypatch.setattr(one.runtime, "embedder", away)
    for _ in range(5):
        building.advance(one.runtime, seconds=1)
        building.advance(other.runtime, seconds=1)
    assert one.result(operation_id)["outcome"] == "succeeded"
    assert "not accepted" in " ".join(one.runtime.refusals(["embed"]).values())


# -- aliases ----------------------------------------------------------------------------------------------------------


def aliased(server) -> list[str]:
    return [one.collection_name for one in server.client.get_aliases().aliases]


def test_an_alias_that_a_dead_process_left_behind_is_mended(make_pipeline, server, monkeypatch) -> None:
    pipe = make_pipeline(qdrant={"url": server.url})
    pipe.index(source(**contents(0)))
    assert aliased(server) == []
    maintenance.tick(pipe.runtime)
    assert aliased(server) == [view(pipe).index]  # of a collection that never was reindexed, too
    monkeypatch.setattr(aliases, "tell_outsiders", lambda *_: None)  # it dies right after the commit
    monkeypatch.setattr(aliases, "mend", lambda *_: None)
    before = view(pipe).index
    build(pipe, generations.reindex(pipe.runtime, "default", CHANGES))
    assert aliased(server) == [before] != [view(pipe).index]
    monkeypatch.undo()
    building.advance(pipe.runtime, seconds=0)
    assert aliased(server) == [view(pipe).index]
    pointed = len(server.requests)
    building.advance(pipe.runtime, seconds=0)
    assert not [one for one in server.requests[pointed:] if "aliases" in one]  # nothing is owed any more


def test_an_alias_that_is_overtaken_by_a_switch_names_what_search_reads(make_pipeline, server, monkeypatch) -> None:
    pipe = make_pipeline(qdrant={"url": server.url})
    pipe.index(source(**contents(0)))
    build(pipe, generations.reindex(pipe.runtime, "default", CHANGES))
    store, overtaken = type(pipe.runtime.store), []
    point = store.point_alias

    def overtake(self, alias: str, name: str) -> None:
        if not overtaken:
            overtaken.append(name)
            generations.rollback(pipe.runtime, "default")
        point(self, alias, name)

    monkeypatch.setattr(store, "point_alias", overtake)
    aliases.point_alias(pipe.runtime, "default")
    assert overtaken != [view(pipe).index] == aliased(server)


# -- what is held -----------------------------------------------------------------------------------------------------


def held(pipe) -> dict[int, int]:
    """Generation -> how many of its units somebody holds."""
    with pipe.runtime.ledger.read() as tx:
        rows = tx.execute(select(work.c.generation_id).where(work.c.held_by.is_not(None))).scalars().all()
    return {one: rows.count(one) for one in rows}


def test_what_arrives_for_a_paused_sync_is_built_all_the_same(pipe, monkeypatch) -> None:
    first = view(pipe).generation_id
    operation_id = generations.reindex(pipe.runtime, "default", CHANGES)
    building.advance(pipe.runtime, seconds=5)
    synced = pipe.index(source(**contents(1)), run=False)["id"]
    compare = Comparison.of

    def compare_while_it_is_paused(self, batch, before):
        result = compare(self, batch, before)
        operations.pause(pipe.runtime, synced)
        return result

    monkeypatch.setattr(Comparison, "of", compare_while_it_is_paused)
    work_on(pipe.runtime, "sync")
    monkeypatch.undo()
    assert held(pipe) == {first: len(NAMES)}
    assert build(pipe, operation_id)["outcome"] == "succeeded"
    assert held(pipe) == {first: len(NAMES)}
    operations.resume(pipe.runtime, synced)
    assert held(pipe) == {}
    pipe.run()
    assert pipe.result(synced)["outcome"] == "succeeded"
    assert verify(pipe.runtime).clean


def test_a_build_that_is_resumed_is_not_handed_to_a_paused_sync(pipe) -> None:
    first = view(pipe).generation_id
    synced = pipe.index(source(**contents(1)), run=False)["id"]
    work_on(pipe.runtime, "sync")
    operation_id = generations.reindex(pipe.runtime, "default", CHANGES)
    building.advance(pipe.runtime, seconds=5)
    operations.pause(pipe.runtime, synced)
    operations.pause(pipe.runtime, operation_id)
    assert held(pipe)[first] == len(NAMES)
    operations.resume(pipe.runtime, operation_id)
    assert held(pipe) == {first: len(NAMES)}
    operations.resume(pipe.runtime, synced)
    assert held(pipe) == {}
    assert build(pipe, operation_id)["outcome"] == "succeeded"


def test_a_sync_that_is_cancelled_beside_a_build_parks_its_documents(pipe) -> None:
    synced = pipe.index(source(**contents(1)), run=False)["id"]
    work_on(pipe.runtime, "sync")
    generations.reindex(pipe.runtime, "default", CHANGES)
    building.advance(pipe.runtime, seconds=5)
    assert operations.cancel(pipe.runtime, synced) == len(NAMES)


def test_a_build_says_who_holds_what_it_waits_for(pipe) -> None:
    """Also of documents that came after it began, which are no items of its own."""
    operation_id = generations.reindex(pipe.runtime, "default", CHANGES)
    building.advance(pipe.runtime, seconds=5)
    arrive(pipe, **contents(1))
    with pipe.runtime.ledger.read() as tx:
        (other,) = tx.execute(
            select(operation_table.c.id).where(operation_table.c.state == "running", operation_table.c.kind == "sync")
        ).scalars()
        (mine,) = builds.building(tx)
    its = work.c.generation_id == mine.generation_id
    with pipe.runtime.ledger.write() as tx:
        tx.execute(update(work).where(its).values(held_by=other))
    told = operation_shown(pipe, operation_id)
    assert told["state"] == "blocked"
    assert f"{len(NAMES)} documents are held by operation {other}" in told["reason"]
    with pipe.runtime.ledger.write() as tx:
        tx.execute(update(work).where(its).values(held_by=None, blocked="the plugin x is disabled", not_before=1e12))
    assert operation_shown(pipe, operation_id)["reason"] == "the plugin x is disabled"
    with pipe.runtime.ledger.write() as tx:
        tx.execute(update(work).where(its).values(blocked=None, not_before=0))
    assert operation_shown(pipe, operation_id)["reason"] is None


def test_a_gate_that_nobody_can_verify_says_so(pipe) -> None:
    operation_id = generations.reindex(pipe.runtime, "default", CHANGES)
    with pipe.runtime.ledger.write() as tx:
        tx.execute(update(table).where(table.c.state == "building").values(build={"phase": "verifying"}))
        assert blocked_operations.reason(tx, operation_id, []) == NOBODY
        assert blocked_operations.reason(tx, operation_id, None) is None
