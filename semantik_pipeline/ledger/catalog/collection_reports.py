"""Reports on collections for people: configuration, document counts, generations and sources."""

from __future__ import annotations

from collections.abc import Collection as Group
from collections.abc import Sequence
from typing import Any

from sqlalchemy import and_, func, select

from semantik_pipeline.ledger.database.connection import Transaction
from semantik_pipeline.ledger.tables import collections, documents, generations, sources, work

_COLUMNS = (
    collections.c.id,
    collections.c.name,
    collections.c.config,
    collections.c.active_generation,
    collections.c.created_at,
)


def list_collections(
    tx: Transaction,
    *,
    among: Group[str] | None = None,
    after: str | None = None,
    limit: int | None = None,
) -> list[dict[str, Any]]:
    """Return up to ``limit`` collections, ordered by name, after the name ``after``. Trashed ones are left out.

    Each has ``documents`` (status -> count), ``chunks`` (count), ``generations`` and ``sources``. ``among``: only
    collections with these names (None: all).
    """
    query = select(*_COLUMNS).where(collections.c.trashed_at.is_(None)).order_by(collections.c.name).limit(limit)
    if among is not None:
        query = query.where(collections.c.name.in_(sorted(among)))
    if after is not None:
        query = query.where(collections.c.name > after)
    found = [dict(row) for row in tx.execute(query).mappings()]
    ids = [row["id"] for row in found]
    counted, builds, origins = _counts(tx, ids), _generations(tx, ids), _sources(tx, ids)
    for row in found:
        row["documents"], row["chunks"] = counted.get(row["id"], ({}, 0))
        row["generations"] = builds.get(row["id"], [])
        row["sources"] = origins.get(row["id"], [])
    return found


def _counts(tx: Transaction, ids: Sequence[int]) -> dict[int, tuple[dict[str, int], int]]:
    """Return collection id -> (status -> number of live documents, number of their chunks) in the active generation."""
    active = and_(work.c.document_id == documents.c.id, work.c.generation_id == collections.c.active_generation)
    query = (
        select(documents.c.collection_id, work.c.stage, func.count(), func.coalesce(func.sum(work.c.chunks), 0))
        .join(collections, collections.c.id == documents.c.collection_id)
        .join(work, active)
        .where(documents.c.collection_id.in_(ids), documents.c.deleted_at.is_(None))
        .group_by(documents.c.collection_id, work.c.stage)
    )
    found: dict[int, tuple[dict[str, int], int]] = {}
    for collection_id, stage, number, chunks in tx.execute(query):
        by_status, total = found.get(collection_id, ({}, 0))
        found[collection_id] = ({**by_status, stage: number}, total + int(chunks))
    return found


def _generations(tx: Transaction, ids: Sequence[int]) -> dict[int, list[dict[str, Any]]]:
    columns = ("id", "state", "dimension", "fingerprints", "created_at", "activated_at", "retire_at", "operation_id")
    query = select(generations.c.collection_id, *(generations.c[name] for name in columns))
    found: dict[int, list[dict[str, Any]]] = {}
    mine = query.where(generations.c.collection_id.in_(ids)).order_by(generations.c.id)
    for row in tx.execute(mine).mappings():
        found.setdefault(row["collection_id"], []).append({name: row[name] for name in columns})
    return found


def _sources(tx: Transaction, ids: Sequence[int]) -> dict[int, list[dict[str, Any]]]:
    """Return collection id -> its sources, ordered by name: ``id``, ``connector``, ``name`` of each."""
    columns = (sources.c.collection_id, sources.c.id, sources.c.connector, sources.c.name)
    mine = and_(sources.c.collection_id.in_(ids), sources.c.trashed_at.is_(None))
    found: dict[int, list[dict[str, Any]]] = {}
    for collection_id, identity, connector, name in tx.execute(select(*columns).where(mine).order_by(sources.c.name)):
        found.setdefault(collection_id, []).append({"id": identity, "connector": connector, "name": name})
    return found
