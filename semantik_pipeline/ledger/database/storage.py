"""How much room the ledger's tables take."""

from __future__ import annotations

from sqlalchemy import func, select

from semantik_pipeline.ledger.database.connection import Transaction
from semantik_pipeline.ledger.tables import metadata

#: Tables that people count together.
GROUPS = {
    "documents": ("documents", "work"),
    "chunks": ("chunks",),
    "embeddings": ("embeddings",),
    "extractions": ("extractions",),
    "operations": ("operations", "operation_sources", "operation_items"),
}


def table_sizes(tx: Transaction) -> dict[str, int]:
    """Bytes by group of tables, indexes included; ``other`` is the rest. Empty on SQLite, which is one file."""
    if tx.dialect.name != "postgresql":
        return {}
    groups = {table: group for group, tables in GROUPS.items() for table in tables}
    sizes = dict.fromkeys((*GROUPS, "other"), 0)
    for name in metadata.tables:
        sizes[groups.get(name, "other")] += tx.execute(select(func.pg_total_relation_size(name))).scalar_one()
    return sizes
