"""What has vanished from a source, by a full enumeration that did not name it or by the source's own word, and how much
of the source that is."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, and_, func, select, update

from semantik_pipeline.ledger.database.connection import Transaction
from semantik_pipeline.ledger.ingestion.sync import SourceClaim
from semantik_pipeline.ledger.tables import documents, sources


def mark_gone(tx: Transaction, claim: SourceClaim, unique_ids: Sequence[str]) -> None:
    """Note that the source says, in this run, that it has these documents no more: ``seen_run`` is the run, negated.

    They stay until the run's end. A run that names one again takes its mark away, and a later run has another number,
    so the marks of a run that failed mean nothing to it.
    """
    named = and_(_live(claim.source_id), documents.c.unique_id.in_(unique_ids))
    in_order = select(documents.c.id).where(named).order_by(documents.c.id)
    ids = tx.execute(in_order.with_for_update()).scalars().all()
    tx.execute(update(documents).where(documents.c.id.in_(ids)).values(seen_run=-claim.run))


def vanished(claim: SourceClaim, *, full: bool) -> ColumnElement[bool]:
    """Condition: live documents that the run shows to be gone. After a full run all that it did not name, else those
    that it said are gone."""
    seen = documents.c.seen_run
    return and_(_live(claim.source_id), seen < claim.run if full else seen == -claim.run)


def count_vanished(tx: Transaction, claim: SourceClaim, *, full: bool) -> tuple[int, int]:
    """(documents that the run shows to be gone, all live documents of the source); (0, 0) if none is gone."""
    gone = tx.execute(select(func.count()).select_from(documents).where(vanished(claim, full=full))).scalar_one()
    if not gone:
        return 0, 0
    return gone, tx.execute(select(func.count()).select_from(documents).where(_live(claim.source_id))).scalar_one()


def is_allowed(tx: Transaction, claim: SourceClaim) -> bool:
    """Whether somebody has said, during the run or before, that the source may have lost any number of documents."""
    return tx.execute(select(sources.c.allow_deletions).where(sources.c.id == claim.source_id)).scalar_one()


def _live(source_id: int) -> ColumnElement[bool]:
    return and_(documents.c.source_id == source_id, documents.c.deleted_at.is_(None))
