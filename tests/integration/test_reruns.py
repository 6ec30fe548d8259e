"""Documents that meet a filter are sent through the stages again in slices, whoever lives on to send them."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import func, select

from semantik_pipeline import generations, maintenance, operations
from semantik_pipeline.generations import building, rerunning
from semantik_pipeline.ledger import reruns, selection
from semantik_pipeline.ledger.tables import operation_items, work
from tests.integration.conftest import texts

LEDGERS = ("sqlite", "postgres")

WHERE = {"must": [{"key": "path", "match": {"text": "even"}}]}
EVEN, PAGE = 10, 3


@pytest.fixture
def pipe(make_pipeline, tmp_path: Path, monkeypatch):
    """Twenty documents, ten of which meet the filter; three are read at a time."""
    monkeypatch.setattr(selection, "PAGE", PAGE)
    contents = {f"{'even' if number % 2 == 0 else 'odd'} {number:02}": f"text {number}" for number in range(2 * EVEN)}
    made = make_pipeline()
    made.folder(texts(tmp_path / "corpus", **contents))
    return made


def sent(pipe, operation_id: int) -> int:
    mine = operation_items.c.operation_id == operation_id
    with pipe.runtime.ledger.read() as tx:
        return tx.execute(select(func.count()).where(mine)).scalar_one()


def advance(pipe) -> None:
    while building.advance(pipe.runtime, seconds=0):
        pass


def test_each_transaction_sends_a_slice_and_the_operation_waits_for_all(pipe) -> None:
    operation_id = generations.rerun(pipe.runtime, "default", WHERE)
    first = sent(pipe, operation_id)
    assert 0 < first <= PAGE
    pipe.run()
    assert operations.look(pipe.runtime, operation_id).state == "running"  # though all that were sent are through
    assert operations.look(pipe.runtime, operation_id).sources_running == 1
    assert building.advance(pipe.runtime, seconds=0)
    assert first < sent(pipe, operation_id) <= first + PAGE
    advance(pipe)
    pipe.run()
    maintenance.tick(pipe.runtime)
    result = pipe.result(operation_id)
    assert (result["outcome"], sent(pipe, operation_id)) == ("succeeded", EVEN)


def test_another_process_goes_on_where_one_died(pipe, make_pipeline) -> None:
    operation_id = generations.rerun(pipe.runtime, "default", WHERE)
    pipe.runtime.close()
    after = make_pipeline()
    maintenance.tick(after.runtime, alone=True)
    after.run()
    maintenance.tick(after.runtime)
    assert (after.result(operation_id)["outcome"], sent(after, operation_id)) == ("succeeded", EVEN)


def test_paused_it_sends_no_more_and_cancelled_never(pipe) -> None:
    operation_id = generations.rerun(pipe.runtime, "default", WHERE)
    before = sent(pipe, operation_id)
    operations.pause(pipe.runtime, operation_id)
    advance(pipe)
    assert sent(pipe, operation_id) == before
    operations.resume(pipe.runtime, operation_id)
    building.advance(pipe.runtime, seconds=0)
    some = sent(pipe, operation_id)
    assert before < some < EVEN
    operations.cancel(pipe.runtime, operation_id)
    advance(pipe)
    pipe.run()
    assert (pipe.result(operation_id)["outcome"], sent(pipe, operation_id)) == ("cancelled", some)


def test_two_who_go_on_with_it_send_no_document_twice(pipe) -> None:
    """Each has read where it is; only one may write."""
    operation_id = generations.rerun(pipe.runtime, "default", WHERE)
    with pipe.runtime.ledger.read() as tx:
        epochs = select(work.c.document_id, work.c.epoch)
        before = dict(map(tuple, tx.execute(epochs)))
    with pipe.runtime.ledger.read() as tx:
        (left,) = reruns.pending(tx)
    assert rerunning._send(pipe.runtime, left) is not None
    assert rerunning._send(pipe.runtime, left) is None
    advance(pipe)
    assert sent(pipe, operation_id) == EVEN
    with pipe.runtime.ledger.read() as tx:
        after = dict(map(tuple, tx.execute(epochs)))
    assert max(after[one] - before[one] for one in after) == 1


def test_a_dry_run_counts_without_naming_all(pipe) -> None:
    found = generations.matching(pipe.runtime, "default", WHERE)
    assert (found.documents, len(found.examples)) == (EVEN, EVEN)
    everything = generations.matching(pipe.runtime, "default", {"must": []})
    assert (everything.documents, len(everything.examples)) == (2 * EVEN, 10)


def test_what_is_fresh_is_parsed_anew_in_every_slice(pipe, monkeypatch) -> None:
    removed: list[str] = []
    remove = pipe.runtime.blobs.remove
    monkeypatch.setattr(pipe.runtime.blobs, "remove", lambda kind, key: (removed.append(key), remove(kind, key)))
    generations.rerun(pipe.runtime, "default", WHERE, fresh=True)
    assert 0 < len(removed) <= PAGE
    advance(pipe)
    assert len(removed) == EVEN
