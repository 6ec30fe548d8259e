"""Reconciling: units whose points a worker may have written without a lease go through ``upsert`` once more."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import and_, bindparam, or_, select, tuple_, update

from semantik_pipeline.ledger.catalog.lineage import NOT_RETIRED
from semantik_pipeline.ledger.database.connection import Transaction, now
from semantik_pipeline.ledger.queue.work import UNIT, Unit, unit_of
from semantik_pipeline.ledger.tables import work


def mark(tx: Transaction, keys: Iterable[tuple[int, int]]) -> None:
    """Mark units (document id, generation id) whose points a worker may have written without a lease."""
    rows = [{"d": document, "g": generation} for document, generation in sorted(keys)]
    if rows:
        by_key = and_(work.c.document_id == bindparam("d"), work.c.generation_id == bindparam("g"))
        tx.execute(update(work).where(by_key).values(reconcile=True), rows)


#: Units that one call of :func:`owed` returns.
SOME = 100


def owed(tx: Transaction, *, after: tuple[int, int]) -> list[Unit]:
    """At most SOME marked units in quarantine with keys above ``after``, in key order.

    The store may hold points of them from a revision that was never indexed.
    """
    aside = and_(work.c.stage == "quarantined", work.c.goal == "indexed")
    mine = and_(work.c.reconcile, aside, NOT_RETIRED)
    key = work.c.document_id, work.c.generation_id
    query = UNIT.where(mine, tuple_(*key) > tuple_(*after)).order_by(*key).limit(SOME)
    return [unit_of(row) for row in tx.execute(query)]


def withdrawn(tx: Transaction, unit: Unit) -> None:
    """Clear the unit's mark after its points were withdrawn, unless it has a newer revision."""
    key = and_(work.c.document_id == unit.document_id, work.c.generation_id == unit.generation_id)
    same = and_(key, work.c.epoch == unit.epoch, work.c.stage == "quarantined")
    tx.execute(update(work).where(same).values(reconcile=False))


#: Units that one transaction sends through ``upsert`` again.
MANY = 1000


#: Condition: marked units that are finished.
_MARKED = and_(work.c.reconcile, work.c.stage.in_(("indexed", "skipped", "deleted")), NOT_RETIRED)

#: Condition: units at ``upsert`` that nothing delays, and whose revision is already indexed or has no text.
_AGAIN = and_(
    work.c.stage == "upsert",
    work.c.held_by.is_(None),
    work.c.blocked.is_(None),
    work.c.not_before <= now(),
    NOT_RETIRED,
    or_(work.c.goal != "indexed", work.c.indexed_epoch == work.c.epoch),
)


def under_way(tx: Transaction) -> bool:
    """Whether a finished unit is being reconciled now, or is marked for it."""
    looks = [select(work.c.document_id).where(which).limit(1) for which in (_MARKED, _AGAIN)]
    return any(tx.execute(look).first() is not None for look in looks)


def reconcile(tx: Transaction) -> int:
    """Send up to MANY finished units that are marked through ``upsert`` again, which removes older points.

    Returns their number. Rows that another transaction has locked are left out.
    """
    key = work.c.document_id, work.c.generation_id
    in_order = select(*key).where(_MARKED).order_by(*key).limit(MANY).with_for_update(skip_locked=True)
    keys = [tuple(row) for row in tx.execute(in_order)]
    if keys:
        again = {"stage": "upsert", "reconcile": False, "touched": True, "progress": None, "updated_at": now()}
        tx.execute(update(work).where(tuple_(*key).in_(keys)).values(**again))
    return len(keys)
