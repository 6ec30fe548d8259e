"""Ledger queries of exports (reading a collection) and imports (writing one). All values are JSON values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import and_, insert, select, update

from semantik_pipeline.ledger.access import api_keys
from semantik_pipeline.ledger.database.bulk import insert_rows
from semantik_pipeline.ledger.database.connection import Transaction, now
from semantik_pipeline.ledger.documents import content
from semantik_pipeline.ledger.operations.lifecycle import note_items
from semantik_pipeline.ledger.queue import fair_queue
from semantik_pipeline.ledger.queue.work import ASKED
from semantik_pipeline.ledger.tables import (
    chunks,
    collections,
    documents,
    generations,
    operation_sources,
    sources,
    work,
)

#: Exported columns of a document, of its unit, of a chunk and of a source.
DOCUMENT = (
    "unique_id",
    "content_hash",
    "change_hint",
    "source_type",
    "media_type",
    "file_path",
    "title",
    "size",
    "metadata",
    "principals",
)
UNIT = ("stage", "goal", "reason", "error", "notes", "parse_key", "text_hash", "extracted", "chunks")
CHUNK = (
    "ordinal",
    "lead",
    "text",
    "text_hash",
    "start",
    "end",
    "token_count",
    "metadata",
    "embed_key",
    "signature",
)
SOURCE = ("connector", "name", "config", "schedule", "weight", "principals")

#: Seconds without :func:`sign_of_life` after which an import counts as dead.
SILENCE = 60.0


# -- export -----------------------------------------------------------------------------------------------------------


def sources_of(tx: Transaction, collection_id: int) -> list[dict[str, Any]]:
    """Return the sources that are not being removed: ``id`` and the columns SOURCE of each."""
    mine = and_(sources.c.collection_id == collection_id, sources.c.removed_at.is_(None))
    query = select(sources.c.id, *(sources.c[name] for name in SOURCE)).where(mine).order_by(sources.c.id)
    return [dict(row) for row in tx.execute(query).mappings()]


def page(tx: Transaction, collection_id: int, generation_id: int, *, after: int, limit: int) -> list[dict[str, Any]]:
    """Return the next ``limit`` live documents after the id ``after``.

    Each has ``id``, ``source_id``, ``epoch`` (of the chunk rows behind its points), ``document`` and ``unit``.
    """
    columns = [documents.c[name].label(f"d_{name}") for name in DOCUMENT]
    columns += [work.c[name].label(f"u_{name}") for name in UNIT]
    live = and_(documents.c.collection_id == collection_id, documents.c.deleted_at.is_(None), documents.c.id > after)
    query = (
        select(documents.c.id, documents.c.source_id, work.c.indexed_chunks_epoch.label("epoch"), *columns)
        .join(work, and_(work.c.document_id == documents.c.id, work.c.generation_id == generation_id))
        .join(sources, and_(sources.c.id == documents.c.source_id, sources.c.removed_at.is_(None)))
        .where(live)
        .order_by(documents.c.id)
        .limit(limit)
    )
    return [
        {
            **{name: row[name] for name in ("id", "source_id", "epoch")},
            "document": {name: row[f"d_{name}"] for name in DOCUMENT},
            "unit": {name: row[f"u_{name}"] for name in UNIT},
        }
        for row in tx.execute(query).mappings()
    ]


def is_whole(tx: Transaction, collection_id: int, generation_id: int, index: str) -> bool:
    """Whether the pages read so far are complete: nobody has begun to remove the generation's rows.

    ``index`` identifies the generation, because its id may be reused.
    """
    mine = and_(generations.c.id == generation_id, generations.c.index_name == index, generations.c.state != "retired")
    there = and_(collections.c.id == collection_id, collections.c.trashed_at.is_(None))
    query = select(generations.c.id).join(collections, generations.c.collection_id == collections.c.id)
    return tx.execute(query.where(mine, there)).first() is not None


def chunk_pages(
    ledger: Any, generation_id: int, epochs: Mapping[int, int], *, limit: int
) -> Iterator[list[tuple[int, dict[str, Any]]]]:
    """Yield pages of up to ``limit`` pairs ``(document id, chunk)``, ordered by document id and ordinal.

    ``epochs``: document id -> epoch of the chunk rows to read. Each page is read in a transaction of its own.
    """
    at = (0, -1)
    which = and_(
        chunks.c.generation_id == generation_id,
        chunks.c.document_id.in_(sorted(epochs)),
        chunks.c.epoch.in_(sorted(set(epochs.values()))),
    )
    columns = (chunks.c.document_id, chunks.c.epoch, *(chunks.c[name] for name in CHUNK))
    while True:
        document_id, ordinal = at
        behind = (chunks.c.document_id > document_id) | (
            (chunks.c.document_id == document_id) & (chunks.c.ordinal > ordinal)
        )
        query = select(*columns).where(which, behind).order_by(chunks.c.document_id, chunks.c.ordinal, chunks.c.epoch)
        with ledger.read() as tx:
            rows = tx.execute(query.limit(limit)).mappings().all()
        if not rows:
            return
        if len(rows) == limit:  # the next page may have a row of the last ordinal, with another epoch
            last = (rows[-1]["document_id"], rows[-1]["ordinal"])
            whole = [row for row in rows if (row["document_id"], row["ordinal"]) != last]
            rows = whole or rows
        at = (rows[-1]["document_id"], rows[-1]["ordinal"])
        mine = [row for row in rows if epochs[row["document_id"]] == row["epoch"]]
        if mine:
            yield [(row["document_id"], {name: row[name] for name in CHUNK}) for row in mine]


# -- import -----------------------------------------------------------------------------------------------------------


def sign_of_life(tx: Transaction, collection_id: int) -> bool:
    """Record that the import is alive. Returns False if the collection was purged meanwhile: the import must end."""
    mine = and_(collections.c.id == collection_id, collections.c.importing_at.is_not(None))
    return tx.execute(update(collections).where(mine).values(importing_at=now())).rowcount == 1


def silence(tx: Transaction, collection_id: int) -> float | None:
    """Return the seconds since the last :func:`sign_of_life`, or None if the collection is not being imported."""
    query = select(now() - collections.c.importing_at).where(collections.c.id == collection_id)
    return tx.execute(query).scalar_one_or_none()


def reveal(tx: Transaction, collection_id: int, operation_id: int) -> bool:
    """End a complete import: the collection becomes visible, and API keys that store its name now open it.

    Returns False if the collection was purged meanwhile.
    """
    mine = and_(collections.c.id == collection_id, collections.c.importing_at.is_not(None))
    values = {"trashed_at": None, "importing_at": None}
    shown = update(collections).where(mine).values(**values).returning(collections.c.name)
    name = tx.execute(shown).scalar_one_or_none()
    if name is None:
        return False
    tx.execute(update(generations).where(generations.c.collection_id == collection_id).values(activated_at=now()))
    api_keys.bind(tx, collection_id, name)
    done = and_(operation_sources.c.operation_id == operation_id, operation_sources.c.state == "running")
    tx.execute(update(operation_sources).where(done).values(state="finished"))
    return True


def write_source(
    tx: Transaction, collection_id: int, operation_id: int, source: Mapping[str, Any], *, paused: str
) -> int:
    """Create an imported source, paused for the reason ``paused``, as a part of the operation. Returns its id."""
    values = {name: source[name] for name in SOURCE}
    row = insert(sources).values(collection_id=collection_id, **values, paused=paused, run=1, created_at=now())
    source_id = tx.execute(row.returning(sources.c.id)).scalar_one()
    asked = {"operation_id": operation_id, "source_id": source_id, "run": 1, "state": "running"}
    tx.execute(insert(operation_sources).values(**asked))
    return source_id


def write_documents(
    tx: Transaction,
    rows: Sequence[tuple[int, Mapping[str, Any], Mapping[str, Any]]],
    *,
    collection_id: int,
    generation_id: int,
    operation_id: int,
) -> list[int]:
    """Create documents and their units from ``(source id, document, unit)``. Returns the documents' ids in this order.

    ``document`` has the columns DOCUMENT, ``unit`` the columns UNIT. Chunk rows, if there are any, have epoch 1.
    """
    shared = {"collection_id": collection_id, "revision": 1, "seen_run": 1}
    new = [{"source_id": source_id, **document, **shared} for source_id, document, _ in rows]
    names = ("source_id", "unique_id", "id")
    made = insert_rows(tx, documents, new, stamped=("created_at", "changed_at"), returning=names)
    by_name = {(source_id, unique_id): document_id for source_id, unique_id, document_id in made}
    ids = [by_name[source_id, document["unique_id"]] for source_id, document, _ in rows]
    owners = sorted({source_id for source_id, _, _ in rows})
    places = {one: iter(fair_queue.take(tx, one, sum(row[0] == one for row in rows))) for one in owners}
    units = [
        {
            "document_id": document_id,
            "generation_id": generation_id,
            "source_id": source_id,
            "revision": 1,
            "epoch": 1,
            "lane": ASKED,
            "turn": next(places[source_id]),
            "chunks_epoch": 1 if unit["chunks"] else None,
            **unit,
        }
        for document_id, (source_id, _, unit) in zip(ids, rows, strict=True)
    ]
    insert_rows(tx, work, sorted(units, key=lambda unit: unit["document_id"]), stamped=["updated_at"])
    note_items(tx, operation_id, [(document_id, "new", 1) for document_id in ids])
    return ids


def write_chunks(tx: Transaction, generation_id: int, rows: Sequence[tuple[int, Mapping[str, Any]]]) -> None:
    """Write the chunk rows, with epoch 1, from ``(document id, chunk)``; a chunk has CHUNK and ``point_id``."""
    new = [
        {"generation_id": generation_id, "document_id": document_id, "epoch": 1, **chunk} for document_id, chunk in rows
    ]
    insert_rows(tx, chunks, new)


def queue(tx: Transaction, generation_id: int, stages: Mapping[int, str]) -> None:
    """Send imported documents to stages (document id -> stage), once all their rows are written.

    A document sent to ``chunk`` drops its imported chunks: they are made anew.
    """
    for stage in sorted(set(stages.values())):
        ids = sorted(document_id for document_id, its in stages.items() if its == stage)
        values: dict[str, Any] = {"stage": stage, "held_by": None}
        if stage == "chunk":
            values |= {"chunks": 0, "chunks_epoch": None}
        for start in range(0, len(ids), content.KEYS):
            part = work.c.document_id.in_(ids[start : start + content.KEYS])
            tx.execute(update(work).where(part, work.c.generation_id == generation_id).values(**values))
