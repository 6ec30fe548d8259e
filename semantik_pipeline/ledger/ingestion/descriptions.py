"""Descriptions of documents, to detect changes besides the content: metadata, principals and media type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from semantik_pipeline.ledger.database.bulk import among
from semantik_pipeline.ledger.database.connection import Transaction
from semantik_pipeline.ledger.ingestion.sync import Arrival
from semantik_pipeline.ledger.tables import documents


def stored(tx: Transaction, document_ids: Sequence[int]) -> dict[int, tuple[Any, ...]]:
    """document id -> the stored description, in the form of :func:`of`."""
    columns = (documents.c.id, documents.c.metadata, documents.c.principals, documents.c.media_type)
    rows = tx.execute(select(*columns).where(among(documents.c.id, document_ids))) if document_ids else ()
    return {row[0]: _description(*row[1:]) for row in rows}


def of(arrival: Arrival) -> tuple[Any, ...]:
    """The description of an arrival, to compare with :func:`stored`. It leaves out the modification time, so a new time
    alone is no change."""
    return _description(arrival.metadata, arrival.principals, arrival.media_type)


def _description(metadata: dict[str, Any], principals: list[str] | None, media_type: str | None) -> tuple[Any, ...]:
    return {name: value for name, value in metadata.items() if name != "modified"}, principals, media_type
