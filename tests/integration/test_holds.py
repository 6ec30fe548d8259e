"""Operations that are paused, resumed or cancelled: their state counts at once, and their units follow in slices.

Any living process continues the slices.
"""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from semantik_pipeline import generations, maintenance, operations
from semantik_pipeline.ledger.ingestion import absence, adoption
from semantik_pipeline.ledger.ingestion import sync as ledger_sync
from semantik_pipeline.ledger.operations import holds, lifecycle, operation_reports, reruns
from semantik_pipeline.ledger.queue import due, pending_holds
from semantik_pipeline.ledger.queue.work import STAGES, claim
from semantik_pipeline.ledger.tables import sources, work
from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.pipeline import work_on
from semantik_pipeline.stages import holding
from semantik_pipeline.verification import verify

LEDGERS = ("sqlite", "postgres")

DOCUMENTS, BATCH = 12, 5


def source(name: str, file: Path, count: int = DOCUMENTS) -> SourceRequest:
    file.write_text(json.dumps({f"{name}{number:02}": f"text number {number} of {name}" for number in range(count)}))
    return SourceRequest(connector="fake-connector", name=name, config={"documents_file": str(file)})


@pytest.fixture
def pipe(make_pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(holds, "BATCH", BATCH)
    return make_pipeline()


@pytest.fixture
def half_way(pipe, tmp_path: Path) -> int:
    """A sync whose documents wait to be embedded."""
    operation_id = pipe.index(source("a", tmp_path / "a.json"), run=False)["id"]
    pipe.run("sync", "chunk", "extract")
    return operation_id


def dies_after(pipe, change: Any, operation_id: int, *, slices: int = 0) -> None:
    """Whoever changes the operation's state dies when that, and so many slices of its units, are committed."""
    with pipe.runtime.ledger.write() as tx:
        change(tx, operation_id)
    for _ in range(slices):
        assert holding.apply(pipe.runtime, operation_id)


def held(pipe) -> int:
    with pipe.runtime.ledger.read() as tx:
        return tx.execute(select(func.count()).where(work.c.held_by.is_not(None))).scalar_one()


def turns(pipe) -> list[float]:
    with pipe.runtime.ledger.read() as tx:
        return list(tx.execute(select(work.c.turn).order_by(work.c.document_id)).scalars())


def state(pipe, operation_id: int) -> str:
    with pipe.runtime.ledger.read() as tx:
        return operation_reports.show_operation(tx, operation_id, workers=None)["state"]


def test_a_transaction_holds_a_slice(pipe, half_way: int) -> None:
    now_held = []
    dies_after(pipe, holds.pause, half_way)
    while holding.apply(pipe.runtime, half_way):
        now_held.append(held(pipe))
    assert now_held == [5, 10, 12, 12]
    dies_after(pipe, holds.resume, half_way)
    left = []
    while holding.apply(pipe.runtime, half_way):
        left.append(held(pipe))
    assert left == [7, 2, 0, 0]


@pytest.mark.parametrize("slices", [0, 1])
def test_nobody_claims_what_is_paused_and_not_held_yet(pipe, half_way: int, tmp_path: Path, slices: int) -> None:
    dies_after(pipe, holds.pause, half_way, slices=slices)
    with pipe.runtime.ledger.write() as tx:
        assert due.at(tx, "embed") == (False, False)
        assert claim(tx, "embed", worker="me", lease=60, limit=DOCUMENTS) is None
    assert maintenance.ring_due(pipe.runtime) == []
    others = pipe.index(source("b", tmp_path / "b.json", count=3))
    assert others["outcome"] == "succeeded", "what is nobody else's goes on"
    assert set(pipe.stages().values()) == {"embed", "indexed"}
    assert held(pipe) == BATCH * slices


def test_maintenance_goes_on_where_one_died(pipe, half_way: int) -> None:
    dies_after(pipe, holds.pause, half_way, slices=1)
    maintenance.tick(pipe.runtime)
    assert (held(pipe), state(pipe, half_way)) == (DOCUMENTS, "paused")
    dies_after(pipe, holds.resume, half_way, slices=1)
    maintenance.tick(pipe.runtime)
    assert held(pipe) == 0
    pipe.run()
    assert pipe.result(half_way)["outcome"] == "succeeded"


def test_a_cancelled_one_ends_when_all_is_parked(pipe, half_way: int, tmp_path: Path) -> None:
    dies_after(pipe, holds.cancel, half_way, slices=1)
    with pipe.runtime.ledger.write() as tx:
        assert not lifecycle.settle(tx, half_way)
    assert state(pipe, half_way) == "cancelling"
    work_on(pipe.runtime, "embed")
    assert set(pipe.stages().values()) == {"embed"}
    maintenance.tick(pipe.runtime)
    maintenance.tick(pipe.runtime)
    result = pipe.result(half_way)
    assert (result["outcome"], result["cancelled"]) == ("cancelled", DOCUMENTS)
    assert pipe.index(source("a", tmp_path / "a.json"))["outcome"] == "succeeded"
    assert verify(pipe.runtime).clean


def test_the_last_word_counts(pipe, half_way: int) -> None:
    """Who lets it go on, or cancels it, while it is being paused has not to wait for that."""
    dies_after(pipe, holds.pause, half_way, slices=1)
    assert operations.resume(pipe.runtime, half_way) == BATCH
    assert held(pipe) == 0
    dies_after(pipe, holds.pause, half_way, slices=2)
    assert operations.cancel(pipe.runtime, half_way) == DOCUMENTS
    assert pipe.result(half_way)["outcome"] == "cancelled"


def test_it_says_how_many_documents_that_are_however_many_generations_have_them(pipe, tmp_path: Path) -> None:
    pipe.index(source("a", tmp_path / "a.json", count=1))
    reindexed = generations.reindex(pipe.runtime, "default", {"embedding.dimension": 32})
    for _ in range(3):
        maintenance.tick(pipe.runtime)
        pipe.run()
    assert pipe.result(reindexed)["outcome"] == "succeeded"
    operation_id = pipe.index(source("a", tmp_path / "a.json"), run=False)["id"]
    pipe.run("sync", "chunk")
    with pipe.runtime.ledger.read() as tx:
        on_their_way = work.c.stage.in_(STAGES)
        assert tx.execute(select(func.count()).where(on_their_way)).scalar_one() == 2 * (DOCUMENTS - 1)
    for change in (operations.pause, operations.resume, operations.cancel):
        assert change(pipe.runtime, operation_id) == DOCUMENTS - 1


def test_one_who_has_seen_an_older_state_changes_nothing(pipe, half_way: int) -> None:
    dies_after(pipe, holds.pause, half_way)
    with pipe.runtime.ledger.read() as tx:
        seen = holds.look(tx, half_way)
    holding.apply(pipe.runtime, half_way)
    with pipe.runtime.ledger.write() as tx:
        holds.apply(tx, seen)
    assert held(pipe) == BATCH
    dies_after(pipe, holds.resume, half_way)
    with pipe.runtime.ledger.write() as tx:
        holds.apply(tx, seen)
        assert pending_holds.operation_ids(tx) == [half_way]
    assert held(pipe) == BATCH


def test_a_sync_takes_up_what_a_paused_operation_holds_and_what_it_does_not_yet(
    pipe, half_way: int, tmp_path: Path
) -> None:
    dies_after(pipe, holds.pause, half_way, slices=1)
    asked = pipe.index(source("a", tmp_path / "a.json"), run=False)["id"]
    pipe.run("sync")
    assert held(pipe) == 0
    maintenance.tick(pipe.runtime)
    pipe.run()
    assert pipe.result(asked)["outcome"] == "succeeded"


def test_what_a_sync_takes_up_is_not_parked_meanwhile(pipe, half_way: int, tmp_path: Path) -> None:
    """Neither sees what the other has not committed."""
    asked = pipe.index(source("a", tmp_path / "a.json"), run=False)["id"]
    runtime = pipe.runtime
    with runtime.ledger.write() as tx:
        claimed = ledger_sync.claim_source(tx, worker="me", lease=60)
    assert claimed is not None and claimed.operation_id == asked
    dies_after(pipe, holds.cancel, half_way)
    applying = threading.Thread(target=holding.apply, args=(runtime, half_way))
    with runtime.ledger.write() as tx:
        assert ledger_sync.source_held(tx, claimed)
        adoption.adopt(tx, claimed, adoption.Page(behind=0.0))
        applying.start()
        applying.join(timeout=0.5)
    applying.join()
    assert held(pipe) == 0


def test_a_sync_that_is_paused_at_its_end_removes_nothing(pipe, tmp_path: Path, monkeypatch) -> None:
    pipe.index(source("a", tmp_path / "a.json"))
    operation_id = pipe.index(source("a", tmp_path / "a.json", count=3), run=False, allow_deletions=True)["id"]
    count = absence.count_vanished

    def pausing(*args: Any, **options: Any) -> tuple[int, int]:
        monkeypatch.setattr(absence, "count_vanished", count)
        operations.pause(pipe.runtime, operation_id)
        return count(*args, **options)

    monkeypatch.setattr(absence, "count_vanished", pausing)
    pipe.run()
    assert (len(pipe.stages()), state(pipe, operation_id)) == (DOCUMENTS, "paused")
    operations.resume(pipe.runtime, operation_id)
    pipe.run()
    assert pipe.result(operation_id)["documents"]["deleted"] == DOCUMENTS - 3


def test_what_was_in_hand_when_its_operation_was_cancelled_is_held_no_more_at_its_end(pipe, half_way: int) -> None:
    """Else it would wait for ever when it is sent on its way again: the operation is over."""
    runtime = pipe.runtime
    pipe.run("embed")
    insert = runtime.store.insert

    def cancelling(*args: Any, **options: Any) -> Any:
        monkey.undo()
        operations.cancel(runtime, half_way)
        return insert(*args, **options)

    with pytest.MonkeyPatch.context() as monkey:
        monkey.setattr(runtime.store, "insert", cancelling)
        work_on(runtime, "upsert")
    assert pipe.result(half_way)["outcome"] == "cancelled"
    assert set(pipe.stages().values()) == {"indexed"}
    with runtime.ledger.write() as tx:
        tx.execute(update(work).values(reconcile=True))
    maintenance.tick(runtime)
    assert set(pipe.stages().values()) == {"upsert"}
    pipe.run()
    assert set(pipe.stages().values()) == {"indexed"}


def test_what_a_rerun_that_has_failed_waits_for_is_not_parked(pipe, half_way: int) -> None:
    ids = range(1, DOCUMENTS + 1)
    with pipe.runtime.ledger.write() as tx:
        rerun = reruns.begin(tx, 1, {"must": []}, fresh=False)
        assert reruns.send(tx, rerun, [*ids], upto=DOCUMENTS)
        reruns.fail(tx, replace(rerun, after=DOCUMENTS), "its filter is wrong")
    assert operations.cancel(pipe.runtime, half_way) == 0
    pipe.run()
    maintenance.tick(pipe.runtime)
    assert pipe.result(rerun.operation_id)["outcome"] == "failed"


def pass_time(pipe, virtual: float) -> None:
    """Others were given turns meanwhile."""
    with pipe.runtime.ledger.write() as tx:
        tx.execute(update(sources).values(next_turn=virtual))


def distances(found: list[float]) -> list[float]:
    return [round(later - earlier, 6) for earlier, later in pairwise(found)]


def test_what_is_freed_in_slices_keeps_its_distances_behind_the_virtual_time(pipe, half_way: int) -> None:
    before = turns(pipe)
    operations.pause(pipe.runtime, half_way)
    pass_time(pipe, 1000.0)
    operations.resume(pipe.runtime, half_way)
    after = turns(pipe)
    assert (min(after), distances(after)) == (1000.0, distances(before))
