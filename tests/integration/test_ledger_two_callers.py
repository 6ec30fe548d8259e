"""Two callers that make the same collection, or the same source, at once: both get the one that there is."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from semantik_pipeline.ledger import Ledger, collections, schema, tables
from semantik_pipeline.ledger.connection import Transaction


@pytest.fixture(params=["sqlite", "postgres"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else f"sqlite:///{tmp_path}/ledger"
    opened = Ledger(url, check=False)
    schema.migrate(opened.engine)
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
            _wait_a_little(later)
        return [first, later.result()]


def _wait_a_little(later: Any) -> None:
    """The second can't end before the first commits; give it the time to reach its statement."""
    with pytest.raises(TimeoutError):
        later.result(timeout=0.5)


def make_collection(tx: Transaction, caller: int) -> collections.Collection:
    return collections.create_collection(
        tx, "notes", config={"caller": caller}, frozen={}, fingerprints={}, dimension=8
    )


def test_the_same_collection_is_made_once(ledger):
    first, second = both(ledger, make_collection)
    assert first == second
    with ledger.read() as tx:
        assert tx.execute(select(tables.collections.c.name)).scalars().all() == ["notes"]
        assert len(collections.list_generations(tx)) == 1


def test_the_same_source_is_made_once_and_the_last_configuration_counts(ledger):
    with ledger.write() as tx:
        collection_id = make_collection(tx, 0).id
    first, second = both(
        ledger, lambda tx, caller: collections.put_source(tx, collection_id, "directory", "here", {"caller": caller})
    )
    assert first == second
    with ledger.read() as tx:
        assert tx.execute(select(tables.sources.c.config)).scalars().all() == [{"caller": 2}]
