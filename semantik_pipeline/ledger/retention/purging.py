"""Purging of a collection: removes all its rows, in short transactions that any process can continue.

Its indexes are dropped as a whole, so no points are deleted one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, delete, func, select

from semantik_pipeline.ledger.access import api_keys
from semantik_pipeline.ledger.database.connection import Transaction
from semantik_pipeline.ledger.documents import content, forgetting, words
from semantik_pipeline.ledger.tables import (
    chunks,
    collections,
    documents,
    generations,
    operation_items,
    operation_sources,
    operations,
    sources,
    work,
)

#: Documents, and operation items, that one transaction removes.
BATCH = 200
ITEMS = 5000


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """The result of a step.

    ``raw`` and ``parsed``: keys of stored bodies that may be unused now. ``ended``: no document is left. ``waits``:
    documents are left, but workers hold their leases.
    """

    raw: tuple[str, ...] = ()
    parsed: tuple[str, ...] = ()
    ended: bool = False
    waits: bool = False


def drop_documents(tx: Transaction, collection_id: int) -> Dropped:
    """Remove the rows of up to BATCH documents, and cached results that only they refer to.

    Documents that a worker holds are skipped, since the worker would write points after the index is gone.
    """
    mine = documents.c.collection_id == collection_id
    held = select(work.c.document_id).where(work.c.document_id == documents.c.id, work.c.lease_token.is_not(None))
    free = select(documents.c.id).where(mine, ~held.exists()).order_by(documents.c.id).limit(BATCH)
    ids = list(tx.execute(free.with_for_update()).scalars())
    if not ids:
        left = tx.execute(select(func.count()).select_from(documents).where(mine)).scalar_one()
        return Dropped(ended=not left, waits=bool(left))
    units = select(work.c.document_id, work.c.lease_token, work.c.text_hash, work.c.parse_key)
    in_order = units.where(work.c.document_id.in_(ids)).order_by(work.c.document_id, work.c.generation_id)
    rows = tx.execute(in_order.with_for_update()).all()
    claimed = {row.document_id for row in rows if row.lease_token is not None}  # since the first query
    ids = [one for one in ids if one not in claimed]
    own = [row for row in rows if row.document_id not in claimed]
    bodies = select(documents.c.content_hash).where(documents.c.id.in_(ids), documents.c.content_hash.is_not(None))
    raw = sorted(set(tx.execute(bodies).scalars()))
    said = chunks_of(tx, collection_id, ids)
    texts = tx.execute(select(chunks.c.embed_key, chunks.c.text_hash).where(said)).all()
    tx.execute(delete(chunks).where(said))
    for table in (operation_items, work):
        tx.execute(delete(table).where(table.c.document_id.in_(ids)))
    tx.execute(delete(documents).where(documents.c.id.in_(ids)))
    hashes = {row.text_hash for row in texts} | {row.text_hash for row in own if row.text_hash}
    forgetting.forget_unused(tx, {row.embed_key for row in texts}, hashes)
    return Dropped(raw=tuple(raw), parsed=tuple(sorted({row.parse_key for row in own if row.parse_key})))


def chunks_of(tx: Transaction, collection_id: int, document_ids: Sequence[int]) -> ColumnElement[bool]:
    """Condition: chunk rows of these documents of the collection, in all generations.

    It names the generations, since the index of chunk rows begins with the generation.
    """
    own = select(generations.c.id).where(generations.c.collection_id == collection_id).order_by(generations.c.id)
    each = list(tx.execute(own).scalars())
    return and_(chunks.c.generation_id.in_(each), chunks.c.document_id.in_(document_ids))


def indexes(tx: Transaction, collection_id: int) -> list[str]:
    """The index names of all generations of the collection."""
    query = select(generations.c.index_name).where(generations.c.collection_id == collection_id)
    return list(tx.execute(query.order_by(generations.c.id)).scalars())


def drop_collection(tx: Transaction, collection_id: int) -> bool:
    """Remove what is left of a collection without documents and indexes; returns whether another step is needed."""
    own = select(operations.c.id).where(operations.c.collection_id == collection_id)
    items = operation_items.c
    some = select(items.operation_id, items.document_id).where(items.operation_id.in_(own)).limit(ITEMS)
    rows = tx.execute(some).all()
    for operation_id in sorted({row.operation_id for row in rows}):
        listed = [row.document_id for row in rows if row.operation_id == operation_id]
        for start in range(0, len(listed), content.KEYS):
            part = items.document_id.in_(listed[start : start + content.KEYS])
            tx.execute(delete(operation_items).where(items.operation_id == operation_id, part))
    own_generations = select(generations.c.id).where(generations.c.collection_id == collection_id)
    if rows or any(words.forget(tx, one) for one in tx.execute(own_generations).scalars().all()):
        return True
    tx.execute(delete(operation_sources).where(operation_sources.c.operation_id.in_(own)))
    api_keys.release(tx, collection_id)
    for table in (operations, sources, generations):
        tx.execute(delete(table).where(table.c.collection_id == collection_id))
    tx.execute(delete(collections).where(collections.c.id == collection_id))
    return False
