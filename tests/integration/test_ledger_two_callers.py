"""Two callers that make the same thing, or give two things the same name, at once: one does, and the other is told."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, text

from semantik_pipeline.errors import Conflict, PipelineError
from semantik_pipeline.ledger import Ledger, tables
from semantik_pipeline.ledger.access import api_keys
from semantik_pipeline.ledger.catalog import collections
from semantik_pipeline.ledger.database.connection import Transaction


@pytest.fixture(params=["sqlite", "postgres"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path, fresh_ledger_file: Path) -> Iterator[Ledger]:
    if request.param == "postgres":
        url = request.getfixturevalue("ledger_url")
    else:
        url = f"sqlite:///{shutil.copyfile(fresh_ledger_file, tmp_path / 'ledger')}"
    opened = Ledger(url)
    yield opened
    opened.close()


def both(ledger: Ledger, make: Callable[[Transaction, int], Any]) -> list[Any]:
    """What two transactions get that run at once; the first commits when the second waits for it."""

    def second() -> Any:
        with ledger.write() as tx:
            return make(tx, 2)

    with ThreadPoolExecutor(1) as pool:
        with ledger.write() as tx:
            first = make(tx, 1)
            later = pool.submit(second)
            _until_it_waits(ledger, later, 1)
        return [first, later.result()]


def _until_it_waits(ledger: Ledger, later: Future[Any], number: int) -> None:
    """Wait until ``number`` transactions wait for a lock, ``later`` among them.

    On SQLite it waits before its first statement.
    """
    waiting = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    if ledger.engine.dialect.name == "sqlite":
        waiting = "select 1"
    until = time.monotonic() + 30
    while True:
        with ledger.read() as tx:
            if tx.execute(text(waiting)).scalar_one() >= number:
                break
        assert time.monotonic() < until, f"nobody waits for a lock; it has {later}"
        time.sleep(0.01)
    assert not later.done()


def make_collection(tx: Transaction, caller: int) -> collections.Collection | None:
    return collections.create_collection(
        tx, "notes", config={"caller": caller}, frozen={}, fingerprints={}, dimension=8
    )


def test_the_same_collection_is_made_once(ledger):
    first, second = both(ledger, make_collection)
    assert first is not None and second is None
    with ledger.read() as tx:
        assert tx.execute(select(tables.collections.c.name)).scalars().all() == ["notes"]
        assert len(collections.list_generations(tx)) == 1


def test_the_same_source_is_made_once_and_the_last_configuration_counts(ledger):
    collection_id = _collection(ledger, "notes")
    first, second = both(
        ledger, lambda tx, caller: collections.put_source(tx, collection_id, "directory", "here", {"caller": caller})
    )
    assert first == second
    with ledger.read() as tx:
        assert tx.execute(select(tables.sources.c.config)).scalars().all() == [{"caller": 2}]


def test_a_source_is_added_once_and_keeps_its_configuration(ledger):
    collection_id = _collection(ledger, "notes")
    first, second = both(
        ledger, lambda tx, caller: collections.add_source(tx, collection_id, "directory", "here", {"caller": caller})
    )
    assert first is not None and second is None
    with ledger.read() as tx:
        assert tx.execute(select(tables.sources.c.config)).scalars().all() == [{"caller": 1}]


def test_two_names_that_become_the_same_at_once_are_a_conflict_for_the_second(ledger):
    ids = [_collection(ledger, name) for name in ("one", "two")]

    def rename(tx: Transaction, caller: int) -> None:
        collections.change_collection(tx, ids[caller - 1], name="both")

    with pytest.raises(Conflict, match="took that name"):
        both(ledger, rename)
    with ledger.read() as tx:
        assert tx.execute(select(tables.collections.c.name).order_by(tables.collections.c.id)).scalars().all() == [
            "both",
            "two",
        ]


@pytest.mark.parametrize("table", [tables.collections, tables.sources, tables.api_keys], ids=str)
def test_each_name_that_people_give_is_told_as_taken(ledger, table):
    rows = {
        "collections": {"name": "notes", "config": {}, "created_at": 0.0},
        "sources": {"connector": "directory", "name": "here", "config": {}, "created_at": 0.0},
        "api_keys": {"name": "ci", "role": "reader", "created_by": "ada", "created_at": 0.0},
    }
    row = rows[table.name]
    if table is tables.sources:
        row["collection_id"] = _collection(ledger, "notes")
    hashes = iter("ab")
    with pytest.raises(Conflict, match="took that name"):
        for _ in range(2):
            with ledger.write() as tx:
                more = {"hash": next(hashes)} if table is tables.api_keys else {}
                tx.execute(insert(table).values(**row, **more))


def test_what_nobody_named_is_no_name_that_is_taken(ledger):
    row = {"text_hash": "aa", "fingerprint": "bb", "result": {}, "created_at": 0.0}
    with pytest.raises(PipelineError, match=r"(?i)refused a statement: .*unique") as refused:
        for _ in range(2):
            with ledger.write() as tx:
                tx.execute(insert(tables.extractions).values(**row))
    assert not isinstance(refused.value, Conflict)


def _collection(ledger: Ledger, name: str) -> int:
    with ledger.write() as tx:
        made = collections.create_collection(tx, name, config={}, frozen={}, fingerprints={}, dimension=8)
        assert made is not None
        return made.id


def test_who_renames_and_who_makes_one_of_that_name_never_wait_for_each_other(ledger_url):
    """Both touch a name and the keys that are limited to collections."""
    ledger = Ledger(ledger_url)
    there = _collection(ledger, "notes")
    with ledger.write() as tx:
        api_keys.create(tx, name="ci", hash="0", role="reader", collections=["notes"])

    def rename() -> None:
        with ledger.write() as tx:
            collections.change_collection(tx, there, name="papers")

    def make() -> collections.Collection | None:
        with ledger.write() as tx:
            return collections.create_collection(tx, "papers", config={}, frozen={}, fingerprints={}, dimension=8)

    with ThreadPoolExecutor(2) as pool:
        with ledger.write() as tx:
            tx.execute(select(tables.api_keys.c.id).with_for_update()).all()
            renamed = pool.submit(rename)
            _until_it_waits(ledger, renamed, 1)
            made = pool.submit(make)
            _until_it_waits(ledger, made, 2)
        assert (renamed.result(), made.result()) == (None, None)
    with ledger.read() as tx:
        assert api_keys.get(tx, "ci")["collections"] == ["papers"]
    ledger.close()
