"""All tables of the ledger. Import tables from here: ``from semantik_pipeline.ledger.tables import documents, work``.

One module per area; importing this package completes ``metadata``. Times are seconds since 1970 on the database's
clock, hashes are lowercase hex. ``migrations/`` creates exactly these tables; a test compares both on every database.
"""

from semantik_pipeline.ledger.tables.access import api_keys, audit, idempotency_keys
from semantik_pipeline.ledger.tables.catalog import collections, evaluations, generations, plugin_configs
from semantik_pipeline.ledger.tables.columns import metadata
from semantik_pipeline.ledger.tables.content import chunks, embeddings, extractions, words
from semantik_pipeline.ledger.tables.ingestion import documents, sources
from semantik_pipeline.ledger.tables.queue import (
    chores,
    operation_items,
    operation_sources,
    operations,
    work,
    workers,
)

__all__ = [
    "api_keys",
    "audit",
    "chores",
    "chunks",
    "collections",
    "documents",
    "embeddings",
    "evaluations",
    "extractions",
    "generations",
    "idempotency_keys",
    "metadata",
    "operation_items",
    "operation_sources",
    "operations",
    "plugin_configs",
    "sources",
    "words",
    "work",
    "workers",
]
