"""API keys: who may call the API, in which role, until when. Only a key's SHA-256 is stored, never the key.

A key that is limited to some collections stores their ids. So it follows a renamed collection and does not open another
collection that takes over the name. A collection that does not exist yet is stored by name until it is created.
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
    """The key that a caller presented.

    ``state`` is valid | expired | revoked. ``seconds_left``: None means that it never expires. ``unnoted``: the last
    recorded use is too old, or there is none, so :func:`note_use` is due.
    """

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
    """Add a key that is valid for ``seconds`` (None: it never expires).

    Raises Conflict if the name was used before, even by a revoked key: the audit trail identifies callers by name.
    """
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
    """Delete the key with this name, if it exists. The name can then be used again."""
    tx.execute(delete(api_keys).where(api_keys.c.name == name))


def list_keys(tx: Transaction, *, limit: int | None = None, after: str | None = None) -> list[dict[str, Any]]:
    """Return up to ``limit`` keys, ordered by name, after the name ``after``.

    Each has its ``state`` and no hash; its collections are given by their current names.
    """
    query = select(*_SHOWN, _STATE).order_by(api_keys.c.name).limit(limit)
    if after is not None:
        query = query.where(api_keys.c.name > after)
    rows = tx.execute(query).mappings().all()
    return [{**row, "collections": _named(tx, row["collections"])} for row in rows]


def get(tx: Transaction, name: str) -> dict[str, Any]:
    """Return one key as :func:`list_keys` does. Raises NotFound if no key has this name."""
    row = tx.execute(select(*_SHOWN, _STATE).where(api_keys.c.name == name)).mappings().first()
    if row is None:
        raise NotFound(f"There is no API key {name!r}.", "`semantik keys list` shows the names.")
    return {**row, "collections": _named(tx, row["collections"])}


def find(tx: Transaction, hash: str, *, noted: float) -> KeyRow | None:
    """Return the key with this hash, in any state, or None.

    ``noted``: seconds within which a use must have been recorded; otherwise the key is ``unnoted``.
    """
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
    """Revoke the key. Idempotent. Raises NotFound if no key has this name."""
    still = and_(api_keys.c.name == name, api_keys.c.revoked_at.is_(None))
    tx.execute(update(api_keys).where(still).values(revoked_at=now()))
    return get(tx, name)


# -- collections of keys ----------------------------------------------------------------------------------------------


# Lock order: the collection's row (or its name) first, then keys. Otherwise renaming a collection and creating another
# one with that name could deadlock.


def bind(tx: Transaction, collection_id: int, name: str) -> None:
    """Replace the collection's ``name`` by its id in all keys that store the name.

    Call this in the transaction that creates the collection (with its name) or renames it (with its old name).
    """
    _change(tx, lambda one: collection_id if one == name else one)


def release(tx: Transaction, collection_id: int) -> None:
    """Remove a collection that is being purged from all keys, by id and by name: another may get its id or its name.

    The name stays in the keys if the collection was never visible, because its import failed: the keys were not meant
    for it. Call this while the rows of its generations still exist: they show whether it was visible.
    """
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
    """Return what a key stores: ids of collections; names of those that don't exist yet or are being imported."""
    ids = _ids(tx, and_(collections.c.name.in_(sorted(names)), collections.c.importing_at.is_(None)))
    return [ids.get(name, name) for name in sorted(names)]


def _named(tx: Transaction, kept: list[Any] | None) -> list[str] | None:
    """Return the current names of the collections that a key stores."""
    if kept is None:
        return None
    numbers = [one for one in kept if isinstance(one, int)]
    names = [*_ids(tx, collections.c.id.in_(numbers))] if numbers else []
    return sorted([*names, *(one for one in kept if isinstance(one, str))])


def _ids(tx: Transaction, which: ColumnElement[bool]) -> dict[str, int]:
    found = tx.execute(select(collections.c.name, collections.c.id).where(which))
    return {row.name: row.id for row in found}
