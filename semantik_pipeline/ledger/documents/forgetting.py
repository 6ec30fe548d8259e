"""Deleting the content of removed documents, and sweeping stored results that nothing refers to any more.

Embeddings and extractions are keyed by their input, so several documents may share one. Shared ones are kept.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import ColumnElement, Table, and_, delete, exists, or_, select

from semantik_pipeline.ledger.database.bulk import among, slices
from semantik_pipeline.ledger.database.connection import Transaction, now
from semantik_pipeline.ledger.documents.content import KEYS, drop_chunks
from semantik_pipeline.ledger.queue.keys import by_generation
from semantik_pipeline.ledger.queue.work import Unit
from semantik_pipeline.ledger.tables import chunks, documents, embeddings, extractions, work


def forget_documents(tx: Transaction, units: Sequence[Unit]) -> None:
    """Delete the texts and vectors of deleted documents, except those that other documents share."""
    _forget(tx, units, work.c.document_id.in_(sorted({unit.document_id for unit in units})))


def forget_units(tx: Transaction, units: Sequence[Unit]) -> None:
    """Delete the texts and vectors of these units of one generation. The documents stay in other generations."""
    mine = work.c.generation_id == units[0].generation_id
    _forget(tx, units, and_(mine, work.c.document_id.in_(sorted({unit.document_id for unit in units}))))


def _forget(tx: Transaction, units: Sequence[Unit], gone: ColumnElement[bool]) -> None:
    embed_keys: set[str] = set()
    hashes = {unit.text_hash for unit in units if unit.text_hash}
    for generation_id, of_it in by_generation(units):
        document_ids = [unit.document_id for unit in of_it]
        mine = and_(chunks.c.generation_id == generation_id, among(chunks.c.document_id, document_ids))
        for row in tx.execute(select(chunks.c.embed_key, chunks.c.text_hash).where(mine)):
            embed_keys.add(row.embed_key)
            hashes.add(row.text_hash)
    drop_chunks(tx, [(unit, ()) for unit in units])
    forget_unused(tx, embed_keys, hashes, but=gone)


def forget_unused(
    tx: Transaction, embed_keys: Collection[str], hashes: Collection[str], *, but: ColumnElement[bool] | None = None
) -> None:
    """Delete those of these embeddings and extractions that nothing refers to.

    ``but``: condition on units whose references don't count.
    """
    for part in slices(sorted(embed_keys), KEYS):
        tx.execute(delete(embeddings).where(among(embeddings.c.key, part), _EMBEDDING_UNUSED))
    for part in slices(sorted(hashes), KEYS):
        tx.execute(delete(extractions).where(among(extractions.c.text_hash, part), extraction_unused(but=but)))


_EMBEDDING_UNUSED = ~exists().where(chunks.c.embed_key == embeddings.c.key)


def extraction_unused(*, but: ColumnElement[bool] | None = None) -> ColumnElement[bool]:
    """Condition: no chunk has the extraction's text, and no unit has it, ignoring the units ``but``.

    Written as two NOT EXISTS, so that each can use an index.
    """
    by_unit = exists().where(work.c.text_hash == extractions.c.text_hash, *([] if but is None else [~but]))
    return and_(~exists().where(chunks.c.text_hash == extractions.c.text_hash), ~by_unit)


#: Rows that one transaction of a sweep reads.
SWEPT = 2000


def sweep_embeddings(tx: Transaction, *, older_than: float, after: int = 0) -> int | None:
    """Delete unreferenced embeddings older than ``older_than`` seconds among the next SWEPT rows after id ``after``.

    Returns the id after which to continue, or None at the end.
    """
    return _sweep(tx, embeddings, _EMBEDDING_UNUSED, older_than, after)


def sweep_extractions(tx: Transaction, *, older_than: float, after: int = 0) -> int | None:
    """Like :func:`sweep_embeddings`, for extractions."""
    return _sweep(tx, extractions, extraction_unused(), older_than, after)


def _sweep(tx: Transaction, table: Table, unused: ColumnElement[bool], older_than: float, after: int) -> int | None:
    behind = select(table.c.id).where(table.c.id > after).order_by(table.c.id)
    last = tx.execute(behind.offset(SWEPT - 1).limit(1)).scalar_one_or_none()
    part = table.c.id > after if last is None else table.c.id.between(after + 1, last)
    tx.execute(delete(table).where(part, table.c.created_at < now() - older_than, unused))
    return last


def unused_bodies(tx: Transaction, kind: str, keys: Collection[str]) -> list[str]:
    """Return those of the ``raw`` or ``parsed`` bodies (``kind``) that no live or trashed document refers to."""
    column = documents.c.content_hash if kind == "raw" else work.c.parse_key
    in_trash = exists().where(documents.c.id == work.c.document_id, documents.c.trashed_at.is_not(None))
    live = or_(
        *(
            (documents.c.deleted_at.is_(None), documents.c.trashed_at.is_not(None))
            if kind == "raw"
            else (work.c.stage != "deleted", in_trash)
        )
    )
    used: set[str] = set()
    for part in slices(sorted(keys), KEYS):
        used.update(tx.execute(select(column).where(among(column, part), live)).scalars())
    return sorted(set(keys) - used)
