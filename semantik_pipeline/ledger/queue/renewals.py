"""Prolonging a lease, without waiting for anybody.

One thread of a process renews all its leases. Were it to wait for one row that another transaction has locked, all others
would run out meanwhile; so what is locked is left to the next time. Nobody takes it for dead before: what frees leases
that are over leaves locked rows out, too (``expired_leases.py``).
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Table, func, select, tuple_, update

from semantik_pipeline.ledger.database.connection import Transaction, hurry, now
from semantik_pipeline.ledger.tables import sources, work


class Renewal(NamedTuple):
    """How many rows a token holds still, and how many of them were prolonged; the others were locked."""

    held: int
    prolonged: int


def renew(tx: Transaction, token: str, lease: float) -> Renewal:
    """Prolong a claim of units by so many seconds from now."""
    return _renew(tx, work, token, lease)


def renew_source(tx: Transaction, token: str, lease: float) -> Renewal:
    """The same for the slice of a source."""
    return _renew(tx, sources, token, lease)


def _renew(tx: Transaction, table: Table, token: str, lease: float) -> Renewal:
    mine, key = table.c.lease_token == token, list(table.primary_key.columns)
    prolong = update(table).where(mine).values(lease_until=now() + lease)
    if tx.dialect.name != "sqlite":  # which has no rows to lock
        in_order = select(*key).where(mine).order_by(*key)
        free = in_order.with_for_update(skip_locked=True, key_share=True).cte("free")
        prolong = prolong.where(tuple_(*key).in_(select(*free.c)))
    prolonged = tx.execute(prolong).rowcount
    held, _ = tx.execute(select(func.count(), hurry()).where(mine)).one()
    return Renewal(held=held, prolonged=prolonged)
