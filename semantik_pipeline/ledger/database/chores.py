"""Chores: periodic maintenance tasks, each done by the first worker that finds it due."""

from __future__ import annotations

from sqlalchemy import select

from semantik_pipeline.ledger.database.connection import Transaction, insert_for, now
from semantik_pipeline.ledger.tables import chores


def note(tx: Transaction, name: str) -> None:
    """Record that the chore was done now."""
    statement = insert_for(tx, chores).values(name=name, done_at=now())
    tx.execute(statement.on_conflict_do_update(index_elements=["name"], set_={"done_at": now()}))


def age(tx: Transaction, name: str) -> float | None:
    """Return the seconds since the chore was last done, or None if it never was."""
    return tx.execute(select(now() - chores.c.done_at).where(chores.c.name == name)).scalar_one_or_none()


def take(tx: Transaction, name: str, *, every: float) -> bool:
    """Take the chore if it was not done in the last ``every`` seconds: it counts as done now. Returns whether it was
    taken."""
    due = select(chores.c.name).where(chores.c.name == name, chores.c.done_at > now() - every)
    if tx.execute(due).first() is not None:
        return False
    statement = insert_for(tx, chores).values(name=name, done_at=now())
    again = statement.on_conflict_do_update(
        index_elements=["name"], set_={"done_at": now()}, where=chores.c.done_at <= now() - every
    )
    return tx.execute(again.returning(chores.c.name)).first() is not None  # the PostgreSQL driver gives no row count
