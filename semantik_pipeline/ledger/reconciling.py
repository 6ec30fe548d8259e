"""Documents whose points may have been written by somebody without a lease: they are looked at again at their end."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import and_, bindparam, select, update

from semantik_pipeline.ledger.connection import Transaction, now
from semantik_pipeline.ledger.tables import generations, work


def mark(tx: Transaction, keys: Iterable[tuple[int, int]]) -> None:
    """These documents' points may have been written by somebody without a lease."""
    rows = [{"d": document, "g": generation} for document, generation in sorted(keys)]
    if rows:
        by_key = and_(work.c.document_id == bindparam("d"), work.c.generation_id == bindparam("g"))
        tx.execute(update(work).where(by_key).values(reconcile=True), rows)


def reconcile(tx: Transaction) -> int:
    """Send marked documents that are at their end through ``upsert`` again, which removes older points."""
    retired = select(generations.c.id).where(generations.c.state == "retired")
    ended = and_(work.c.stage.in_(("indexed", "skipped", "deleted")), work.c.generation_id.not_in(retired))
    again = {"stage": "upsert", "reconcile": False, "touched": True, "progress": None, "updated_at": now()}
    return tx.execute(update(work).where(work.c.reconcile, ended).values(**again)).rowcount
