"""Renewal of leases without waiting for locks.

One thread of a process renews all its leases. If it waited for a row that another transaction has locked, the other
leases would expire meanwhile. So it skips locked rows until the next renewal. A skipped lease is not freed in the
meantime, since the code that frees expired leases also skips locked rows (``expired_leases.py``).
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Table, func, select, tuple_, update

from semantik_pipeline.ledger.database.connection import Transaction, hurry, now
from semantik_pipeline.ledger.tables import sources, work


class Renewal(NamedTuple):
    """The number of rows that the token still holds, and the number that were renewed. The others were locked."""

    held: int
    prolonged: int


def renew(tx: Transaction, token: str, lease: float) -> Renewal:
    """Renew the lease of claimed units: it ends ``lease`` seconds from now."""
    return _renew(tx, work, token, lease)


def renew_source(tx: Transaction, token: str, lease: float) -> Renewal:
    """Renew the lease of a source, in the same way."""
    return _renew(tx, sources, token, lease)


def _renew(tx: Transaction, table: Table, token: str, lease: float) -> Renewal:
    mine, key = table.c.lease_token == token, list(table.primary_key.columns)
    prolong = update(table).where(mine).values(lease_until=now() + lease)
    if tx.dialect.name != "sqlite":  # SQLite has no row locks
        in_order = select(*key).where(mine).order_by(*key)
        free = in_order.with_for_update(skip_locked=True, key_share=True).cte("free")
        prolong = prolong.where(tuple_(*key).in_(select(*free.c)))
    prolonged = tx.execute(prolong).rowcount
    held, _ = tx.execute(select(func.count(), hurry()).where(mine)).one()
    return Renewal(held=held, prolonged=prolonged)
