"""Disk space used by the ledger's tables."""

from __future__ import annotations

from sqlalchemy import func, select

from semantik_pipeline.ledger.database.connection import Transaction
from semantik_pipeline.ledger.tables import metadata

#: Tables whose sizes are reported as one group.
GROUPS = {
    "documents": ("documents", "work"),
    "chunks": ("chunks",),
    "embeddings": ("embeddings",),
    "extractions": ("extractions",),
    "operations": ("operations", "operation_sources", "operation_items"),
}


def table_sizes(tx: Transaction) -> dict[str, int]:
    """Return group -> bytes, indexes included; ``other`` has all other tables. Empty on SQLite, which is one file."""
    if tx.dialect.name != "postgresql":
        return {}
    groups = {table: group for group, tables in GROUPS.items() for table in tables}
    sizes = dict.fromkeys((*GROUPS, "other"), 0)
    for name in metadata.tables:
        sizes[groups.get(name, "other")] += tx.execute(select(func.pg_total_relation_size(name))).scalar_one()
    return sizes
