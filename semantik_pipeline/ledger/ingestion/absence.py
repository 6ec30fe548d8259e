"""Documents that have vanished from a source: not named by a full enumeration, or reported as gone by the source."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, and_, func, select, update

from semantik_pipeline.ledger.database.connection import Transaction
from semantik_pipeline.ledger.ingestion.sync import SourceClaim
from semantik_pipeline.ledger.tables import documents, sources


def mark_gone(tx: Transaction, claim: SourceClaim, unique_ids: Sequence[str]) -> None:
    """Mark documents that the source reports as gone in this run: ``seen_run`` becomes the negated run number.

    They are deleted at the end of the run. If the run names such a document later, the mark is overwritten. Marks of a
    failed run have no effect on later runs, which have other numbers.
    """
    named = and_(_live(claim.source_id), documents.c.unique_id.in_(unique_ids))
    in_order = select(documents.c.id).where(named).order_by(documents.c.id)
    ids = tx.execute(in_order.with_for_update()).scalars().all()
    tx.execute(update(documents).where(documents.c.id.in_(ids)).values(seen_run=-claim.run))


def vanished(claim: SourceClaim, *, full: bool) -> ColumnElement[bool]:
    """Condition: live documents that the run shows to be gone. After a full run these are all documents that it did not
    name, otherwise those that :func:`mark_gone` marked."""
    seen = documents.c.seen_run
    return and_(_live(claim.source_id), seen < claim.run if full else seen == -claim.run)


def count_vanished(tx: Transaction, claim: SourceClaim, *, full: bool) -> tuple[int, int]:
    """(number of vanished documents, number of live documents of the source); (0, 0) if none has vanished."""
    gone = tx.execute(select(func.count()).select_from(documents).where(vanished(claim, full=full))).scalar_one()
    if not gone:
        return 0, 0
    return gone, tx.execute(select(func.count()).select_from(documents).where(_live(claim.source_id))).scalar_one()


def is_allowed(tx: Transaction, claim: SourceClaim) -> bool:
    """Whether an operator has allowed the run, before or during it, to delete any number of documents."""
    return tx.execute(select(sources.c.allow_deletions).where(sources.c.id == claim.source_id)).scalar_one()


def _live(source_id: int) -> ColumnElement[bool]:
    return and_(documents.c.source_id == source_id, documents.c.deleted_at.is_(None))
