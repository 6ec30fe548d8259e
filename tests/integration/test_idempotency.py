"""Requests under an idempotency key, as the ledger keeps them."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from sqlalchemy import select, update

from semantik_pipeline import maintenance
from semantik_pipeline.errors import Conflict, UsageError
from semantik_pipeline.ledger import Ledger
from semantik_pipeline.ledger.access import idempotency
from semantik_pipeline.ledger.access.idempotency import Answer
from tests.integration.conftest import Pipeline

LEDGERS = ("sqlite", "postgres")


@pytest.fixture
def opened(make_pipeline: Callable[..., Pipeline]) -> Ledger:
    return make_pipeline().runtime.ledger


def begin(ledger: Ledger, request: str = "r1", *, actor: str = "anna", key: str = "k") -> Answer | str:
    with ledger.write() as tx:
        return idempotency.begin(tx, actor, key, request)


def taken(ledger: Ledger, **who: str) -> str:
    """The token of a request that is in hand from now on."""
    token = begin(ledger, **who)
    assert isinstance(token, str)
    return token


def age(ledger: Ledger, seconds: float) -> None:
    with ledger.write() as tx:
        tx.execute(update(idempotency.table).values(created_at=idempotency.table.c.created_at - seconds))


def test_the_same_request_is_answered_again_and_another_is_refused(opened: Ledger) -> None:
    token = taken(opened)
    with pytest.raises(Conflict):
        begin(opened)
    answer = Answer(status=202, body={"operation": "push-1"})
    with opened.write() as tx:
        idempotency.keep(tx, "anna", "k", token, answer)
    assert begin(opened) == answer
    with pytest.raises(UsageError, match="a different request") as refused:
        begin(opened, "r2")
    assert not isinstance(refused.value, Conflict)
    assert taken(opened, actor="bob") != taken(opened, key="other")


def test_what_failed_may_be_sent_again_and_what_was_answered_is_not_forgotten(opened: Ledger) -> None:
    first = taken(opened)
    with opened.write() as tx:
        idempotency.forget(tx, "anna", "k", first)
    token = taken(opened)
    with opened.write() as tx:
        idempotency.keep(tx, "anna", "k", token, Answer(status=200, body=1))
        idempotency.forget(tx, "anna", "k", token)
    assert begin(opened) == Answer(status=200, body=1)


def test_a_request_whose_process_died_and_an_old_answer_make_way(opened: Ledger) -> None:
    late = taken(opened)
    age(opened, idempotency.IN_HAND + 1)
    token = taken(opened)
    with opened.write() as tx:  # it lived after all: what another one has in hand is not its business
        idempotency.renew(tx, "anna", "k", late)
        idempotency.keep(tx, "anna", "k", late, Answer(status=200, body="late"))
        idempotency.forget(tx, "anna", "k", late)
    with pytest.raises(Conflict):
        begin(opened)
    with opened.write() as tx:
        idempotency.keep(tx, "anna", "k", token, Answer(status=200, body=1))
    age(opened, idempotency.KEPT - 10)
    assert begin(opened) == Answer(status=200, body=1)
    age(opened, 20)
    assert isinstance(begin(opened, "r2"), str)


def test_a_request_that_is_renewed_stays_in_hand(opened: Ledger) -> None:
    token = taken(opened)
    age(opened, idempotency.IN_HAND - 1)
    with opened.write() as tx:
        idempotency.renew(tx, "anna", "k", token)
    age(opened, 2)
    with pytest.raises(Conflict):
        begin(opened)


def test_a_sweep_removes_what_is_old(opened: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "BATCH", 2)
    for key in "abc":
        begin(opened, key=key)
    age(opened, 100)
    begin(opened, key="d")

    def sweep() -> bool:
        with opened.write() as tx:
            return idempotency.sweep(tx, older_than=50)

    assert [sweep(), sweep()] == [True, False]
    with pytest.raises(Conflict):
        begin(opened, key="d")
    taken(opened, key="a")


def test_maintenance_sweeps(make_pipeline: Callable[..., Pipeline]) -> None:
    runtime = make_pipeline().runtime
    begin(runtime.ledger, key="old")
    age(runtime.ledger, idempotency.KEPT + 1)
    begin(runtime.ledger, key="fresh")
    while maintenance.tick(runtime):
        pass
    with runtime.ledger.read() as tx:
        assert tx.execute(select(idempotency.table.c.key)).scalars().all() == ["fresh"]


def test_of_many_at_once_one_takes_the_request_in_hand(opened: Ledger) -> None:
    results: list[str] = []

    def ask() -> None:
        try:
            results.append("begun" if isinstance(begin(opened), str) else "answered")
        except Conflict:
            results.append("in hand")

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["begun", *["in hand"] * 7]
