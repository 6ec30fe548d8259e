"""A row that somebody else has locked costs no other lease of the process, and is itself not taken for dead."""

from __future__ import annotations

import threading
from functools import partial

import pytest
from sqlalchemy import select, update

from semantik_pipeline.ledger.queue import expired_leases, renewals, work
from semantik_pipeline.ledger.queue.leases import Keeper
from semantik_pipeline.ledger.queue.renewals import Renewal
from semantik_pipeline.ledger.tables import sources
from semantik_pipeline.ledger.tables import work as units
from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.pipeline import work_on

pytestmark = pytest.mark.parametrize("ledger", ["postgres"], indirect=True)


@pytest.fixture
def ledger_with_units(make_pipeline):
    pipeline = make_pipeline()
    texts = {f"d{number}": f"text {number}" for number in range(4)}
    pipeline.index(SourceRequest(connector="fake-connector", name="fake", config={"documents": texts}), run=False)
    work_on(pipeline.runtime, "sync")
    return pipeline.runtime.ledger


def claimed(ledger, limit: int) -> work.Claim:
    with ledger.write() as tx:
        claim = work.claim(tx, "chunk", worker="a", lease=60, limit=limit)
    assert claim is not None
    return claim


def lapsed(ledger) -> set[int]:
    with ledger.read() as tx:
        return set(tx.execute(select(units.c.document_id).where(units.c.lease_until < 2.0)).scalars())


def lock(tx, claim: work.Claim) -> int:
    """Lock one unit of the claim, as a slow transaction does; returns its document."""
    document = claim.units[0].document_id
    tx.execute(select(units.c.stage).where(units.c.document_id == document).with_for_update()).one()
    return document


def test_the_other_units_of_a_claim_are_prolonged(ledger_with_units) -> None:
    ledger = ledger_with_units
    claim = claimed(ledger, 4)
    with ledger.write() as tx:
        tx.execute(update(units).values(lease_until=1.0))
    with ledger.write() as slow:
        document = lock(slow, claim)
        with ledger.write() as tx:
            assert renewals.renew(tx, claim.token, 60) == Renewal(held=4, prolonged=3)
        assert lapsed(ledger) == {document}
        with ledger.write() as tx:
            assert not expired_leases.expire(tx, max_attempts=3, backoff=1)
    with ledger.write() as tx:
        assert renewals.renew(tx, claim.token, 60) == Renewal(held=4, prolonged=4)


def test_a_source_that_is_locked_waits_for_the_next_time(ledger_with_units) -> None:
    ledger = ledger_with_units
    with ledger.write() as tx:
        tx.execute(update(sources).values(lease_token="t", lease_until=1.0))
    with ledger.write() as slow:
        slow.execute(select(sources.c.id).with_for_update()).all()
        with ledger.write() as tx:
            assert renewals.renew_source(tx, "t", 60) == Renewal(held=1, prolonged=0)
            assert expired_leases.expire_sources(tx, max_attempts=3) == 0
    with ledger.write() as tx:
        assert renewals.renew_source(tx, "t", 60) == Renewal(held=1, prolonged=1)


def test_who_brings_documents_of_a_source_keeps_its_lease_from_nobody(ledger_with_units) -> None:
    """A row that refers to the source locks its key, for the constraint's sake."""
    ledger = ledger_with_units
    with ledger.write() as tx:
        tx.execute(update(sources).values(lease_token="t", lease_until=1.0))
    with ledger.write() as other:
        other.execute(select(sources.c.id).with_for_update(key_share=True, read=True)).all()
        with ledger.write() as tx:
            assert renewals.renew_source(tx, "t", 60) == Renewal(held=1, prolonged=1)


def test_a_locked_claim_keeps_no_other_claim_of_the_process_waiting(ledger_with_units) -> None:
    ledger = ledger_with_units
    locked, free = claimed(ledger, 2), claimed(ledger, 2)
    renewed = threading.Event()

    def renew(claim: work.Claim) -> Renewal:
        with ledger.write() as tx:
            renewal = renewals.renew(tx, claim.token, 60)
        if claim is free:
            renewed.set()
        return renewal

    keeper = Keeper(0.05)
    try:
        with ledger.write() as slow:
            lock(slow, locked)
            with (
                keeper.holding(locked.token, partial(renew, locked), 60) as hold,
                keeper.holding(free.token, partial(renew, free), 60),
            ):
                for _ in range(2):
                    renewed.clear()
                    assert renewed.wait(10)
                assert not hold.over
    finally:
        keeper.close()


def test_a_claim_that_is_gone_is_known_to_be(ledger_with_units) -> None:
    ledger = ledger_with_units
    claim = claimed(ledger, 2)
    with ledger.write() as tx:
        work.give_back(tx, claim.token)
        assert renewals.renew(tx, claim.token, 60) == Renewal(held=0, prolonged=0)
