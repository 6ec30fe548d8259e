"""What is asked of a large source, or of a generation, reads what it is about, and not everything that is there."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table, insert, select, text, update

from semantik_pipeline.ledger import Ledger, tables
from semantik_pipeline.ledger.catalog.cursors import Cursor
from semantik_pipeline.ledger.generations import builds, switching
from semantik_pipeline.ledger.ingestion import adoption, sync
from semantik_pipeline.ledger.retention import expiry, purging, removal
from semantik_pipeline.ledger.tables import documents, work
from semantik_pipeline.ledger.tables.ingestion import NOT_READ
from tests.plans import plans

LEDGERS = ("sqlite", "postgres")

#: Documents of the source; each has a unit and a chunk in each of the generations.
MANY, GENERATIONS = 3000, (1, 2, 3)


@pytest.fixture
def large(ledger: str | None, fresh_ledger_file: Path, tmp_path: Path) -> Iterator[Ledger]:
    """A ledger with a large source, all of it indexed: the first generation is retired, the second one active."""
    file = tmp_path / "ledger.sqlite3"
    if ledger is None:
        shutil.copyfile(fresh_ledger_file, file)
    opened = Ledger(ledger or f"sqlite:///{file}")
    numbers = range(1, MANY + 1)
    with opened.write() as tx:
        for table, rows in _rows(numbers).items():
            tx.execute(insert(getattr(tables, table)), rows)
    analyze(opened)
    yield opened
    opened.close()


def _rows(numbers: range) -> dict[str, list[dict[str, Any]]]:
    collection = {"id": 1, "name": "c", "config": {}, "active_generation": 2, "created_at": 0}
    generation = {"collection_id": 1, "config": {}, "fingerprints": {}, "dimension": 3, "created_at": 0}
    states = zip(GENERATIONS, ("retired", "active", "building"), strict=True)
    source = {"id": 1, "collection_id": 1, "connector": "x", "name": "s", "config": {}, "created_at": 0, "run": 5}
    operation = {"id": 1, "collection_id": 1, "kind": "sync", "state": "running", "created_at": 0}
    document = {"source_id": 1, "collection_id": 1, "revision": 1, "metadata": {}, "seen_run": 4}
    unit = {
        "source_id": 1,
        "revision": 1,
        "stage": "indexed",
        "goal": "indexed",
        "epoch": 1,
        "lane": 1,
        "updated_at": 0,
    }
    chunk = {"epoch": 1, "ordinal": 0, "lead": "", "start": 0, "end": 1, "token_count": 1, "metadata": {}}
    keys = [{"document_id": one, "generation_id": generation_id} for one in numbers for generation_id in GENERATIONS]
    return {
        "collections": [collection],
        "generations": [{**generation, "id": one, "state": state, "index_name": f"i{one}"} for one, state in states],
        "sources": [source],
        "operations": [operation],
        "operation_sources": [{"operation_id": 1, "source_id": 1, "run": 5, "state": "running"}],
        "documents": [
            {**document, "id": one, "unique_id": f"u{one}", "content_hash": f"h{one}", "change_hint": f"{one}"}
            | {"created_at": 0, "changed_at": 0}
            for one in numbers
        ],
        "work": [{**unit, **key, "turn": float(key["document_id"])} for key in keys],
        "chunks": [
            {**chunk, **key, **dict.fromkeys(("text", "text_hash", "point_id", "embed_key", "signature"), f"{number}")}
            for number, key in enumerate(keys)
        ],
    }


def analyze(ledger: Ledger) -> None:
    with ledger.write() as tx:
        for table in ("work", "documents", "chunks"):
            tx.execute(text(f"analyze {table}"))


def whole_tables(plan: str) -> list[str]:
    """The lines of a plan in which a large table, or an index of it, is read from one end to the other."""
    read = [line for line in plan.splitlines() if "Seq Scan" in line or "'SCAN " in line]
    return [line for line in read if "generations" not in line]


# -- what each sync asks for ------------------------------------------------------------------------------------------


def claim() -> sync.SourceClaim:
    """A run of the source that has named nothing yet."""
    return sync.SourceClaim(
        token="",
        source_id=1,
        collection_id=1,
        operation_id=1,
        connector="x",
        name="s",
        config={},
        run=5,
        cursor=Cursor(),
        lane=1,
        problems=[],
    )


def change(ledger: Ledger, table: Table, ids: list[int], **values: Any) -> None:
    column = table.c.document_id if table is work else table.c.id
    with ledger.write() as tx:
        tx.execute(update(table).where(column.in_(ids)).values(**values))


def owed(ledger: Ledger) -> list[int]:
    """What a run looks at, two documents at a time."""
    found: list[int] = []
    with ledger.read() as tx:
        while rows := sync.owed(tx, claim(), after=found[-1] if found else 0, limit=2):
            assert [name for _, name in rows] == [f"u{one}" for one, _ in rows]
            found += [one for one, _ in rows]
    return found


def test_what_a_run_owes_to_documents_that_it_does_not_name_is_found_by_indexes(large: Ledger) -> None:
    change(large, work, [10, 500, 501, 2999], stage="quarantined")
    change(large, documents, [7, 500, 1200], change_hint=NOT_READ)
    change(large, documents, [8, 2500, 2600], change_hint=None, content_hash=None)
    change(large, documents, [2600, 2999], deleted_at=1.0)
    change(large, documents, [501], seen_run=5)
    change(large, documents, [1200], seen_run=-5)
    change(large, documents, [9], content_hash=None)  # it was skipped
    assert owed(large) == [7, 8, 10, 500, 2500]
    analyze(large)
    plan = plans(large, lambda tx: sync.owed(tx, claim(), after=0, limit=100), about="documents")
    assert "ix_documents_owed" in plan
    assert "ix_work_quarantined" in plan or "ix_work_source_id_stage" in plan
    assert whole_tables(plan) == []


def test_units_on_which_an_extractor_failed_are_found_by_an_index(large: Ledger) -> None:
    with large.read() as tx:
        assert not adoption.is_noted(tx, claim(), older_than=60)
    change(large, work, [3, 4, 5, 6], notes={"an extractor": "failed"})
    change(large, work, [5], stage="extract")
    change(large, work, [6], updated_at=4e9)
    analyze(large)
    for ask in (adoption.is_noted, adoption.retry_noted):
        plan = plans(large, lambda tx, ask=ask: ask(tx, claim(), older_than=60), about="notes IS NOT NULL")
        assert "ix_work_noted" in plan
        assert whole_tables(plan) == []
    with large.write() as tx:
        assert adoption.is_noted(tx, claim(), older_than=60)
        assert adoption.retry_noted(tx, claim(), older_than=60) == 2 * len(GENERATIONS)
        assert not adoption.is_noted(tx, claim(), older_than=60)


# -- what goes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "drop",
    [lambda tx: purging.drop_documents(tx, 1), lambda tx: removal._drop_rows(tx, 1)],
    ids=["collection", "source"],
)
def test_the_chunks_of_documents_that_go_are_found_by_an_index(
    large: Ledger, monkeypatch: pytest.MonkeyPatch, drop: Callable[[Any], Any]
) -> None:
    for module in (purging, removal):
        monkeypatch.setattr(module, "BATCH", 20)
    plan = plans(large, drop, about="chunks.document_id IN")
    assert plan
    assert whole_tables(plan) == []


def test_the_rows_of_a_retired_generation_are_removed_from_where_the_batch_before_ended(large: Ledger) -> None:
    for _ in range(2):
        with large.write() as tx:
            assert switching.remove_rows(tx, 1)
        analyze(large)
    plan = plans(large, lambda tx: switching.remove_rows(tx, 1), about="ORDER BY work.document_id")
    assert "document_id > " in plan or "document_id>?" in plan
    while switching_goes_on(large):
        pass
    with large.read() as tx:
        assert set(tx.execute(select(work.c.generation_id)).scalars()) == {2, 3}


def switching_goes_on(ledger: Ledger) -> bool:
    with ledger.write() as tx:
        return switching.remove_rows(tx, 1)


def test_whether_a_build_waits_for_a_unit_is_read_from_the_first_one(large: Ledger) -> None:
    """Also where the database believes that there are many."""
    build = builds.Build(
        generation_id=3,
        collection_id=1,
        collection="c",
        operation_id=1,
        operation_state="running",
        active_generation=2,
    )
    of_it = work.c.generation_id == 3
    with large.write() as tx:
        tx.execute(update(work).where(of_it).values(stage="embed"))
    analyze(large)
    with large.write() as tx:
        assert builds.is_unfinished(tx, build, but_arrivals=True)
        tx.execute(update(work).where(of_it).values(stage="indexed"))
    with large.read() as tx:
        assert not builds.is_unfinished(tx, build, but_arrivals=True)
    plan = plans(large, lambda tx: builds.is_unfinished(tx, build, but_arrivals=True), about="FROM work")
    assert "ix_work_generation_id_stage" in plan
    assert whole_tables(plan) == []


def test_whether_an_operation_holds_documents_is_asked_of_an_index(large: Ledger) -> None:
    change(large, work, [1, 2], held_by=1)
    analyze(large)
    plan = plans(large, lambda tx: expiry.sweep_operations(tx, older_than=60), about="held_by")
    assert "ix_work_held_by" in plan
