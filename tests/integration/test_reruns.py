"""Documents that meet a filter are sent through the stages again in slices, whoever lives on to send them."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from semantik_pipeline import generations, maintenance, operations, trash
from semantik_pipeline.errors import ServiceUnavailable, UsageError
from semantik_pipeline.generations import building, rerunning
from semantik_pipeline.ledger.documents import selection
from semantik_pipeline.ledger.operations import reruns
from semantik_pipeline.ledger.queue.work import claim
from semantik_pipeline.ledger.tables import operation_items, work
from semantik_pipeline.ledger.tables import operations as table
from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.push import Given, push
from tests.integration.conftest import texts

LEDGERS = ("sqlite", "postgres")

WHERE = {"must": [{"key": "path", "match": {"text": "even"}}]}
EVEN, PAGE = 10, 3


@pytest.fixture
def pipe(make_pipeline, tmp_path: Path, monkeypatch):
    """Twenty documents, ten of which meet the filter; three are read at a time. There is a trash."""
    monkeypatch.setattr(selection, "PAGE", PAGE)
    contents = {f"{'even' if number % 2 == 0 else 'odd'} {number:02}": f"text {number}" for number in range(2 * EVEN)}
    made = make_pipeline(retention={"trash_days": 7})
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


def test_it_waits_while_enough_of_what_it_sent_is_on_its_way(pipe, make_pipeline) -> None:
    pipe.runtime.close()
    pipe = make_pipeline(work={"max_in_flight": PAGE + 1})
    operation_id = generations.rerun(pipe.runtime, "default", {"must": []})
    counts = []
    for _ in range(2 * EVEN):
        advance(pipe)
        counts.append(sent(pipe, operation_id))
        pipe.run()
    on_their_way = [later - earlier for earlier, later in pairwise([0, *counts])]
    assert max(on_their_way) == 2 * PAGE
    maintenance.tick(pipe.runtime)
    assert (pipe.result(operation_id)["outcome"], counts[-1]) == ("succeeded", 2 * EVEN)


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


# -- a filter that few documents meet ----------------------------------------------------------------------------------


def named(pipe, *names: str) -> dict:
    """A filter that only the documents of these names, as in a URI, meet."""
    return {"must": [{"key": "document", "match": {"any": [pipe.unit(f"{name}.txt")["unique_id"] for name in names]}}]}


def looked_upto(pipe, operation_id: int) -> int | None:
    with pipe.runtime.ledger.read() as tx:
        detail = tx.execute(select(table.c.detail).where(table.c.id == operation_id)).scalar_one()
    return detail.get("looked_upto")


def test_a_slice_is_a_page_though_nothing_on_it_meets_the_filter(pipe) -> None:
    operation_id = generations.rerun(pipe.runtime, "default", named(pipe, "even%2000", "odd%2019"))
    upto, pages = [looked_upto(pipe, operation_id)], 0
    while building.advance(pipe.runtime, seconds=0):
        upto.append(looked_upto(pipe, operation_id))
        pages += 1
    assert upto == sorted(set(upto)), "each slice comes further"
    assert pages >= 2 * EVEN // PAGE - 2
    assert (sent(pipe, operation_id), looked_upto(pipe, operation_id)) == (2, None)


def test_the_first_slice_is_the_one_with_the_first_document_that_meets_the_filter(pipe) -> None:
    name = max(pipe.stages(), key=lambda name: pipe.unit(name)["document_id"]).removesuffix(".txt")
    operation_id = generations.rerun(pipe.runtime, "default", named(pipe, name))
    assert sent(pipe, operation_id) == 1
    assert generations.matching(pipe.runtime, "default", named(pipe, name)).documents == 1
    with pytest.raises(UsageError, match="No document"):
        generations.rerun(pipe.runtime, "default", {"must": [{"key": "document", "match": {"value": "nowhere"}}]})
    wrong = {"must": [{"key": "metadata.any", "match": {"value": 1}}], "must_not": [{"is_empty": {"key": "colour"}}]}
    for ask in (generations.rerun, generations.matching):
        with pytest.raises(UsageError, match="Documents have no field 'colour'"):
            ask(pipe.runtime, "default", wrong)


# -- one that can't go on ----------------------------------------------------------------------------------------------


def away(*_: str) -> None:
    raise ServiceUnavailable("the blobs can't be reached")


def test_blobs_that_are_away_keep_back_neither_maintenance_nor_other_reruns(pipe, monkeypatch) -> None:
    first = generations.rerun(pipe.runtime, "default", WHERE, fresh=True)
    second = generations.rerun(pipe.runtime, "default", WHERE)
    rung: list[str] = []
    with monkeypatch.context() as broken:
        broken.setattr(pipe.runtime.blobs, "remove", away)
        broken.setattr(pipe.runtime, "ring", rung.append)
        before = sent(pipe, first)
        maintenance.tick(pipe.runtime)
        assert "chunk" in rung
        assert (sent(pipe, first), sent(pipe, second)) == (before, EVEN)
        third = generations.rerun(pipe.runtime, "default", WHERE, fresh=True)  # it is begun, and waits
    assert sent(pipe, third) == 0
    advance(pipe)
    pipe.run()
    maintenance.tick(pipe.runtime)
    assert [pipe.result(one)["outcome"] for one in (first, second, third)] == ["succeeded"] * 3
    assert [sent(pipe, one) for one in (first, second, third)] == [EVEN] * 3


def test_one_whose_filter_means_nothing_any_more_has_failed(pipe) -> None:
    operation_id = generations.rerun(pipe.runtime, "default", WHERE)
    with pipe.runtime.ledger.write() as tx:
        detail = tx.execute(select(table.c.detail).where(table.c.id == operation_id)).scalar_one()
        wrong = {**detail, "where": {"must": [{"key": "nothing"}]}}
        tx.execute(update(table).where(table.c.id == operation_id).values(detail=wrong))
    maintenance.tick(pipe.runtime)
    pipe.run()
    maintenance.tick(pipe.runtime)
    result = pipe.result(operation_id)
    assert result["outcome"] == "failed"
    assert len(result["errors"]) == 1 and "nothing" in result["errors"][0]


# -- one that was cancelled --------------------------------------------------------------------------------------------


def test_retry_goes_on_where_a_cancelled_one_ended(pipe) -> None:
    operation_id = generations.rerun(pipe.runtime, "default", WHERE, fresh=True)
    some = sent(pipe, operation_id)
    pipe.run()
    operations.cancel(pipe.runtime, operation_id)
    advance(pipe)
    again = operations.retry(pipe.runtime, operation_id)
    with pipe.runtime.ledger.read() as tx:
        (pending,) = reruns.pending(tx)
    assert (pending.operation_id, pending.where, pending.fresh) == (again, WHERE, True)
    advance(pipe)
    pipe.run()
    maintenance.tick(pipe.runtime)
    assert (sent(pipe, operation_id), sent(pipe, again)) == (some, EVEN - some)
    assert pipe.result(again)["outcome"] == "succeeded"
    for one in (operation_id, again):
        with pytest.raises(UsageError, match="left nothing unfinished"):
            operations.retry(pipe.runtime, one)


def test_a_collection_that_comes_back_goes_on_with_what_its_deletion_stopped(pipe) -> None:
    given_up, stopped = (generations.rerun(pipe.runtime, "default", WHERE) for _ in range(2))
    pipe.run()
    operations.cancel(pipe.runtime, given_up)
    some = sent(pipe, stopped)
    trash.delete_collection(pipe.runtime, "default")
    assert pipe.result(stopped)["outcome"] == "cancelled"
    again = trash.restore_collection(pipe.runtime, "default")
    assert again is not None
    advance(pipe)
    pipe.run()
    maintenance.tick(pipe.runtime)
    assert (pipe.result(again)["outcome"], sent(pipe, again)) == ("succeeded", EVEN - some)
    assert looked_upto(pipe, given_up) is not None, "somebody cancelled it: it is not begun again"


def test_a_rerun_is_charged_to_its_source(make_pipeline, tmp_path: Path) -> None:
    """Else all that is sent again would go before whatever arrives later, in every stage."""
    made = make_pipeline()
    made.folder(texts(tmp_path / "corpus", **{f"text {number:02}": f"text {number}" for number in range(50)}))
    generations.rerun(made.runtime, "default", {"must": []})
    push(made.runtime, [Given(unique_id="mine", content="a word")], collection="default", source="other")
    with made.runtime.ledger.write() as tx:
        claimed = claim(tx, "chunk", worker="me", lease=60, limit=10)
    assert "mine" in {unit.unique_id for unit in claimed.units}


def test_all_that_is_in_quarantine_runs_again_a_slice_at_a_time(make_pipeline, monkeypatch) -> None:
    monkeypatch.setattr(selection, "PAGE", PAGE)
    pipeline = make_pipeline(plugins={"fake-embedder": {"fail_on": "POISON", "fail_as": "permanent"}})
    contents = {f"d{number:02}": f"POISON {number}" if number % 3 else f"text {number}" for number in range(15)}
    pipeline.index(SourceRequest(connector="fake-connector", name="fake", config={"documents": contents}))
    del pipeline.runtime.host
    (pipeline.runtime.settings.data_dir / "plugins.json").write_text(json.dumps({"version": 1}))
    operation_id = operations.begin_retry_of_quarantined(pipeline.runtime, "default")
    assert sent(pipeline, operation_id) == PAGE, "each page has those in quarantine alone"
    assert building.advance(pipeline.runtime, seconds=0)
    assert sent(pipeline, operation_id) == 2 * PAGE
    advance(pipeline)
    pipeline.run()
    maintenance.tick(pipeline.runtime)
    assert (pipeline.result(operation_id)["outcome"], sent(pipeline, operation_id)) == ("succeeded", 10)
    assert set(pipeline.stages().values()) == {"indexed"}
    with pytest.raises(UsageError, match="the filter"):
        operations.begin_retry_of_quarantined(pipeline.runtime, "default")


def test_documents_of_a_status_are_found_by_it_and_not_by_looking_at_all(pipe) -> None:
    with pipe.runtime.ledger.write() as tx:
        ids = sorted(tx.execute(select(work.c.document_id)).scalars())
        tx.execute(update(work).where(work.c.document_id.in_([ids[3], ids[17]])).values(stage="quarantined"))
    with pipe.runtime.ledger.read() as tx:
        part = selection.following(tx, 1, operations.QUARANTINED, after=0)
        assert ([one.id for one in part.documents], part.upto) == ([ids[3], ids[17]], None)
        either = {"should": [*operations.QUARANTINED["must"], {"key": "path", "match": {"text": "even"}}]}
        assert len(selection.following(tx, 1, either, after=0).documents) == 3, "one of a page, and two by their names"
