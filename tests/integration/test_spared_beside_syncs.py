"""What a ledger that was away leaves is spared while syncs go on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select, update

from semantik_pipeline.ledger.queue import expired_leases, work
from semantik_pipeline.ledger.tables import sources
from semantik_pipeline.ledger.tables import work as units
from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.pipeline import work_on


@pytest.mark.parametrize("ledger", ["postgres"], indirect=True)
def test_what_a_slice_has_locked_is_spared_without_waiting_for_it(make_pipeline) -> None:
    """A slice has its source and goes for its units; who spares has the units, and must not wait for the source."""
    pipeline = make_pipeline()
    ledger = pipeline.runtime.ledger
    documents_ = {"one": "text 1", "two": "text 2"}
    pipeline.index(SourceRequest(connector="fake-connector", name="fake", config={"documents": documents_}), run=False)
    work_on(pipeline.runtime, "sync")
    with ledger.write() as tx:
        work.claim(tx, "chunk", worker="a", lease=60, limit=2)
        tx.execute(update(units).values(lease_until=1.0))
        tx.execute(update(sources).values(lease_token="t", lease_until=1.0))

    def spare() -> None:
        with ledger.write() as tx:
            expired_leases.spare(tx, seconds=60)

    with ThreadPoolExecutor(1) as pool, ledger.write() as tx:
        tx.execute(select(sources.c.id).with_for_update()).all()
        tx.execute(select(units.c.document_id).where(units.c.document_id == 1).with_for_update()).all()
        pool.submit(spare).result(timeout=10)
    with ledger.read() as tx:
        until = dict(map(tuple, tx.execute(select(units.c.document_id, units.c.lease_until)).all()))
        assert tx.execute(select(sources.c.lease_until)).scalar_one() == 1.0
    assert (until[1], until[2] > 1.0) == (1.0, True)
