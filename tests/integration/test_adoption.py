"""The end of a run takes along what is on its way a page at a time, however much that is."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, select, update

from semantik_pipeline import operations
from semantik_pipeline.ledger.ingestion import adoption
from semantik_pipeline.ledger.operations import holds
from semantik_pipeline.ledger.queue import fair_queue
from semantik_pipeline.ledger.queue.leases import Hold
from semantik_pipeline.ledger.tables import sources, work
from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.pipeline import work_on
from semantik_pipeline.stages import sync

LEDGERS = ("sqlite", "postgres")

PAGE, MANY = 10, 34


def source(count: int) -> SourceRequest:
    texts = {f"t{number:02}": f"text {number}" for number in range(count)}
    return SourceRequest(connector="fake-connector", name="fake", config={"documents": texts})


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, int]]:
    """How many items of each kind each transaction noted."""
    noted: list[dict[str, int]] = []
    note_items = adoption.note_items

    def note(tx: Any, operation_id: int, items: list[tuple[int, str, int]]) -> None:
        noted.append({kind: sum(item[1] == kind for item in items) for kind in {item[1] for item in items}})
        note_items(tx, operation_id, items)

    monkeypatch.setattr(adoption, "note_items", note)
    monkeypatch.setattr(adoption, "PAGE", PAGE)
    return noted


def total(pages: list[dict[str, int]], kind: str) -> int:
    return sum(page.get(kind, 0) for page in pages)


def test_what_a_run_brought_or_removed_itself_is_not_noted_again(make_pipeline, pages) -> None:
    pipeline = make_pipeline()
    pipeline.index(source(MANY))
    result = pipeline.index(source(1), allow_deletions=True)
    assert (result["outcome"], result["documents"]["deleted"]) == ("succeeded", MANY - 1)
    assert not any(pages)


def test_what_earlier_operations_left_is_waited_for(make_pipeline, pages) -> None:
    pipeline = make_pipeline()
    pipeline.index(source(MANY), run=False)
    pipeline.run("sync")
    second = pipeline.index(source(MANY), run=False)
    pipeline.run("sync")
    assert total(pages, "resumed") == MANY
    assert max(page.get("resumed", 0) for page in pages) == PAGE
    assert pipeline.result(second["id"])["outcome"] is None
    pipeline.run()
    assert pipeline.result(second["id"])["outcome"] == "succeeded"


def test_what_was_parked_goes_on_a_page_at_a_time(make_pipeline, pages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fair_queue, "SMALL", 0.0)
    freed = []
    free = holds._free

    def count(*args: Any, **options: Any) -> int:
        freed.append(free(*args, **options))
        return freed[-1]

    pipeline = make_pipeline()
    first = pipeline.index(source(MANY), run=False)["id"]
    pipeline.run("sync")
    turns = select(work.c.turn).order_by(work.c.document_id)
    with pipeline.runtime.ledger.read() as tx:
        before = list(tx.execute(turns).scalars())
    operations.cancel(pipeline.runtime, first)
    pipeline.index(source(MANY), run=False)
    with pipeline.runtime.ledger.write() as tx:
        tx.execute(update(sources).values(next_turn=1000.0))  # others were given turns meanwhile
    monkeypatch.setattr(holds, "_free", count)
    work_on(pipeline.runtime, "sync")
    assert (sum(freed), max(freed)) == (MANY, PAGE)
    with pipeline.runtime.ledger.read() as tx:
        after = list(tx.execute(turns).scalars())
    assert after == pytest.approx([turn + 1000.0 - before[0] for turn in before])


def test_a_sync_that_is_paused_at_its_end_takes_nothing_along(
    make_pipeline, pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = make_pipeline()
    pipeline.index(source(MANY), run=False)
    pipeline.run("sync")
    second = pipeline.index(source(MANY), run=False)["id"]
    touch = Hold.touch

    def pausing(hold: Hold) -> None:
        touch(hold)
        if total(pages, "resumed") == PAGE:
            monkeypatch.setattr(Hold, "touch", touch)
            operations.pause(pipeline.runtime, second)

    monkeypatch.setattr(Hold, "touch", pausing)
    work_on(pipeline.runtime, "sync")
    assert total(pages, "resumed") == PAGE
    with pipeline.runtime.ledger.read() as tx:
        held = tx.execute(select(func.count()).where(work.c.held_by == second)).scalar_one()
    assert held == PAGE
    operations.resume(pipeline.runtime, second)
    pipeline.run()
    assert pipeline.result(second)["outcome"] == "succeeded"


def test_those_on_which_an_extractor_failed_go_again(make_pipeline, pages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync, "NOTES", -60.0)
    pipeline = make_pipeline()
    pipeline.index(source(MANY))
    with pipeline.runtime.ledger.write() as tx:
        tx.execute(update(work).values(notes={"an extractor": "failed"}))
    again = pipeline.index(source(MANY), run=False)
    pipeline.run("sync")
    assert set(pipeline.stages().values()) == {"extract"}
    assert (total(pages, "retried"), total(pages, "resumed")) == (MANY, 0)
    assert max(page.get("retried", 0) for page in pages) == PAGE
    pipeline.run()
    assert pipeline.result(again["id"])["outcome"] == "succeeded"
