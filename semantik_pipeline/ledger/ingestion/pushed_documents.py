"""Documents that callers give: the source that takes them in, and what becomes of those that are known already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from semantik_pipeline.errors import UsageError
from semantik_pipeline.ledger.catalog import collections
from semantik_pipeline.ledger.catalog.cursors import Cursor
from semantik_pipeline.ledger.database.connection import Transaction
from semantik_pipeline.ledger.ingestion.sync import SourceClaim
from semantik_pipeline.ledger.queue.work import ASKED
from semantik_pipeline.ledger.tables import documents, sources


def open_source(tx: Transaction, collection_id: int, connector: str, name: str) -> dict[str, Any]:
    """The source of that connector and name, made if there is none, and locked until the transaction's end.

    Raises UsageError for one that is paused, or being removed.
    """
    source_id = collections.put_source(tx, collection_id, connector, name, {})
    row = tx.execute(select(sources).where(sources.c.id == source_id).with_for_update()).mappings().one()
    if row["removed_at"] is not None or row["trashed_at"] is not None:
        raise UsageError(f"The source {name} is deleted.", "Restore it, or push the documents to another source.")
    if row["paused"] is not None:
        raise UsageError(
            f"The source {name} is paused: {row['paused'].rstrip('.')}.",
            f"`semantik sources resume {source_id}` resumes it.",
        )
    return dict(row)


def claim_of(source: dict[str, Any], operation_id: int) -> SourceClaim:
    """What :func:`revisions.arrive` writes under: the lock on the source stands for the lease of a sync. Documents are
    seen in the source's last run, which says nothing of those that nobody gave."""
    return SourceClaim(
        token="",
        source_id=source["id"],
        collection_id=source["collection_id"],
        operation_id=operation_id,
        connector=source["connector"],
        name=source["name"],
        config={},
        run=source["run"],
        cursor=Cursor(),
        lane=ASKED,
        problems=[],
    )


def document_ids(tx: Transaction, source_id: int, unique_ids: Sequence[str]) -> dict[str, tuple[int, int]]:
    """unique id -> (document id, revision)."""
    columns = (documents.c.unique_id, documents.c.id, documents.c.revision)
    mine = (documents.c.source_id == source_id, documents.c.unique_id.in_(sorted(unique_ids)))
    return {row[0]: (row[1], row[2]) for row in tx.execute(select(*columns).where(*mine))}
