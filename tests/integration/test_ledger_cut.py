"""A connection that is cut in a transaction is blamed on the server, or a sleeping host, and on no document."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, create_engine, make_url, text

from semantik_pipeline.errors import ServiceUnavailable
from semantik_pipeline.ledger import Ledger
from semantik_pipeline.ledger.database.connection import Transaction


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    found = Ledger(ledger_url)
    yield found
    found.close()


@pytest.fixture
def admin(ledger_url: str) -> Iterator[Engine]:
    """Sessions of somebody else on the same server."""
    engine = create_engine(make_url(ledger_url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    yield engine
    engine.dispose()


def sleep(tx: Transaction, admin: Engine) -> None:
    """As on a host that sleeps: nothing is said until the server has ended the session."""
    pid = tx.execute(text("select pg_backend_pid()")).scalar_one()
    tx.execute(text("set local idle_in_transaction_session_timeout = '50ms'"))
    until = time.monotonic() + 30
    with admin.connect() as other:
        while other.execute(text("select 1 from pg_stat_activity where pid = :pid"), {"pid": pid}).scalar():
            assert time.monotonic() < until, "the server ends no session"
            time.sleep(0.02)


def works(ledger: Ledger) -> bool:
    with ledger.write() as tx:
        return tx.execute(text("select 1")).scalar_one() == 1


def test_a_session_that_was_silent_for_too_long(ledger: Ledger, admin: Engine) -> None:
    with pytest.raises(ServiceUnavailable), ledger.write() as tx:
        sleep(tx, admin)
        tx.execute(text("select 1"))
    assert works(ledger)


def test_a_session_that_was_silent_up_to_its_commit(ledger: Ledger, admin: Engine) -> None:
    with pytest.raises(ServiceUnavailable), ledger.write() as tx:
        sleep(tx, admin)
    assert works(ledger)


def test_a_session_that_an_administrator_ended(ledger: Ledger, admin: Engine) -> None:
    with pytest.raises(ServiceUnavailable), ledger.write() as tx:
        pid = tx.execute(text("select pg_backend_pid()")).scalar_one()
        with admin.connect() as other:
            other.execute(text("select pg_terminate_backend(:pid, 5000)"), {"pid": pid})
        tx.execute(text("select 1"))
    assert works(ledger)


def test_a_server_that_has_become_a_standby(ledger: Ledger) -> None:
    """Read-only: the next transaction connects anew."""
    with pytest.raises(ServiceUnavailable), ledger.write() as tx:
        pid = tx.execute(text("select pg_backend_pid()")).scalar_one()
        tx.execute(text("set transaction read only"))
        tx.execute(text("create table refused (one int)"))
    with ledger.write() as tx:
        assert tx.execute(text("select pg_backend_pid()")).scalar_one() != pid
