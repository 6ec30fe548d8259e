"""Ledger queries for pushed documents: the source that receives them, and the ids that they have there."""

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
    """Return the source with this connector and name, locked until the transaction ends. Creates it if needed.

    Raises UsageError if the source is paused, in the trash or being removed.
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
    """A claim for :func:`revisions.arrive` outside a sync: the caller's lock on the source replaces the lease.

    Its run is the source's last one, so pushed documents count as seen, and documents that were not pushed keep their
    state.
    """
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
    """Return unique id -> (document id, revision) for the documents that the source has."""
    columns = (documents.c.unique_id, documents.c.id, documents.c.revision)
    mine = (documents.c.source_id == source_id, documents.c.unique_id.in_(sorted(unique_ids)))
    return {row[0]: (row[1], row[2]) for row in tx.execute(select(*columns).where(*mine))}
