"""Evaluations through a real pipeline: known items of a small collection, what is kept of them, and for how long."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import func, select, update

from semantik_pipeline import maintenance, operations
from semantik_pipeline.ledger.catalog import evaluations
from semantik_pipeline.ledger.documents.passages import passages
from semantik_pipeline.ledger.tables import chores
from semantik_pipeline.search import SearchQuery
from semantik_pipeline.search.evaluation import KnownItems, compare, known_items
from semantik_pipeline.search.evaluation.history import Measured, changes, keep
from semantik_pipeline.search.evaluation.ways import chosen, ways
from tests.integration.conftest import Pipeline

LEDGERS = ("sqlite", "postgres")

NOTES = {
    "leases.md": "# How leases end\n\nA lease ends when its holder stops renewing it for a while.\n\nWho finds it open "
    "takes the unit and works on it.\n",
    "queues.md": "# What queues carry\n\nA message names a stage and never a document or a text.\n\nEvery lost message "
    "costs no more than a tick of maintenance.\n",
    "epochs.md": "# Why epochs grow\n\nAn older epoch never overwrites what a newer one wrote before.\n\nThe store "
    "refuses it although the worker believes itself alone.\n",
}


@pytest.fixture
def notes(make_pipeline: Callable[..., Pipeline], tmp_path: Any) -> Pipeline:
    """Three notes of a title and two sentences, in a collection of the fakes."""
    folder = tmp_path / "notes"
    folder.mkdir()
    for name, text in NOTES.items():
        (folder / name).write_text(text)
    pipeline = make_pipeline(search={"reranker": "fake-reranker"})
    assert pipeline.folder(folder)["outcome"] == "succeeded"
    return pipeline


def items(pipeline: Pipeline, **options: Any) -> KnownItems:
    runtime = pipeline.runtime
    view = runtime.ledger.search_view("default")
    return known_items(lambda: passages(runtime.ledger, view.generation_id), **{"count": 20, "seed": 1, **options})


def measured(pipeline: Pipeline, judged: KnownItems) -> str:
    runtime = pipeline.runtime
    there = ways(runtime, SearchQuery(text="?"), runtime.ledger.search_view("default").config)
    found = compare(runtime, judged, chosen(there, ["sparse"]))
    rows = [Measured(way=one.way, report=one.report, p50_ms=one.p50_ms) for one in found.ways]
    return keep(runtime, kind="known-items", subject="default", collection="default", judged=judged, measured=rows)


def test_known_items_are_a_collection_s_titles_and_sentences_and_are_found(notes: Pipeline) -> None:
    judged = items(notes)
    assert {kind: len(ids) for kind, ids in judged.parts.items()} == {"titles": 3, "sentences": 6}
    assert "A lease ends when its holder stops renewing it for a while." in judged.queries.values()
    runtime = notes.runtime
    config = runtime.ledger.search_view("default").config
    found = compare(runtime, judged, chosen(ways(runtime, SearchQuery(text="?"), config), ["sparse"]))
    assert {one.report.mean("mrr@10") for one in found.ways} == {1.0}


def test_what_is_deleted_is_asked_for_no_more(notes: Pipeline) -> None:
    before = items(notes)
    rows = operations.list_documents(notes.runtime, collection="default", status=None)
    operations.begin_drop(notes.runtime, [row for row in rows if row["document"].endswith("queues.md")])
    notes.run()
    after = items(notes)
    assert set(after.judged) < set(before.judged)
    assert not any(item.document.endswith("queues.md") for item in after.items.values())


def test_runs_are_kept_without_words_and_held_against_each_other(notes: Pipeline) -> None:
    judged = items(notes)
    first, second = measured(notes, judged), measured(notes, judged)
    with notes.runtime.ledger.read() as tx:
        rows = evaluations.history(tx, "default", limit=10)
        assert evaluations.history(tx, "elsewhere", limit=10) == []
    assert [row.run for row in rows] == [second, second, first, first]
    assert [row.is_default for row in rows] == [True, False] * 2
    assert set(rows[0].scores) == set(judged.judged)
    assert rows[0].fingerprint == judged.fingerprint
    assert not any(word in repr(rows) for word in ("How leases end", "renewing"))
    assert rows[0].configuration["collection"]["embedding"]["plugin"] == "fake-embedder"
    told = list(changes(rows))
    assert [(change.difference, change.p, change.configured) for _, change in told[:2] if change] == [
        (0.0, 1.0, {})
    ] * 2
    assert [change for _, change in told[2:]] == [None, None]


def test_runs_go_when_the_audit_trail_s_time_is_over(notes: Pipeline) -> None:
    judged = items(notes)
    measured(notes, judged)
    old = measured(notes, judged)
    with notes.runtime.ledger.write() as tx:
        table = evaluations.evaluations
        tx.execute(update(table).where(table.c.run == old).values(at=table.c.at - 91 * 86400.0))
        tx.execute(update(chores).values(done_at=0))
    maintenance.tick(notes.runtime)
    with notes.runtime.ledger.read() as tx:
        assert tx.execute(select(func.count()).select_from(table)).scalar_one() == 2
        assert old not in {row.run for row in evaluations.history(tx, limit=10)}
