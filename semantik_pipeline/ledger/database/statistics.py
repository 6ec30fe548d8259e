"""The database's statistics, early: a planner that believes its tables empty reads them from end to end.

Autovacuum comes by once a minute, SQLite's never; a first sync writes a hundred thousand rows before. And a connection
to PostgreSQL keeps the plans that it made for empty tables until their statistics change.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import Table, func, select, text

from semantik_pipeline.ledger.database import chores
from semantik_pipeline.ledger.database.connection import Transaction
from semantik_pipeline.ledger.tables import chunks, documents

if TYPE_CHECKING:
    from semantik_pipeline.ledger import Ledger

_ONCE = 1e9  # seconds


@dataclass(frozen=True, kw_only=True)
class Growth:
    """``tables`` grow with ``counted``: they are looked at when ``first`` of its rows were ever written, and each time
    that there are twice as many."""

    counted: Table
    first: int
    tables: tuple[str, ...]


GROWTHS = (
    Growth(counted=documents, first=250, tables=("documents", "work", "operation_items")),
    Growth(counted=chunks, first=1000, tables=("work", "chunks", "embeddings", "extractions")),
)


class Statistics:
    """What one process knows of the planner's knowledge, so that asking whether it is due costs one statement."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def refresh(self, ledger: Ledger) -> list[str]:
        """Gather what is due, once for each doubling in the fleet: whoever takes a doubling looks at its tables. Who wants
        to take it as well waits for its first look, which takes a moment. Returns the tables' names. Call outside of any
        transaction."""
        with ledger.read() as tx:
            due = [(growth, doubled) for growth, doubled in _doublings(tx) if self._is_news(growth, doubled)]
        looked_at: list[str] = []
        for growth, doubled in due:
            with ledger.write() as tx:  # whoever dies before its first look has taken nothing
                mine = chores.take(tx, f"statistics of {growth.counted.name} {doubled}", every=_ONCE)
                if mine:
                    _look_at(tx, growth.tables[0])
            self._known[growth.counted.name] = doubled
            for table in growth.tables[1:] if mine else ():
                with ledger.write() as tx:  # each by itself: it holds a lock of its table, which only its like wait for
                    _look_at(tx, table)
            looked_at += growth.tables if mine else ()
        return looked_at

    def _is_news(self, growth: Growth, doubled: int) -> bool:
        return doubled > self._known.get(growth.counted.name, -1)


def _doublings(tx: Transaction) -> list[tuple[Growth, int]]:
    """How often each table that is counted has doubled since its first look; those with fewer rows are left out. It asks
    for the last id of each, at the end of an index."""
    last = (select(func.max(growth.counted.c.id)).scalar_subquery() for growth in GROWTHS)
    written = tx.execute(select(*last)).one()
    return [
        (growth, int(math.log2(rows / growth.first)))
        for growth, rows in zip(GROWTHS, written, strict=True)
        if rows is not None and rows >= growth.first
    ]


def _look_at(tx: Transaction, table: str) -> None:
    if tx.dialect.name == "sqlite":
        tx.execute(text("pragma analysis_limit = 1000"))  # rows of an index: a hundredth of a second, whatever its size
        tx.execute(text(f"analyze {table}"))
        return
    tx.execute(text(f"analyze (skip_locked) {table}"))  # whoever holds it locked is autovacuum, at the same
