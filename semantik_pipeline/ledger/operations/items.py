"""What an operation owns: the revisions that it has to see through, in the generations that it is about."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, and_, exists, func, select

from semantik_pipeline.ledger.tables import collections, operation_items, operations, work

#: In the detail of an operation that is about another generation than the active one, and does not build it: which one.
GENERATION = "generation"


def joined(operation_id: int) -> ColumnElement[bool]:
    """Condition that joins the operation's items to their units, as long as no newer revision took their place.

    An operation that builds a generation owns that generation's units, one that repairs a generation those of that one;
    any other one those of the generation that search reads. Builds wait for their own units themselves, and nobody else
    waits for those of a generation that is only kept: a worker that can serve it may never come.
    """
    return and_(
        operation_items.c.operation_id == operation_id,
        operation_items.c.document_id == work.c.document_id,
        operation_items.c.revision == work.c.revision,
        work.c.generation_id == concerned(operation_id),
    )


def owned(operation_id: int) -> ColumnElement[bool]:
    """The same, as a condition on a unit."""
    return exists().where(joined(operation_id)).correlate(work)


def concerned(operation_id: int) -> Any:
    """The generation that an operation is about: the one that it builds or repairs, else the active one."""
    mine = select(about()).select_from(operations).where(operations.c.id == operation_id)
    return mine.scalar_subquery()


def about() -> ColumnElement[int]:
    """The same, of the operation of the query around it."""
    active = select(collections.c.active_generation).where(collections.c.id == operations.c.collection_id)
    repaired = operations.c.detail[GENERATION].as_integer()
    return func.coalesce(operations.c.generation_id, repaired, active.correlate(operations).scalar_subquery())
