"""API keys: who may call, as what, until when. A key itself is nowhere, only its SHA-256.

A key that is limited to some collections keeps their ids, so that it opens these whatever they are called, and no other
that takes their name. One that was named and does not exist yet is kept by its name until somebody makes it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, case, delete, insert, or_, select, update

from semantik_pipeline.errors import Conflict, NotFound
from semantik_pipeline.ledger.access import audit_trail
from semantik_pipeline.ledger.database.connection import Transaction, now
from semantik_pipeline.ledger.tables import api_keys, collections, generations

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

_STATE = case(
    (api_keys.c.revoked_at.is_not(None), "revoked"),
    (and_(api_keys.c.expires_at.is_not(None), api_keys.c.expires_at <= now()), "expired"),
    else_="valid",
).label("state")

_SHOWN = (
    api_keys.c.name,
    api_keys.c.role,
    api_keys.c.collections,
    api_keys.c.principals,
    api_keys.c.created_by,
    api_keys.c.created_at,
    api_keys.c.expires_at,
    api_keys.c.revoked_at,
    api_keys.c.used_at.label("last_used_at"),
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
        raise Conflict(
            f"There is, or was, an API key {name!r}.", "Choose another name; `semantik keys list` shows all names."
        )
    values = {
        "name": name,
        "hash": hash,
        "role": role,
        "collections": None if collections is None else _bound(tx, collections),
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


def list_keys(tx: Transaction, *, limit: int | None = None, after: str | None = None) -> list[dict[str, Any]]:
    """Keys by name, without their hashes, each with its ``state``, and collections by what they are called now: at most
    ``limit``, behind the one of the name ``after``."""
    query = select(*_SHOWN, _STATE).order_by(api_keys.c.name).limit(limit)
    if after is not None:
        query = query.where(api_keys.c.name > after)
    rows = tx.execute(query).mappings().all()
    return [{**row, "collections": _named(tx, row["collections"])} for row in rows]


def get(tx: Transaction, name: str) -> dict[str, Any]:
    """One of :func:`list_keys`. Raises UsageError if there is none of this name."""
    row = tx.execute(select(*_SHOWN, _STATE).where(api_keys.c.name == name)).mappings().first()
    if row is None:
        raise NotFound(f"There is no API key {name!r}.", "`semantik keys list` shows the names.")
    return {**row, "collections": _named(tx, row["collections"])}


def find(tx: Transaction, hash: str, *, noted: float) -> KeyRow | None:
    """The key of this hash, whatever its state; ``unnoted`` if its use was not noted in the last ``noted`` seconds."""
    unnoted = or_(api_keys.c.used_at.is_(None), api_keys.c.used_at < now() - noted).label("unnoted")
    left = (api_keys.c.expires_at - now()).label("seconds_left")
    named = [api_keys.c[name] for name in ("id", "name", "role", "collections", "principals")]
    row = tx.execute(select(*named, _STATE, left, unnoted).where(api_keys.c.hash == hash)).mappings().first()
    if row is None:
        return None
    return KeyRow(**{**row, "collections": _named(tx, row["collections"]), "unnoted": bool(row["unnoted"])})


def note_use(tx: Transaction, key_id: int) -> None:
    tx.execute(update(api_keys).where(api_keys.c.id == key_id).values(used_at=now()))


def revoke(tx: Transaction, name: str) -> dict[str, Any]:
    """Let nobody in with it from now on; revoking twice is fine. Raises UsageError if there is none of this name."""
    still = and_(api_keys.c.name == name, api_keys.c.revoked_at.is_(None))
    tx.execute(update(api_keys).where(still).values(revoked_at=now()))
    return get(tx, name)


# -- collections of keys ----------------------------------------------------------------------------------------------


# Whoever locks a collection's row, or its name, and keys locks them in this order. The other way round, one that renames
# a collection and one that makes another of that name would wait for each other.


def bind(tx: Transaction, collection_id: int, name: str) -> None:
    """Let keys that say ``name`` mean the collection from now on, whatever it is called: call it when one was made or
    renamed, with the name that it had before, in the same transaction."""
    _change(tx, lambda one: collection_id if one == name else one)


def release(tx: Transaction, collection_id: int) -> None:
    """Let keys forget a collection that goes for good: another may get its id, or its name. One that was never seen,
    since its import failed, took no name from anybody. Call it while its generations are there."""
    mine = select(collections.c.name).where(collections.c.id == collection_id)
    name = tx.execute(mine.with_for_update()).scalar_one_or_none()
    active = and_(generations.c.collection_id == collection_id, generations.c.activated_at.is_not(None))
    seen = tx.execute(select(generations.c.id).where(active).limit(1)).first() is not None
    gone = (collection_id, name) if seen else (collection_id,)
    _change(tx, lambda one: None if one in gone else one)


def _change(tx: Transaction, changed: Callable[[Any], Any]) -> None:
    limited = select(api_keys.c.id, api_keys.c.collections).where(api_keys.c.collections.is_not(None))
    for row in tx.execute(limited.order_by(api_keys.c.id).with_for_update()).all():
        after = [new for one in row.collections if (new := changed(one)) is not None]
        if after != row.collections:
            tx.execute(update(api_keys).where(api_keys.c.id == row.id).values(collections=after))


def _bound(tx: Transaction, names: Collection[str]) -> list[Any]:
    """Ids of the collections, the names of those that don't exist, or are being imported still."""
    ids = _ids(tx, and_(collections.c.name.in_(sorted(names)), collections.c.importing_at.is_(None)))
    return [ids.get(name, name) for name in sorted(names)]


def _named(tx: Transaction, kept: list[Any] | None) -> list[str] | None:
    """What is called so now: of what a key keeps."""
    if kept is None:
        return None
    numbers = [one for one in kept if isinstance(one, int)]
    names = [*_ids(tx, collections.c.id.in_(numbers))] if numbers else []
    return sorted([*names, *(one for one in kept if isinstance(one, str))])


def _ids(tx: Transaction, which: ColumnElement[bool]) -> dict[str, int]:
    found = tx.execute(select(collections.c.name, collections.c.id).where(which))
    return {row.name: row.id for row in found}
