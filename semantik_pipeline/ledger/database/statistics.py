"""Planner statistics, refreshed as tables grow: a planner that believes a table is empty scans it from end to end.

The database's own refresh comes too late. PostgreSQL's autovacuum runs once a minute, SQLite has none, and a first sync
writes a hundred thousand rows in that time. Also, a PostgreSQL connection keeps the plans that it made for empty tables
until their statistics change.
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
    """Tables that grow together: ``tables`` are analyzed when ``first`` rows were ever written to ``counted``, and each
    time that number has doubled."""

    counted: Table
    first: int
    tables: tuple[str, ...]


GROWTHS = (
    Growth(counted=documents, first=250, tables=("documents", "work", "operation_items")),
    Growth(counted=chunks, first=1000, tables=("work", "chunks", "embeddings", "extractions")),
)


class Statistics:
    """Remembers, in one process, which doublings are done, so that checking whether one is due costs one statement."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def refresh(self, ledger: Ledger) -> list[str]:
        """Analyze the tables that are due and return their names. Call this outside of any transaction.

        Each doubling is done once in the fleet: the process that takes it analyzes its tables. Another process that
        tries to take it waits until the first table is analyzed, which takes a moment.
        """
        with ledger.read() as tx:
            due = [(growth, doubled) for growth, doubled in _doublings(tx) if self._is_news(growth, doubled)]
        looked_at: list[str] = []
        for growth, doubled in due:
            with ledger.write() as tx:  # a process that dies before the first table is analyzed has taken nothing
                mine = chores.take(tx, f"statistics of {growth.counted.name} {doubled}", every=_ONCE)
                if mine:
                    _look_at(tx, growth.tables[0])
            self._known[growth.counted.name] = doubled
            for table in growth.tables[1:] if mine else ():
                with ledger.write() as tx:  # one transaction each; ANALYZE's lock blocks only maintenance like itself
                    _look_at(tx, table)
            looked_at += growth.tables if mine else ()
        return looked_at

    def _is_news(self, growth: Growth, doubled: int) -> bool:
        return doubled > self._known.get(growth.counted.name, -1)


def _doublings(tx: Transaction) -> list[tuple[Growth, int]]:
    """Return how often each counted table has doubled since it reached ``first`` rows; smaller tables are left out.

    Rows are counted by the highest id, which is at the end of an index.
    """
    last = (select(func.max(growth.counted.c.id)).scalar_subquery() for growth in GROWTHS)
    written = tx.execute(select(*last)).one()
    return [
        (growth, int(math.log2(rows / growth.first)))
        for growth, rows in zip(GROWTHS, written, strict=True)
        if rows is not None and rows >= growth.first
    ]


def _look_at(tx: Transaction, table: str) -> None:
    if tx.dialect.name == "sqlite":
        tx.execute(text("pragma analysis_limit = 1000"))  # rows of an index: 0.01 s, whatever its size
        tx.execute(text(f"analyze {table}"))
        return
    tx.execute(text(f"analyze (skip_locked) {table}"))  # a conflicting lock means that autovacuum is analyzing it
