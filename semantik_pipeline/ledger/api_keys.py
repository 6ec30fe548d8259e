"""API keys: who may call, as what, until when. A key itself is nowhere, only its SHA-256."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, case, delete, insert, or_, select, update

from semantik_pipeline.errors import Conflict, NotFound
from semantik_pipeline.ledger import audit_trail
from semantik_pipeline.ledger.connection import Transaction, now
from semantik_pipeline.ledger.tables import api_keys

_STATE = case(
    (api_keys.c.revoked_at.is_not(None), "revoked"),
    (and_(api_keys.c.expires_at.is_not(None), api_keys.c.expires_at <= now()), "expired"),
    else_="valid",
).label("state")

_SHOWN = (
    "name",
    "role",
    "collections",
    "principals",
    "created_by",
    "created_at",
    "expires_at",
    "revoked_at",
    "used_at",
)


@dataclass(frozen=True, kw_only=True)
class KeyRow:
    """A key as a caller shows it. ``state`` is valid | expired | revoked; ``seconds_left`` None means for ever, and
    ``unnoted`` that its use was not noted for a while."""

    id: int
    name: str
    state: str
    role: str
    collections: list[str] | None
    principals: list[str] | None
    seconds_left: float | None
    unnoted: bool


def create(
    tx: Transaction,
    *,
    name: str,
    hash: str,
    role: str,
    collections: Collection[str] | None = None,
    principals: Collection[str] | None = None,
    seconds: float | None = None,
) -> dict[str, Any]:
    """Add a key that is valid for so many seconds (None: for ever). Raises Conflict for a name that was given before,
    revoked keys included, because the audit trail knows callers by these names."""
    if tx.execute(select(api_keys.c.id).where(api_keys.c.name == name)).first() is not None:
        raise Conflict(f"There is, or was, an API key {name!r}.", "Give another name; `semantik keys list` shows them.")
    values = {
        "name": name,
        "hash": hash,
        "role": role,
        "collections": None if collections is None else sorted(collections),
        "principals": None if principals is None else sorted(principals),
        "created_by": audit_trail.person(),
        "created_at": now(),
        "expires_at": None if seconds is None else now() + seconds,
    }
    tx.execute(insert(api_keys).values(**values))
    return get(tx, name)


def forget(tx: Transaction, name: str) -> None:
    """Remove the key of this name, if there is one; its name is free again."""
    tx.execute(delete(api_keys).where(api_keys.c.name == name))


def list_keys(tx: Transaction) -> list[dict[str, Any]]:
    """All keys by name, without their hashes, each with its ``state``."""
    columns = [api_keys.c[name] for name in _SHOWN]
    return [dict(row) for row in tx.execute(select(*columns, _STATE).order_by(api_keys.c.name)).mappings()]


def get(tx: Transaction, name: str) -> dict[str, Any]:
    """One of :func:`list_keys`. Raises UsageError if there is none of this name."""
    columns = [api_keys.c[name] for name in _SHOWN]
    row = tx.execute(select(*columns, _STATE).where(api_keys.c.name == name)).mappings().first()
    if row is None:
        raise NotFound(f"There is no API key {name!r}.", "`semantik keys list` shows the names.")
    return dict(row)


def find(tx: Transaction, hash: str, *, noted: float) -> KeyRow | None:
    """The key of this hash, whatever its state; ``unnoted`` if its use was not noted in the last ``noted`` seconds."""
    unnoted = or_(api_keys.c.used_at.is_(None), api_keys.c.used_at < now() - noted).label("unnoted")
    left = (api_keys.c.expires_at - now()).label("seconds_left")
    named = [api_keys.c[name] for name in ("id", "name", "role", "collections", "principals")]
    row = tx.execute(select(*named, _STATE, left, unnoted).where(api_keys.c.hash == hash)).mappings().first()
    return KeyRow(**{**row, "unnoted": bool(row["unnoted"])}) if row else None


def note_use(tx: Transaction, key_id: int) -> None:
    tx.execute(update(api_keys).where(api_keys.c.id == key_id).values(used_at=now()))


def revoke(tx: Transaction, name: str) -> dict[str, Any]:
    """Let nobody in with it from now on; revoking twice is fine. Raises UsageError if there is none of this name."""
    still = and_(api_keys.c.name == name, api_keys.c.revoked_at.is_(None))
    tx.execute(update(api_keys).where(still).values(revoked_at=now()))
    return get(tx, name)
