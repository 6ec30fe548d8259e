"""Chores: what maintenance does once in a while, by whichever worker comes first."""

from __future__ import annotations

from sqlalchemy import select

from semantik_pipeline.ledger.database.connection import Transaction, insert_for, now
from semantik_pipeline.ledger.tables import chores


def note(tx: Transaction, name: str) -> None:
    """The chore was done just now."""
    statement = insert_for(tx, chores).values(name=name, done_at=now())
    tx.execute(statement.on_conflict_do_update(index_elements=["name"], set_={"done_at": now()}))


def age(tx: Transaction, name: str) -> float | None:
    """Seconds since it was done; None: never."""
    return tx.execute(select(now() - chores.c.done_at).where(chores.c.name == name)).scalar_one_or_none()


def take(tx: Transaction, name: str, *, every: float) -> bool:
    """Whether the chore is due, that is not done for ``every`` seconds; it counts as done from now on."""
    due = select(chores.c.name).where(chores.c.name == name, chores.c.done_at > now() - every)
    if tx.execute(due).first() is not None:
        return False
    statement = insert_for(tx, chores).values(name=name, done_at=now())
    again = statement.on_conflict_do_update(
        index_elements=["name"], set_={"done_at": now()}, where=chores.c.done_at <= now() - every
    )
    return tx.execute(again.returning(chores.c.name)).first() is not None  # PostgreSQL's driver counts no inserts
