"""Operations that somebody paused, let go on or cancelled, and that don't hold, or let go, all of their units yet.

The state of the operation is what counts, from its commit on: until it holds its units, nobody claims those that are to
wait. How far that is is in the operation's ``detail``, so anybody may go on where the last one ended.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select, true, update

from semantik_pipeline.ledger.database.connection import Transaction
from semantik_pipeline.ledger.tables import operation_items, operations, work

#: In the detail of an operation: up to which document its units follow its state. It is absent when all do.
PENDING = "pending_holds"

#: In its detail when all do: of how many documents they had to be changed.
CHANGED = "changed_holds"


@dataclass(frozen=True, kw_only=True)
class PendingHolds:
    """Units of documents up to the id ``upto`` follow; ``documents`` of them had to be changed. ``behind`` is how far back in
    the queue those that are freed are placed, as long as that is known."""

    operation_id: int
    state: str
    outcome: str | None
    upto: int = 0
    documents: int = 0
    behind: float | None = None

    @property
    def frees(self) -> bool:
        """Whether the operation holds nothing from now on."""
        return self.state == "running" and self.outcome is None


_PENDING = and_(
    operations.c.state.in_(("running", "paused")), operations.c.detail[(PENDING, "upto")].as_integer().is_not(None)
)


def operation_ids(tx: Transaction) -> list[int]:
    """Operations of which units are left that don't follow yet."""
    return list(tx.execute(select(operations.c.id).where(_PENDING).order_by(operations.c.id)).scalars())


_WAITS = or_(operations.c.state == "paused", operations.c.outcome == "cancelled")

#: Their number, for a statement that asks for something else: mostly there are none, and nothing more is to be asked.
STOPPED = select(func.count()).select_from(operations).where(_PENDING, _WAITS).correlate(None).scalar_subquery()


def stopped(tx: Transaction, *, of_source: int | None = None) -> list[int]:
    """Those of them whose units are to wait, or only those that wait for something ``of_source``."""
    waits = _WAITS
    if of_source is not None:
        mine = and_(operation_items.c.operation_id == operations.c.id, work.c.source_id == of_source)
        item = select(work.c.document_id).join(operation_items, operation_items.c.document_id == work.c.document_id)
        waits = and_(waits, item.where(mine).exists())
    return list(tx.execute(select(operations.c.id).where(_PENDING, waits).order_by(operations.c.id)).scalars())


def others(operation_ids: Collection[int]) -> ColumnElement[bool]:
    """Condition: units of revisions that are none of these operations', in whatever generation. An item is looked up for
    each unit that could be claimed, however many items the operations have."""
    item = select(operation_items.c.document_id).where(
        operation_items.c.document_id == work.c.document_id, operation_items.c.revision == work.c.revision
    )
    items = [item.where(operation_items.c.operation_id == one).correlate(work) for one in operation_ids]
    return and_(true(), *(item.scalar_subquery().is_(None) for item in items))


def begin(tx: Transaction, operation_id: int) -> None:
    """The operation's state is another one, and none of its units follows yet. Call with the operation locked."""
    detail = _detail(tx, operation_id)
    detail.pop(CHANGED, None)
    _keep(tx, operation_id, {**detail, PENDING: {"upto": 0, "documents": 0, "behind": None}})


def look(tx: Transaction, operation_id: int, *, lock: bool = False) -> PendingHolds | None:
    """How far it is, with ``lock`` until the transaction ends; None: all its units follow, or it has ended."""
    columns = (operations.c.state, operations.c.outcome, operations.c.detail)
    mine = select(*columns).where(operations.c.id == operation_id, operations.c.state != "finished")
    row = tx.execute(mine.with_for_update(key_share=True) if lock else mine).first()
    if row is None or PENDING not in (row.detail or {}):
        return None
    return PendingHolds(operation_id=operation_id, state=row.state, outcome=row.outcome, **row.detail[PENDING])


def note(tx: Transaction, seen: PendingHolds, *, ended: bool) -> None:
    """Keep how far it is. Call with the operation locked."""
    detail = _detail(tx, seen.operation_id)
    if ended:
        del detail[PENDING]
        detail[CHANGED] = seen.documents
    else:
        detail[PENDING] = {"upto": seen.upto, "documents": seen.documents, "behind": seen.behind}
    _keep(tx, seen.operation_id, detail)


def forget(tx: Transaction, operation_id: int) -> None:
    """The operation ends, and its units with it."""
    detail = _detail(tx, operation_id)
    if {PENDING, CHANGED} & detail.keys():
        _keep(tx, operation_id, {name: value for name, value in detail.items() if name not in (PENDING, CHANGED)})


def changed(tx: Transaction, operation_id: int) -> int:
    """Of how many documents the units had to be changed when its state was last. An operation is about one generation, where
    each has one."""
    return _detail(tx, operation_id).get(CHANGED, 0)


def _detail(tx: Transaction, operation_id: int) -> dict[str, Any]:
    query = select(operations.c.detail).where(operations.c.id == operation_id)
    return dict(tx.execute(query).scalar_one() or {})


def _keep(tx: Transaction, operation_id: int, detail: dict[str, Any]) -> None:
    tx.execute(update(operations).where(operations.c.id == operation_id).values(detail=detail))
