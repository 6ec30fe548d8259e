"""The audit trail: who changed what, and when. Entries are kept for ``retention.audit_days``."""

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
    """Attribute changes in the block to ``actor``, in this thread or task and in those started with its context."""
    before = _actor.get()
    _actor.set(actor)
    try:
        yield
    finally:
        _actor.set(before)  # not reset(token): the end of a generator may run in another context than its start


def person() -> str:
    """Return the actor set by :func:`acting_as`, else the user who runs this process, as ``user@host``."""
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
    """Record a change, in the transaction that makes it. ``actor`` defaults to :func:`person`.

    ``event`` is a name like ``source.pause`` or ``plugin.disable``. ``detail`` must not contain secrets.
    """
    values = {"at": now(), "actor": actor or person(), "event": event, "subject": subject, "detail": detail or {}}
    tx.execute(insert(audit).values(**values))


def entries(
    tx: Transaction, *, limit: int, since: float | None = None, after: tuple[float, int] | None = None
) -> list[dict[str, Any]]:
    """Return up to ``limit`` entries, newest first.

    ``since``: only entries of the last so many seconds. ``after``: a cursor, the (time, id) of the last entry of the
    page before; only older entries follow.
    """
    query = select(audit).order_by(audit.c.at.desc(), audit.c.id.desc()).limit(limit)
    if since is not None:
        query = query.where(audit.c.at >= now() - since)
    if after is not None:
        query = query.where(tuple_(audit.c.at, audit.c.id) < tuple_(*after))
    return [dict(row) for row in tx.execute(query).mappings()]
