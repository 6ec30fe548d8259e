"""Idempotent requests: a request that is sent again with the same key gets the stored answer and is not done again."""

from __future__ import annotations

from dataclasses import dataclass
from secrets import token_hex
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, select, update

from semantik_pipeline.errors import Conflict, UsageError
from semantik_pipeline.ledger.database.connection import Transaction, insert_for, now
from semantik_pipeline.ledger.tables import idempotency_keys as table

#: Seconds an answer is kept.
KEPT = 86400.0

#: Seconds without :func:`renew` after which a request in progress counts as dead: its process died.
IN_HAND = 120.0

#: Rows that one transaction of :func:`sweep` removes.
BATCH = 5000


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The answer to a request: HTTP status and JSON body."""

    status: int
    body: Any


def begin(tx: Transaction, actor: str, key: str, request_hash: str) -> Answer | str:
    """Start the request with this key and return a new token for it, or return its answer if it was already done.

    Raises Conflict if the same request is in progress, and UsageError if the key was used for a different request.
    """
    mine = and_(table.c.actor == actor, table.c.key == key)
    over = and_(table.c.created_at < now() - KEPT, table.c.status.is_not(None))
    died = and_(table.c.created_at < now() - IN_HAND, table.c.status.is_(None))
    tx.execute(delete(table).where(mine, over | died))
    token = token_hex(8)
    row = insert_for(tx, table).values(actor=actor, key=key, request_hash=request_hash, token=token, created_at=now())
    made = row.on_conflict_do_nothing(index_elements=["actor", "key"]).returning(table.c.key)
    if tx.execute(made).first() is not None:
        return token
    found = tx.execute(select(table.c.request_hash, table.c.status, table.c.answer).where(mine)).first()
    if found is not None and found.request_hash != request_hash:
        raise UsageError(
            "This idempotency key was used for a different request.",
            "Give each request its own key, such as a UUID.",
        )
    if found is None or found.status is None:
        raise Conflict("The same request is in progress.", "Send it again in a moment, with the same key.")
    return Answer(status=found.status, body=found.answer)


def renew(tx: Transaction, actor: str, key: str, token: str) -> None:
    """Record that the request is still in progress."""
    tx.execute(update(table).where(_held(actor, key, token)).values(created_at=now()))


def keep(tx: Transaction, actor: str, key: str, token: str, answer: Answer) -> None:
    """Store the answer of the request. Does nothing if the request was taken over by another token meanwhile."""
    tx.execute(
        update(table).where(_held(actor, key, token)).values(status=answer.status, answer=answer.body, created_at=now())
    )


def forget(tx: Transaction, actor: str, key: str, token: str) -> None:
    """Delete the key of a request that failed without changing anything, so that it can be sent again."""
    tx.execute(delete(table).where(_held(actor, key, token)))


def _held(actor: str, key: str, token: str) -> ColumnElement[bool]:
    return and_(table.c.actor == actor, table.c.key == key, table.c.token == token, table.c.status.is_(None))


def sweep(tx: Transaction, *, older_than: float) -> bool:
    """Delete up to BATCH keys older than ``older_than`` seconds. Returns whether more may be left."""
    old = select(table.c.actor, table.c.key).where(table.c.created_at < now() - older_than).limit(BATCH)
    rows = tx.execute(old).all()
    for actor, key in rows:
        tx.execute(delete(table).where(table.c.actor == actor, table.c.key == key))
    return len(rows) == BATCH
