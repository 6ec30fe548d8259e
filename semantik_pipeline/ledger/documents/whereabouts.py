"""The state of one document as a search sees it, to explain why it is not among the hits."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, or_, select

from semantik_pipeline.ledger.access.document_access import open_to
from semantik_pipeline.ledger.database.connection import Transaction
from semantik_pipeline.ledger.tables import collections, documents, sources, work


@dataclass(frozen=True, kw_only=True)
class Whereabouts:
    """A document, and its unit in one generation. ``stage`` is None if it has no unit there yet.

    ``indexed_epoch``: points of this epoch and later may be shown (None: no points). ``reason``: why the document is
    skipped or waits. ``error``: stage, type and message if it is in quarantine.
    """

    document_id: int
    document: str
    revision: int
    deleted: bool
    trashed: bool
    stage: str | None
    goal: str | None
    indexed_epoch: int | None
    reason: str | None
    error: dict[str, Any] | None

    @property
    def searchable(self) -> bool:
        """Whether search may show a revision of the document, not necessarily the newest."""
        return not self.deleted and self.goal == "indexed" and self.indexed_epoch is not None


def find(
    tx: Transaction, collection: str, generation_id: int, name: str, principals: Collection[str] | None
) -> Whereabouts | None:
    """Return the document with this unique id or path, or else one whose id or path ends with ``/name``.

    Of several, prefer live ones, and among them those that search can find. Returns None if there is no such document
    that is open to these principals (None: all are).
    """
    here = and_(collections.c.name == collection, open_to(tx, principals))
    exact = or_(documents.c.unique_id == name, documents.c.file_path == name)
    tail = [column.endswith(f"/{name}", autoescape=True) for column in (documents.c.unique_id, documents.c.file_path)]
    order = (documents.c.deleted_at.is_not(None), work.c.indexed_epoch.is_(None), documents.c.id)
    unit = and_(work.c.document_id == documents.c.id, work.c.generation_id == generation_id)
    columns = [work.c[one] for one in ("stage", "goal", "indexed_epoch", "reason", "blocked", "error")]
    query = (
        select(
            documents.c.id, documents.c.unique_id, documents.c.revision, documents.c.deleted_at, documents.c.trashed_at
        )
        .add_columns(*columns)
        .select_from(documents)
        .join(collections, documents.c.collection_id == collections.c.id)
        .join(sources, documents.c.source_id == sources.c.id)
        .outerjoin(work, unit)
    )
    for which in (exact, or_(*tail)):
        row = tx.execute(query.where(here, which).order_by(*order).limit(1)).mappings().first()
        if row is not None:
            return _of(dict(row))
    return None


def _of(row: dict[str, Any]) -> Whereabouts:
    return Whereabouts(
        document_id=row["id"],
        document=row["unique_id"],
        revision=row["revision"],
        deleted=row["deleted_at"] is not None,
        trashed=row["trashed_at"] is not None,
        stage=row["stage"],
        goal=row["goal"],
        indexed_epoch=row["indexed_epoch"],
        reason=row["reason"] or row["blocked"],
        error=row["error"],
    )
