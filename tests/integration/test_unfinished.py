"""What an operation left unfinished is taken up by another one in slices, whoever lives on to see to it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from semantik_pipeline import maintenance, operations
from semantik_pipeline.errors import UsageError
from semantik_pipeline.ledger.access import audit_trail
from semantik_pipeline.ledger.ingestion import unfinished
from semantik_pipeline.ledger.operations import operation_reports
from semantik_pipeline.ledger.tables import operation_items, work
from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.verification import verify
from tests.integration.test_holds import distances, pass_time, turns

LEDGERS = ("sqlite", "postgres")

DOCUMENTS, BATCH = 12, 5


@pytest.fixture
def pipe(make_pipeline, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(unfinished, "BATCH", BATCH)
    return make_pipeline()


def request(tmp_path: Path) -> SourceRequest:
    file = tmp_path / "a.json"
    file.write_text(json.dumps({f"a{number:02}": f"text number {number}" for number in range(DOCUMENTS)}))
    return SourceRequest(connector="fake-connector", name="a", config={"documents_file": str(file)})


@pytest.fixture
def parked(pipe, tmp_path: Path) -> int:
    """A sync that was cancelled when its documents waited to be embedded."""
    operation_id = pipe.index(request(tmp_path), run=False)["id"]
    pipe.run("sync", "chunk", "extract")
    operations.cancel(pipe.runtime, operation_id)
    assert pipe.result(operation_id)["outcome"] == "cancelled"
    return operation_id


def held(pipe) -> int:
    with pipe.runtime.ledger.read() as tx:
        return tx.execute(select(func.count()).where(work.c.held_by.is_not(None))).scalar_one()


def items(pipe, operation_id: int) -> int:
    with pipe.runtime.ledger.read() as tx:
        mine = operation_items.c.operation_id == operation_id
        return tx.execute(select(func.count()).select_from(operation_items).where(mine)).scalar_one()


def state(pipe, operation_id: int) -> str:
    with pipe.runtime.ledger.read() as tx:
        return operation_reports.show_operation(tx, operation_id, workers=None)["state"]


def test_who_asks_waits_for_a_slice_and_maintenance_sees_to_the_rest(pipe, parked: int) -> None:
    again = operations.retry(pipe.runtime, parked)
    assert (held(pipe), items(pipe, again)) == (DOCUMENTS - BATCH, BATCH)
    pipe.run("embed", "upsert")
    assert state(pipe, again) == "running", "its first documents are done, and others are to be its"
    left = []
    while operations.take_up(pipe.runtime, again):
        left.append(held(pipe))
    assert left == [DOCUMENTS - 2 * BATCH]
    assert held(pipe) == 0
    pipe.run()
    assert (pipe.result(again)["outcome"], items(pipe, again)) == ("succeeded", DOCUMENTS)
    assert verify(pipe.runtime).clean
    with pytest.raises(UsageError, match="left nothing unfinished"):
        operations.retry(pipe.runtime, parked)


def test_maintenance_goes_on_where_one_died(pipe, parked: int) -> None:
    again = operations.retry(pipe.runtime, parked)
    maintenance.tick(pipe.runtime)
    assert held(pipe) == 0
    pipe.run()
    assert pipe.result(again)["outcome"] == "succeeded"


def test_a_bell_goes_on_with_it(pipe, parked: int) -> None:
    rung: list[str] = []
    pipe.runtime.ring = rung.append
    operations.retry(pipe.runtime, parked)
    assert "maintenance" in rung


def test_one_that_is_paused_takes_nothing_up_until_it_goes_on(pipe, parked: int) -> None:
    again = operations.retry(pipe.runtime, parked)
    operations.pause(pipe.runtime, again)
    maintenance.tick(pipe.runtime)
    assert items(pipe, again) == BATCH
    operations.resume(pipe.runtime, again)
    maintenance.tick(pipe.runtime)
    pipe.run()
    assert (pipe.result(again)["outcome"], items(pipe, again)) == ("succeeded", DOCUMENTS)


def test_what_a_cancelled_one_did_not_come_to_is_still_the_first_ones(pipe, parked: int) -> None:
    again = operations.retry(pipe.runtime, parked)
    operations.cancel(pipe.runtime, again)
    maintenance.tick(pipe.runtime)
    assert pipe.result(again)["outcome"] == "cancelled"
    assert held(pipe) == DOCUMENTS
    for one in (parked, again):
        last = operations.retry(pipe.runtime, one)
        maintenance.tick(pipe.runtime)
        pipe.run()
        assert pipe.result(last)["outcome"] == "succeeded"
    assert set(pipe.stages().values()) == {"indexed"}


def test_a_retry_of_one_that_was_cancelled_half_way_goes_on_with_the_first_one_too(pipe, parked: int) -> None:
    """It would succeed otherwise, while the first one's documents wait."""
    again = operations.retry(pipe.runtime, parked)
    operations.cancel(pipe.runtime, again)
    last = operations.retry(pipe.runtime, again)
    while operations.take_up(pipe.runtime, last):
        pass
    pipe.run()
    assert (pipe.result(last)["outcome"], items(pipe, last), held(pipe)) == ("succeeded", DOCUMENTS, 0)


def test_one_whose_own_documents_are_done_still_has_those_that_it_did_not_come_to(pipe, parked: int) -> None:
    again = operations.retry(pipe.runtime, parked)
    pipe.run("embed", "upsert")
    operations.cancel(pipe.runtime, again)
    assert set(pipe.stages().values()) == {"indexed", "embed"}
    last = operations.retry(pipe.runtime, again)
    maintenance.tick(pipe.runtime)
    pipe.run()
    assert (pipe.result(last)["outcome"], held(pipe)) == ("succeeded", 0)
    with pytest.raises(UsageError, match="left nothing unfinished"):
        operations.retry(pipe.runtime, last)


def test_who_has_seen_less_takes_nothing_up(pipe, parked: int) -> None:
    again = operations.retry(pipe.runtime, parked)
    with pipe.runtime.ledger.read() as tx:
        [seen] = unfinished.pending(tx)
        ids = unfinished.following(tx, seen)
    operations.take_up(pipe.runtime, again)
    with pipe.runtime.ledger.write() as tx:
        assert not unfinished.take_up(tx, seen, ids)
    assert items(pipe, again) == 2 * BATCH


def test_what_a_sync_took_up_meanwhile_is_left_to_it(pipe, parked: int, tmp_path: Path) -> None:
    again = operations.retry(pipe.runtime, parked)
    asked = pipe.index(request(tmp_path), run=False)["id"]
    pipe.run("sync")
    maintenance.tick(pipe.runtime)
    assert items(pipe, again) == BATCH
    pipe.run()
    assert {pipe.result(one)["outcome"] for one in (again, asked)} == {"succeeded"}


def test_what_is_freed_in_slices_keeps_its_distances_behind_the_virtual_time(pipe, parked: int) -> None:
    before = turns(pipe)
    pass_time(pipe, 1000.0)
    operations.retry(pipe.runtime, parked)
    maintenance.tick(pipe.runtime)
    after = turns(pipe)
    assert (min(after), distances(after)) == (1000.0, distances(before))


def test_documents_in_quarantine_begin_anew_in_slices_among_the_parked_ones(pipe, parked: int) -> None:
    error = {"stage": "embed", "type": "ValueError", "message": "", "traceback": None}
    with pipe.runtime.ledger.write() as tx:
        lost = {"stage": "quarantined", "held_by": None, "error": error, "attempts": 3}
        tx.execute(update(work).where(work.c.document_id % 2 == 0).values(lost))
    again = operations.retry(pipe.runtime, parked)
    assert (items(pipe, again), sorted(set(pipe.stages().values()))) == (BATCH, ["chunk", "embed", "quarantined"])
    maintenance.tick(pipe.runtime)
    assert sorted(set(pipe.stages().values())) == ["chunk", "embed"]
    pipe.run()
    assert pipe.result(again)["outcome"] == "succeeded"
    with pipe.runtime.ledger.read() as tx:
        [told] = [one for one in audit_trail.entries(tx, limit=9) if one["event"] == "operation.retry"]
    assert told["detail"] == {"by": f"retry-{again}", "documents": DOCUMENTS, "sources": 0}
