"""The audit trail: who changed what, and when. Kept for ``retention.audit_days``."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from sqlalchemy import insert, select, tuple_

from semantik_pipeline.ledger.database.connection import Transaction, now
from semantik_pipeline.ledger.tables import audit

_actor: ContextVar[str | None] = ContextVar("semantik_actor", default=None)


@contextmanager
def acting_as(actor: str) -> Iterator[None]:
    """Changes that the block makes are this one's, in this thread or task and those that it starts with its context."""
    before = _actor.get()
    _actor.set(actor)
    try:
        yield
    finally:
        _actor.set(before)  # no reset: a generator's end may run in another context than its beginning


def person() -> str:
    """Who asks: whom this process is :func:`acting_as`, else who runs it, ``user@host``."""
    if (actor := _actor.get()) is not None:
        return actor
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        user = "nobody"
    return f"{user}@{socket.gethostname()}"


def record(
    tx: Transaction, *, event: str, subject: str, actor: str | None = None, detail: dict[str, Any] | None = None
) -> None:
    """Note a change, in the transaction that makes it. ``actor`` is :func:`person` unless given.

    ``event`` is ``source.pause``, ``plugin.disable`` and the like; ``detail`` holds no secret.
    """
    values = {"at": now(), "actor": actor or person(), "event": event, "subject": subject, "detail": detail or {}}
    tx.execute(insert(audit).values(**values))


def entries(
    tx: Transaction, *, limit: int, since: float | None = None, after: tuple[float, int] | None = None
) -> list[dict[str, Any]]:
    """The latest entries, newest first; with ``since`` those of the last so many seconds, and with ``after`` those before
    the one of this time and id."""
    query = select(audit).order_by(audit.c.at.desc(), audit.c.id.desc()).limit(limit)
    if since is not None:
        query = query.where(audit.c.at >= now() - since)
    if after is not None:
        query = query.where(tuple_(audit.c.at, audit.c.id) < tuple_(*after))
    return [dict(row) for row in tx.execute(query).mappings()]
