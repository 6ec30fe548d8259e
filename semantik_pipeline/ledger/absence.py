"""What has vanished from a source, by a full enumeration that did not name it or by the source's own word, and how much
of the source that is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import and_, func, select

from semantik_pipeline.ledger.connection import Transaction
from semantik_pipeline.ledger.sync import SourceClaim
from semantik_pipeline.ledger.tables import documents, operation_items


def absent(source_id: int, run: int) -> Any:
    """Condition: live documents of a source that a run did not see."""
    return and_(documents.c.source_id == source_id, documents.c.seen_run < run, documents.c.deleted_at.is_(None))


def count_absent(tx: Transaction, source_id: int, run: int) -> tuple[int, int]:
    """(documents that the run did not see, all live documents) of a source."""
    live = and_(documents.c.source_id == source_id, documents.c.deleted_at.is_(None))
    total = tx.execute(select(func.count()).select_from(documents).where(live)).scalar_one()
    gone = tx.execute(select(func.count()).select_from(documents).where(absent(source_id, run))).scalar_one()
    return gone, total


def count_removals(tx: Transaction, claim: SourceClaim, unique_ids: Sequence[str]) -> tuple[int, int]:
    """(documents that the claim's operation has removed from its source, and would with these; all there were)."""
    live = and_(documents.c.source_id == claim.source_id, documents.c.deleted_at.is_(None))
    done = and_(operation_items.c.operation_id == claim.operation_id, operation_items.c.kind == "deleted")
    there = operation_items.join(documents, documents.c.id == operation_items.c.document_id)
    mine = documents.c.source_id == claim.source_id
    removed = tx.execute(select(func.count()).select_from(there).where(done, mine)).scalar_one()
    more = tx.execute(select(func.count()).select_from(documents).where(live, documents.c.unique_id.in_(unique_ids)))
    total = tx.execute(select(func.count()).select_from(documents).where(live)).scalar_one()
    return removed + more.scalar_one(), removed + total
