"""A connection that is cut in the middle of a transaction is the server's trouble, or a sleeping host's: no document's."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from sqlalchemy import create_engine, make_url, text

from semantik_pipeline.errors import ServiceUnavailable
from semantik_pipeline.ledger import Ledger


@pytest.fixture
def ledger(postgres_url: str) -> Iterator[Ledger]:
    found = Ledger(postgres_url, check=False)
    yield found
    found.close()


def works(ledger: Ledger) -> bool:
    with ledger.write() as tx:
        return tx.execute(text("select 1")).scalar_one() == 1


def test_a_session_that_was_silent_for_too_long(ledger: Ledger) -> None:
    with pytest.raises(ServiceUnavailable), ledger.write() as tx:
        tx.execute(text("set local idle_in_transaction_session_timeout = '1s'"))
        time.sleep(2)  # a host that sleeps
        tx.execute(text("select 1"))
    assert works(ledger)


def test_a_session_that_was_silent_up_to_its_commit(ledger: Ledger) -> None:
    with pytest.raises(ServiceUnavailable), ledger.write() as tx:
        tx.execute(text("set local idle_in_transaction_session_timeout = '1s'"))
        time.sleep(2)
    assert works(ledger)


def test_a_session_that_an_administrator_ended(ledger: Ledger, postgres_url: str) -> None:
    admin = create_engine(make_url(postgres_url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with pytest.raises(ServiceUnavailable), ledger.write() as tx:
        pid = tx.execute(text("select pg_backend_pid()")).scalar_one()
        with admin.connect() as other:
            other.execute(text("select pg_terminate_backend(:pid, 5000)"), {"pid": pid})
        tx.execute(text("select 1"))
    admin.dispose()
    assert works(ledger)


def test_a_server_that_has_become_a_standby(ledger: Ledger) -> None:
    """Read-only: the next transaction connects anew."""
    with pytest.raises(ServiceUnavailable), ledger.write() as tx:
        pid = tx.execute(text("select pg_backend_pid()")).scalar_one()
        tx.execute(text("set transaction read only"))
        tx.execute(text("create table refused (one int)"))
    with ledger.write() as tx:
        assert tx.execute(text("select pg_backend_pid()")).scalar_one() != pid
