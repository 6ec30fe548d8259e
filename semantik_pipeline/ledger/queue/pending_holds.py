"""Pending holds: operations that were paused, resumed or cancelled, and whose units do not all follow that state yet.

The new state counts from its commit on: even before an operation holds its units, nobody claims those that have to
wait. The operation's ``detail`` stores the position, so any process can continue from there.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select, true, update

from semantik_pipeline.ledger.database.connection import Transaction
from semantik_pipeline.ledger.tables import operation_items, operations, work

#: Key in an operation's ``detail``: the document id up to which its units follow its state. Absent when all do.
PENDING = "pending_holds"

#: Key in an operation's ``detail`` when all units follow: the number of documents whose units were changed.
CHANGED = "changed_holds"


@dataclass(frozen=True, kw_only=True)
class PendingHolds:
    """The position of an operation: units of documents with ids up to ``upto`` follow its state.

    ``documents``: the number of documents whose units were changed. ``behind``: how much the turns of freed units are
    raised; None if not computed yet (see ``operations/holds.py``).
    """

    operation_id: int
    state: str
    outcome: str | None
    upto: int = 0
    documents: int = 0
    behind: float | None = None

    @property
    def frees(self) -> bool:
        """Whether the operation was resumed, and so frees its units."""
        return self.state == "running" and self.outcome is None


_PENDING = and_(
    operations.c.state.in_(("running", "paused")), operations.c.detail[(PENDING, "upto")].as_integer().is_not(None)
)


def operation_ids(tx: Transaction) -> list[int]:
    """Ids of operations with units that do not follow their state yet."""
    return list(tx.execute(select(operations.c.id).where(_PENDING).order_by(operations.c.id)).scalars())


_WAITS = or_(operations.c.state == "paused", operations.c.outcome == "cancelled")

#: The number of operations whose units have to wait and do not follow yet. It is selected along with other columns: it
#: is mostly 0, and then no further query is needed.
STOPPED = select(func.count()).select_from(operations).where(_PENDING, _WAITS).correlate(None).scalar_subquery()


def stopped(tx: Transaction, *, of_source: int | None = None) -> list[int]:
    """Ids of pending operations whose units have to wait; only those with units ``of_source``, if given."""
    waits = _WAITS
    if of_source is not None:
        mine = and_(operation_items.c.operation_id == operations.c.id, work.c.source_id == of_source)
        item = select(work.c.document_id).join(operation_items, operation_items.c.document_id == work.c.document_id)
        waits = and_(waits, item.where(mine).exists())
    return list(tx.execute(select(operations.c.id).where(_PENDING, waits).order_by(operations.c.id)).scalars())


def others(operation_ids: Collection[int]) -> ColumnElement[bool]:
    """Condition: units whose revision is no item of these operations, in any generation.

    The query looks up an item for each unit that could be claimed, so its cost does not depend on the number of items.
    """
    item = select(operation_items.c.document_id).where(
        operation_items.c.document_id == work.c.document_id, operation_items.c.revision == work.c.revision
    )
    items = [item.where(operation_items.c.operation_id == one).correlate(work) for one in operation_ids]
    return and_(true(), *(item.scalar_subquery().is_(None) for item in items))


def begin(tx: Transaction, operation_id: int) -> None:
    """Note that the operation's state has changed and no unit follows yet. Call with the operation locked."""
    detail = _detail(tx, operation_id)
    detail.pop(CHANGED, None)
    _keep(tx, operation_id, {**detail, PENDING: {"upto": 0, "documents": 0, "behind": None}})


def look(tx: Transaction, operation_id: int, *, lock: bool = False) -> PendingHolds | None:
    """The operation's position; None if all its units follow, or it has ended. ``lock`` locks the operation."""
    columns = (operations.c.state, operations.c.outcome, operations.c.detail)
    mine = select(*columns).where(operations.c.id == operation_id, operations.c.state != "finished")
    row = tx.execute(mine.with_for_update(key_share=True) if lock else mine).first()
    if row is None or PENDING not in (row.detail or {}):
        return None
    return PendingHolds(operation_id=operation_id, state=row.state, outcome=row.outcome, **row.detail[PENDING])


def note(tx: Transaction, seen: PendingHolds, *, ended: bool) -> None:
    """Store the position, or, if ``ended``, that all units follow. Call with the operation locked."""
    detail = _detail(tx, seen.operation_id)
    if ended:
        del detail[PENDING]
        detail[CHANGED] = seen.documents
    else:
        detail[PENDING] = {"upto": seen.upto, "documents": seen.documents, "behind": seen.behind}
    _keep(tx, seen.operation_id, detail)


def forget(tx: Transaction, operation_id: int) -> None:
    """Remove the position and the number of changes, for an operation that ends together with its units."""
    detail = _detail(tx, operation_id)
    if {PENDING, CHANGED} & detail.keys():
        _keep(tx, operation_id, {name: value for name, value in detail.items() if name not in (PENDING, CHANGED)})


def changed(tx: Transaction, operation_id: int) -> int:
    """The number of documents whose units were changed with the operation's last change of state.

    An operation concerns one generation, where each document has one unit.
    """
    return _detail(tx, operation_id).get(CHANGED, 0)


def _detail(tx: Transaction, operation_id: int) -> dict[str, Any]:
    query = select(operations.c.detail).where(operations.c.id == operation_id)
    return dict(tx.execute(query).scalar_one() or {})


def _keep(tx: Transaction, operation_id: int, detail: dict[str, Any]) -> None:
    tx.execute(update(operations).where(operations.c.id == operation_id).values(detail=detail))
