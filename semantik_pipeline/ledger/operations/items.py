"""The items of an operation: the revisions that it must finish, in the generation that it concerns."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, and_, exists, func, select

from semantik_pipeline.ledger.tables import collections, operation_items, operations, work

#: Key in an operation's ``detail``: the generation that it concerns, if that is not the active one and the operation
#: does not build it.
GENERATION = "generation"


def joined(operation_id: int) -> ColumnElement[bool]:
    """Condition that joins the operation's items to their units, unless a newer revision has superseded the item.

    An operation that builds or repairs a generation owns units of that generation; every other operation owns units of
    the active generation. So builds wait for their own units, and no operation waits for units of a generation that is
    only kept for a rollback: a worker that can serve it may never appear.
    """
    return and_(
        operation_items.c.operation_id == operation_id,
        operation_items.c.document_id == work.c.document_id,
        operation_items.c.revision == work.c.revision,
        work.c.generation_id == concerned(operation_id),
    )


def owned(operation_id: int) -> ColumnElement[bool]:
    """The condition of :func:`joined`, on rows of ``work``."""
    return exists().where(joined(operation_id)).correlate(work)


def concerned(operation_id: int) -> Any:
    """Subquery: the generation that an operation concerns. It is the one it builds or repairs, else the active one."""
    mine = select(about()).select_from(operations).where(operations.c.id == operation_id)
    return mine.scalar_subquery()


def about() -> ColumnElement[int]:
    """The same, for the row of ``operations`` in the enclosing query."""
    active = select(collections.c.active_generation).where(collections.c.id == operations.c.collection_id)
    repaired = operations.c.detail[GENERATION].as_integer()
    return func.coalesce(operations.c.generation_id, repaired, active.correlate(operations).scalar_subquery())
