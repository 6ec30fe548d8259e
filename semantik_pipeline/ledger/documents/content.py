"""Chunk rows of units, and the stored results of extractors and embedding models, so that nothing is computed twice.

Rows are inserted in the order of their keys: unsorted inserts of several writers deadlock on PostgreSQL.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, and_, bindparam, delete, exists, func, select

from semantik_pipeline.ledger.database.bulk import among, insert_rows, slices
from semantik_pipeline.ledger.database.connection import Transaction
from semantik_pipeline.ledger.queue.work import Unit
from semantik_pipeline.ledger.tables import chunks, embeddings, extractions, work

#: Keys in one statement. SQLite allows 32,766 parameters.
KEYS = 500


@dataclass(frozen=True, kw_only=True)
class ChunkRow:
    """A chunk as the ledger stores it. ``embed_key``: key of the embedding of its model input, ``lead + text``."""

    ordinal: int
    lead: str
    text: str
    text_hash: str
    start: int
    end: int
    token_count: int
    metadata: dict[str, Any]
    point_id: str
    embed_key: str
    signature: str


#: Columns (ordinal, embed_key, model input) of a chunk.
_MODEL_INPUT = (chunks.c.ordinal, chunks.c.embed_key, chunks.c.lead.concat(chunks.c.text))

_EMBEDDED = select(embeddings.c.key).where(among(embeddings.c.key, "keys"))
_VECTORS = select(embeddings.c.key, embeddings.c.vector).where(among(embeddings.c.key, "keys"))

_ROWS = (
    select(chunks.c.document_id, func.count())
    .where(chunks.c.generation_id == bindparam("generation"), among(chunks.c.document_id, "documents"))
    .group_by(chunks.c.document_id)
)

_CHUNK = [chunks.c[name] for name in ChunkRow.__dataclass_fields__]


def write_chunks(tx: Transaction, written: Iterable[tuple[Unit, Sequence[ChunkRow]]]) -> None:
    """Insert chunk rows, with the epoch of their unit."""
    rows = [
        {"generation_id": unit.generation_id, "document_id": unit.document_id, "epoch": unit.epoch, **vars(row)}
        for unit, own in written
        for row in own
    ]
    insert_rows(tx, chunks, rows)


def drop_chunks(tx: Transaction, dropped: Iterable[tuple[Unit, Collection[int | None]]]) -> None:
    """Delete all chunk rows of these units except those with the epochs to keep (None among them is ignored)."""
    alike: dict[tuple[int, tuple[int, ...]], list[int]] = {}
    for unit, keep in dropped:
        kept = tuple(sorted({epoch for epoch in keep if epoch is not None}))
        alike.setdefault((unit.generation_id, kept), []).append(unit.document_id)
    for (generation_id, kept), document_ids in sorted(alike.items()):
        which = and_(chunks.c.generation_id == generation_id, among(chunks.c.document_id, sorted(document_ids)))
        tx.execute(delete(chunks).where(and_(which, chunks.c.epoch.not_in(kept)) if kept else which))


def chunk_rows(tx: Transaction, unit: Unit, epoch: int, *, start: int = 0, limit: int | None = None) -> list[ChunkRow]:
    """Return up to ``limit`` of the unit's chunks with this epoch, from ordinal ``start`` on, in order."""
    mine = and_(
        chunks.c.generation_id == unit.generation_id,
        chunks.c.document_id == unit.document_id,
        chunks.c.epoch == epoch,
        chunks.c.ordinal >= start,
    )
    query = select(*_CHUNK).where(mine).order_by(chunks.c.ordinal)
    return [ChunkRow(**row) for row in tx.execute(query.limit(limit) if limit else query).mappings()]


def count_rows(tx: Transaction, units: Sequence[Unit]) -> dict[tuple[int, int], int]:
    """Return unit key -> number of chunk rows, of all epochs. Units must be of one generation; those without chunk rows
    are left out."""
    mine = {"generation": units[0].generation_id, "documents": [unit.document_id for unit in units]}
    return {(document_id, mine["generation"]): rows for document_id, rows in tx.execute(_ROWS, mine)}


def chunk_rows_of(tx: Transaction, units: Sequence[Unit]) -> dict[tuple[int, int], list[ChunkRow]]:
    """Return unit key -> all its current chunks, in order. Units must be of one generation."""
    found: dict[tuple[int, int], list[ChunkRow]] = {unit.key: [] for unit in units}
    for key, row in _rows_of(tx, units, _CHUNK):
        found[key].append(ChunkRow(**dict(zip(ChunkRow.__dataclass_fields__, row, strict=True))))
    return found


@dataclass(frozen=True, kw_only=True)
class Twin:
    """The chunks that another generation made of a document, with the parsed text that they came from."""

    generation_id: int
    revision: int
    parse_key: str
    text_hash: str | None
    chunks_epoch: int
    chunks: int


def twins(tx: Transaction, document_ids: Sequence[int], generation_ids: Sequence[int]) -> dict[int, list[Twin]]:
    """Return document id -> its twins in these generations. Generations without chunks of the document are left out."""
    query = select(work.c.document_id, *(work.c[name] for name in Twin.__dataclass_fields__)).where(
        work.c.document_id.in_(sorted(document_ids)),
        work.c.generation_id.in_(generation_ids),
        work.c.chunks_epoch == work.c.epoch,
        work.c.parse_key.is_not(None),
        work.c.stage != "chunk",
        work.c.goal == "indexed",
    )
    found: dict[int, list[Twin]] = {}
    for document_id, *values in tx.execute(query):
        twin = Twin(**dict(zip(Twin.__dataclass_fields__, values, strict=True)))
        found.setdefault(document_id, []).append(twin)
    return found


def unembedded_of(tx: Transaction, units: Sequence[Unit]) -> dict[tuple[int, int], list[tuple[int, str, str]]]:
    """Return unit key -> what :func:`unembedded` returns, without a limit. Units must be of one generation."""
    rows = list(_rows_of(tx, units, _MODEL_INPUT))
    there: set[str] = set()
    for part in slices(sorted({row[1] for _, row in rows}), KEYS):
        there.update(tx.execute(_EMBEDDED, {"keys": part}).scalars())
    found: dict[tuple[int, int], list[tuple[int, str, str]]] = {unit.key: [] for unit in units}
    for key, (ordinal, embed_key, text) in rows:
        if embed_key not in there:
            found[key].append((ordinal, embed_key, text))
    return found


def _rows_of(
    tx: Transaction, units: Sequence[Unit], columns: Sequence[Any]
) -> Iterable[tuple[tuple[int, int], tuple[Any, ...]]]:
    """Yield (unit key, values of these columns) of the units' current chunks, in order. One generation only."""
    epochs = {unit.document_id: unit.chunks_epoch for unit in units}
    asked = {
        "generation": units[0].generation_id,
        "documents": sorted(epochs),
        "epochs": sorted({epoch for epoch in epochs.values() if epoch is not None}),
    }
    for document_id, epoch, *row in tx.execute(_rows_with(tuple(columns)), asked).all():
        if epochs[document_id] == epoch:
            yield (document_id, units[0].generation_id), tuple(row)


@functools.lru_cache(16)
def _rows_with(columns: tuple[Any, ...]) -> Select:
    """Build the query of :func:`_rows_of`. Cached, because building it takes as long as reading some rows."""
    mine = (
        chunks.c.generation_id == bindparam("generation"),
        among(chunks.c.document_id, "documents"),
        among(chunks.c.epoch, "epochs"),
    )
    query = select(chunks.c.document_id, chunks.c.epoch, *columns)
    return query.where(*mine).order_by(chunks.c.document_id, chunks.c.ordinal)


def unembedded(tx: Transaction, unit: Unit, *, after: int = -1, limit: int) -> list[tuple[int, str, str]]:
    """Return ``(ordinal, embed_key, model input)`` of up to ``limit`` chunks without a stored embedding, in order, with
    ordinals above ``after``."""
    there = exists().where(embeddings.c.key == chunks.c.embed_key)
    mine = and_(
        chunks.c.generation_id == unit.generation_id,
        chunks.c.document_id == unit.document_id,
        chunks.c.epoch == unit.chunks_epoch,
        chunks.c.ordinal > after,
        ~there,
    )
    query = select(*_MODEL_INPUT)
    return [tuple(row) for row in tx.execute(query.where(mine).order_by(chunks.c.ordinal).limit(limit))]


def unextracted(
    tx: Transaction, unit: Unit, fingerprint: str, *, after: int = -1, limit: int
) -> list[tuple[int, str, str]]:
    """Return ``(ordinal, text_hash, text)`` of up to ``limit`` chunks without a stored result of this extractor, in
    order, with ordinals above ``after``."""
    there = exists().where(extractions.c.text_hash == chunks.c.text_hash, extractions.c.fingerprint == fingerprint)
    mine = and_(
        chunks.c.generation_id == unit.generation_id,
        chunks.c.document_id == unit.document_id,
        chunks.c.epoch == unit.chunks_epoch,
        chunks.c.ordinal > after,
        ~there,
    )
    query = select(chunks.c.ordinal, chunks.c.text_hash, chunks.c.text).where(mine).order_by(chunks.c.ordinal)
    return [tuple(row) for row in tx.execute(query.limit(limit))]


def unextracted_of(
    tx: Transaction, units: Sequence[Unit], fingerprint: str
) -> dict[tuple[int, int], list[tuple[int, str, str]]]:
    """Return unit key -> what :func:`unextracted` returns, without a limit. Units must be of one generation."""
    found: dict[tuple[int, int], list[tuple[int, str, str]]] = {unit.key: [] for unit in units}
    rows = list(_rows_of(tx, units, [chunks.c.ordinal, chunks.c.text_hash, chunks.c.text])) if units else []
    there = extracted(tx, sorted({text_hash for _, (_, text_hash, _) in rows}), fingerprint)
    for key, (ordinal, text_hash, text) in rows:
        if text_hash not in there:
            found[key].append((ordinal, text_hash, text))
    return found


def extracted(tx: Transaction, hashes: Sequence[str], fingerprint: str) -> set[str]:
    """Return those of the text hashes that have a stored result of this extractor."""
    there: set[str] = set()
    for part in slices(hashes, KEYS):
        seen = and_(extractions.c.fingerprint == fingerprint, among(extractions.c.text_hash, part))
        there.update(tx.execute(select(extractions.c.text_hash).where(seen)).scalars())
    return there


def save_embeddings(tx: Transaction, vectors: dict[str, bytes]) -> None:
    """Store vectors (key -> float32 bytes). Existing ones are not changed."""
    rows = [{"key": key, "vector": vectors[key]} for key in sorted(vectors)]
    insert_rows(tx, embeddings, rows, unless=["key"], stamped=["created_at"])


def load_embeddings(tx: Transaction, keys: Iterable[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for part in slices(sorted(set(keys)), KEYS):
        found.update(tx.execute(_VECTORS, {"keys": part}).all())
    return found


def save_extractions(tx: Transaction, results: dict[tuple[str, str], Any]) -> None:
    """Store extraction results ((text hash, fingerprint) -> result). Existing ones are not changed."""
    rows = [
        {"text_hash": text_hash, "fingerprint": fingerprint, "result": results[text_hash, fingerprint]}
        for text_hash, fingerprint in sorted(results)
    ]
    insert_rows(tx, extractions, rows, unless=["text_hash", "fingerprint"], stamped=["created_at"])


def signatures(tx: Transaction, unit: Unit, epoch: int, point_ids: Sequence[str]) -> dict[str, str]:
    """Return point id -> signature, of the unit's chunk rows with this epoch. Unknown points are left out."""
    found: dict[str, str] = {}
    mine = and_(
        chunks.c.generation_id == unit.generation_id,
        chunks.c.document_id == unit.document_id,
        chunks.c.epoch == epoch,
    )
    for part in slices(point_ids, KEYS):
        query = select(chunks.c.point_id, chunks.c.signature).where(mine, among(chunks.c.point_id, part))
        found.update(tuple(row) for row in tx.execute(query))
    return found


def load_extractions(tx: Transaction, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Any]:
    """Return (text hash, fingerprint) -> stored result. Missing ones are left out."""
    by_fingerprint: dict[str, list[str]] = {}
    for text_hash, fingerprint in sorted(set(keys)):
        by_fingerprint.setdefault(fingerprint, []).append(text_hash)
    found: dict[tuple[str, str], Any] = {}
    for fingerprint, hashes in by_fingerprint.items():
        for part in slices(hashes, KEYS):
            which = and_(extractions.c.fingerprint == fingerprint, among(extractions.c.text_hash, part))
            for text_hash, result in tx.execute(select(extractions.c.text_hash, extractions.c.result).where(which)):
                found[text_hash, fingerprint] = result
    return found
