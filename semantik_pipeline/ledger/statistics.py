"""The database's statistics, early: a planner that believes its tables empty reads them from end to end.

Autovacuum comes by once a minute, SQLite's never; a first sync writes a hundred thousand rows before.
"""

from __future__ import annotations

import math

from sqlalchemy import func, select, text

from semantik_pipeline.ledger import chores
from semantik_pipeline.ledger.connection import Transaction
from semantik_pipeline.ledger.tables import chunks

#: The first time, in chunks ever written; then each time that there are twice as many.
FIRST = 1000

_TABLES = ("documents", "work", "chunks", "embeddings", "extractions", "operation_items")
_ONCE = 1e9  # seconds


def due(tx: Transaction) -> int | None:
    """How often the tables have doubled since :data:`FIRST` chunks; None if there are fewer. Takes no lock."""
    written = tx.execute(select(func.max(chunks.c.id))).scalar_one() or 0
    return int(math.log2(written / FIRST)) if written >= FIRST else None


def refresh(tx: Transaction, doubled: int) -> bool:
    """Gather statistics, once for each doubling in the fleet; returns whether it was done now."""
    if not chores.take(tx, f"statistics {doubled}", every=_ONCE):
        return False
    if tx.dialect.name == "sqlite":
        tx.execute(text("pragma analysis_limit = 1000"))  # rows of an index: a hundredth of a second, whatever its size
    for table in _TABLES:
        tx.execute(text(f"analyze {table}"))
    return True
