"""Estimating a build: how much there is to process, and how much of it is already computed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, func, select

from semantik_pipeline.ledger.database.connection import Transaction
from semantik_pipeline.ledger.documents.content import KEYS
from semantik_pipeline.ledger.tables import chunks, documents, embeddings, extractions, operations, work

#: Rows in one page.
PAGE = 2000

#: Chunks that an operation must have embedded for its rate to count in :func:`embedding_rate`.
ENOUGH = 50


@dataclass(frozen=True, kw_only=True)
class Size:
    """The size of a generation as search sees it. ``characters``: average length of a chunk's text."""

    documents: int
    chunks: int
    characters: float


def size(tx: Transaction, collection_id: int, generation_id: int) -> Size:
    """Return the number of live documents in the collection, and the generation's chunks that search can find."""
    live = and_(documents.c.collection_id == collection_id, documents.c.deleted_at.is_(None))
    count = tx.execute(select(func.count()).select_from(documents).where(live)).scalar_one()
    text = func.length(chunks.c.text)
    about = select(func.count(), func.coalesce(func.avg(text), 0)).select_from(work.join(chunks, _shown(generation_id)))
    total, characters = tx.execute(about).one()
    return Size(documents=count, chunks=total, characters=float(characters))


def _shown(generation_id: int) -> Any:
    return and_(
        work.c.generation_id == generation_id,
        work.c.goal == "indexed",
        chunks.c.generation_id == generation_id,
        chunks.c.document_id == work.c.document_id,
        chunks.c.epoch == work.c.indexed_chunks_epoch,
    )


def kinds_of_files(tx: Transaction, collection_id: int) -> Iterator[tuple[str | None, str | None]]:
    """Yield ``(media type, path)`` of each live document with a body. Reads page by page."""
    after = 0
    columns = (documents.c.id, documents.c.media_type, documents.c.file_path)
    while True:
        live = and_(
            documents.c.collection_id == collection_id,
            documents.c.deleted_at.is_(None),
            documents.c.content_hash.is_not(None),
            documents.c.id > after,
        )
        rows = tx.execute(select(*columns).where(live).order_by(documents.c.id).limit(PAGE)).all()
        if not rows:
            return
        for row in rows:
            yield row.media_type, row.file_path
        after = rows[-1].id


def unembedded(tx: Transaction, generation_id: int) -> int:
    """Return the number of distinct model inputs of the generation's chunks that have no stored embedding."""
    there = select(embeddings.c.id).where(embeddings.c.key == chunks.c.embed_key).exists()
    keys = select(func.count(chunks.c.embed_key.distinct())).select_from(work.join(chunks, _shown(generation_id)))
    return tx.execute(keys.where(~there)).scalar_one()


def distinct_inputs(tx: Transaction, generation_id: int) -> int:
    """Return the number of distinct model inputs of the generation's chunks."""
    keys = select(func.count(chunks.c.embed_key.distinct())).select_from(work.join(chunks, _shown(generation_id)))
    return tx.execute(keys).scalar_one()


def inputs(tx: Transaction, generation_id: int) -> Iterator[list[str]]:
    """Yield the model inputs of the generation's chunks, page by page. Inputs that chunks share are repeated."""
    after = 0
    columns = (chunks.c.id, chunks.c.lead.concat(chunks.c.text))
    while True:
        page = select(*columns).select_from(work.join(chunks, _shown(generation_id))).where(chunks.c.id > after)
        rows = tx.execute(page.order_by(chunks.c.id).limit(PAGE)).all()
        if not rows:
            return
        yield [text for _, text in rows]
        after = rows[-1][0]


def unextracted(tx: Transaction, generation_id: int, fingerprint: str) -> int:
    """Return the number of distinct texts of the generation's chunks without a stored result for this fingerprint."""
    seen = and_(extractions.c.text_hash == chunks.c.text_hash, extractions.c.fingerprint == fingerprint)
    there = select(extractions.c.id).where(seen).exists()
    texts = select(func.count(chunks.c.text_hash.distinct())).select_from(work.join(chunks, _shown(generation_id)))
    return tx.execute(texts.where(~there)).scalar_one()


def known_keys(tx: Transaction, keys: Sequence[str]) -> int:
    """Return how many of these embedding keys are stored."""
    found = 0
    for start in range(0, len(keys), KEYS):
        part = select(func.count()).select_from(embeddings).where(embeddings.c.key.in_(keys[start : start + KEYS]))
        found += tx.execute(part).scalar_one()
    return found


def sample(tx: Transaction, collection_id: int, generation_id: int, count: int) -> list[dict[str, Any]]:
    """Return ``count`` random documents that search finds in the generation, with the values the chunk stage needs."""
    columns = (
        documents.c.id,
        documents.c.content_hash,
        documents.c.media_type,
        documents.c.file_path,
        documents.c.metadata.label("metadata_"),
        documents.c.size,
        work.c.chunks,
    )
    shown = and_(work.c.generation_id == generation_id, work.c.goal == "indexed", work.c.indexed_epoch.is_not(None))
    query = (
        select(*columns)
        .join(work, and_(work.c.document_id == documents.c.id, shown))
        .where(documents.c.collection_id == collection_id, documents.c.deleted_at.is_(None))
    )
    some = tx.execute(query.order_by(func.random()).limit(count)).mappings()
    return [{**row, "metadata": row["metadata_"]} for row in some]


def embedding_rate(tx: Transaction, collection_id: int) -> float | None:
    """Return the highest rate, in chunks per second, of the last five operations that embedded ENOUGH chunks.

    Looks at the collection's last 50 finished operations. None: there was no such operation.
    """
    ended = and_(operations.c.collection_id == collection_id, operations.c.state == "finished")
    query = select(operations.c.result).where(ended).order_by(operations.c.id.desc()).limit(50)
    results = [result or {} for result in tx.execute(query).scalars()]
    told = [(result.get("chunks", {}).get("embedded", 0), result.get("seconds") or 0) for result in results]
    rates = [embedded / seconds for embedded, seconds in told if embedded >= ENOUGH and seconds > 0]
    return max(rates[:5]) if rates else None
