"""Turn chunks into chunk rows, with the ids and keys that make every later stage repeatable."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from semantik_pipeline.documents import Chunk, short_hash
from semantik_pipeline.ledger.catalog.collections import Generation
from semantik_pipeline.ledger.documents.content import ChunkRow
from semantik_pipeline.ledger.queue.work import Unit
from semantik_pipeline.stages.parsing import Chunked


def chunk_rows(generation: Generation, unit: Unit, chunked: Chunked) -> list[ChunkRow]:
    """Return one row for each chunk.

    A point's id derives from (collection, source, document, text, occurrence), so an unchanged chunk keeps its point.
    The signature shows whether anything else in the point's payload changed.
    """
    fingerprints = generation.fingerprints
    shared = _shared(generation, unit, title_of(unit.metadata, chunked.title))
    owner = (unit.collection_id, unit.source_id, unit.unique_id)
    seen: dict[str, int] = {}
    rows = []
    for chunk, lead in zip(chunked.chunks, chunked.leads, strict=True):
        text_hash = short_hash(chunk.text)
        occurrence = seen[text_hash] = seen.get(text_hash, -1) + 1
        embed_key = short_hash(fingerprints["embed"], lead + chunk.text)
        rows.append(
            ChunkRow(
                ordinal=chunk.ordinal,
                lead=lead,
                text=chunk.text,
                text_hash=text_hash,
                start=chunk.start,
                end=chunk.end,
                token_count=chunk.token_count,
                metadata=chunk.metadata,
                point_id=point_id(*owner, text_hash, occurrence),
                embed_key=embed_key,
                signature=_signature(shared, chunk, embed_key),
            )
        )
    return rows


def signed_anew(generation: Generation, unit: Unit, rows: list[ChunkRow]) -> list[ChunkRow]:
    """Return another generation's rows with this generation's embed keys and signatures.

    Both generations must chunk alike.
    """
    shared = _shared(generation, unit, unit.title)
    made = []
    for row in rows:
        embed_key = short_hash(generation.fingerprints["embed"], row.lead + row.text)
        made.append(replace(row, embed_key=embed_key, signature=_signature(shared, row, embed_key)))
    return made


def point_id(collection_id: int, source_id: int, unique_id: str, text_hash: str, occurrence: int) -> str:
    """Return the id of the point for this occurrence (0, 1, ...) of a text in a document."""
    return str(uuid.UUID(short_hash(str(collection_id), str(source_id), unique_id, text_hash, str(occurrence))))


def _shared(generation: Generation, unit: Unit, title: str | None) -> str:
    """Return the hash of what all chunks of a document share apart from their text."""
    about = [unit.metadata, title, unit.file_path, unit.media_type, generation.fingerprints["extract"]]
    if unit.principals is not None:  # documents open to everybody keep the signature from before principals existed
        about.append(unit.principals)
    return short_hash(json.dumps(about, sort_keys=True))


def _signature(shared: str, chunk: Chunk | ChunkRow, embed_key: str) -> str:
    place = json.dumps([chunk.start, chunk.end, chunk.ordinal, chunk.metadata], sort_keys=True)
    return short_hash(shared, place, embed_key)


def title_of(metadata: Mapping[str, Any], found: str | None = None) -> str | None:
    """Return the title that the parser ``found``, else the connector's title, else the file's name."""
    known = (title for title in (metadata.get("title"), metadata.get("file_name")) if isinstance(title, str))
    return found or next(filter(None, known), None)
