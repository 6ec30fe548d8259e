"""What an operation owns: the revisions that it has to see through, in the generations that it is about."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, and_, exists, func, select

from semantik_pipeline.ledger.tables import collections, operation_items, operations, work


def joined(operation_id: int) -> ColumnElement[bool]:
    """Condition that joins the operation's items to their units, as long as no newer revision took their place.

    An operation that builds a generation owns that generation's units alone; any other one those of all generations.
    """
    return and_(
        operation_items.c.operation_id == operation_id,
        operation_items.c.document_id == work.c.document_id,
        operation_items.c.revision == work.c.revision,
        concerned(operation_id),
    )


def owned(operation_id: int) -> ColumnElement[bool]:
    """The same, as a condition on a unit."""
    return exists().where(joined(operation_id)).correlate(work)


def concerned(operation_id: int) -> ColumnElement[bool]:
    """Condition: the unit is of a generation that the operation is about."""
    built: Any = select(operations.c.generation_id).where(operations.c.id == operation_id).scalar_subquery()
    return work.c.generation_id == func.coalesce(built, work.c.generation_id)


def shown_by(operation_id: int) -> Any:
    """The generation in which an operation's progress is shown: the one that it builds, else the active one."""
    shown = func.coalesce(operations.c.generation_id, collections.c.active_generation)
    mine = select(shown).join(collections, collections.c.id == operations.c.collection_id)
    return mine.where(operations.c.id == operation_id).scalar_subquery()
