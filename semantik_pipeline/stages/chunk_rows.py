"""From chunks to chunk rows: the identities that make every later stage repeatable."""

from __future__ import annotations

import json
import uuid

from semantik_pipeline.documents import ParsedDocument, short_hash
from semantik_pipeline.ledger.collections import Generation
from semantik_pipeline.ledger.content import ChunkRow
from semantik_pipeline.ledger.work import Unit
from semantik_pipeline.stages.parsing import Chunked


def chunk_rows(generation: Generation, unit: Unit, parsed: ParsedDocument, chunked: Chunked) -> list[ChunkRow]:
    """One row for each chunk.

    A point's id is that of (collection, source, document, text, occurrence), so an unchanged chunk keeps its point;
    the signature tells whether anything else of its payload changed.
    """
    fingerprints = generation.fingerprints
    about = [unit.metadata, title_of(unit, parsed), unit.file_path, unit.media_type, fingerprints["extract"]]
    shared = short_hash(json.dumps(about, sort_keys=True))
    owner = (str(unit.collection_id), str(unit.source_id), unit.unique_id)
    seen: dict[str, int] = {}
    rows = []
    for chunk, lead in zip(chunked.chunks, chunked.leads, strict=True):
        text_hash = short_hash(chunk.text)
        occurrence = seen[text_hash] = seen.get(text_hash, -1) + 1
        embed_key = short_hash(fingerprints["embed"], lead + chunk.text)
        place = json.dumps([chunk.start, chunk.end, chunk.ordinal, chunk.metadata], sort_keys=True)
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
                point_id=str(uuid.UUID(short_hash(*owner, text_hash, str(occurrence)))),
                embed_key=embed_key,
                signature=short_hash(shared, place, embed_key),
            )
        )
    return rows


def title_of(unit: Unit, parsed: ParsedDocument) -> str | None:
    """What the parser found, else what the connector knows, else the file's name."""
    return parsed.title or unit.metadata.get("title") or unit.metadata.get("file_name")
