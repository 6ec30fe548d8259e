"""chunk: parse a document and cut it into chunks. Leaves the parsed body and chunk rows behind."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

from semantik_pipeline.documents import ParsedDocument
from semantik_pipeline.errors import LeaseLost, PermanentError, SkipDocument
from semantik_pipeline.generations import short_hash
from semantik_pipeline.ledger import content, sync, work
from semantik_pipeline.ledger.content import ChunkRow
from semantik_pipeline.ledger.work import Claim, Unit
from semantik_pipeline.stages.claims import Claims, Held
from semantik_pipeline.stages.failures import fail
from semantik_pipeline.stages.parsing import Chunked, ChunkRequest, choose_parser, parse_and_chunk

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime

#: Chunk rows that one transaction writes: short enough that nobody waits long for the ledger.
ROWS = 2000


def run(runtime: Runtime, claims: Claims) -> None:
    """Parse and chunk documents, each in a child process, each saved at once."""
    for held in claims:
        for unit in held.claim.units:
            if claims.stopping:
                break  # what is left is given back
            _run_unit(runtime, held, unit)


def _run_unit(runtime: Runtime, held: Held, unit: Unit) -> None:
    try:
        held.hold.check()
        chunk_document(runtime, held.claim, unit)
    except LeaseLost:
        return
    except Exception as error:  # the failure is this document's own: its child worked on nothing else
        fail(runtime, held.claim, [unit], error, alone=True)
    held.hold.touch()
    runtime.ring("extract" if _extracts(runtime, unit) else "embed")


def chunk_document(runtime: Runtime, claim: Claim, unit: Unit) -> None:
    """Parse (unless the parse is stored), chunk, save."""
    try:
        parse_key, request = _request(runtime, unit)
        if request is None:
            _ask_source_again(runtime, claim, unit)
            return
        chunked = runtime.children.run(
            parse_and_chunk, request, deadline=_deadline(runtime, unit), services={"embed": _embed(runtime, unit)}
        )
    except SkipDocument as skip:
        _skip(runtime, claim, unit, str(skip))
        return
    if chunked.parsed is not None:
        runtime.blobs.put_parsed(parse_key, chunked.parsed)
    _save(runtime, claim, unit, parse_key, chunked.parsed or request.parsed, chunked)


def _request(runtime: Runtime, unit: Unit) -> tuple[str, ChunkRequest | None]:
    """The parse's key, and what the child needs; None: the raw body is missing."""
    generation = runtime.generation(unit.generation_id)
    config = generation.config
    limit = runtime.settings.child.max_bytes
    if unit.size is not None and unit.size > limit:
        raise PermanentError(
            f"It has {unit.size:,} bytes; the limit is {limit:,}.", "Raise child.max_bytes to index it."
        )
    parsers = runtime.host.registry.of_kind("parser")
    parser = choose_parser(
        parsers, media_type=unit.media_type, file_path=unit.file_path, by_media_type=config["parsers"]["by_media_type"]
    )
    fingerprint = generation.fingerprints["parse"].get(parser, "")
    suffix = (unit.file_path or "").rpartition(".")[2]
    parse_key = short_hash(unit.content_hash or "", fingerprint, unit.media_type or "", suffix)
    parsed = runtime.blobs.get_parsed(parse_key)
    body = None if parsed else runtime.blobs.get_raw(unit.content_hash or "")
    if parsed is None and body is None:
        return parse_key, None
    return parse_key, ChunkRequest(
        content=body,
        parsed=parsed,
        parser=parser,
        parser_options=config["parsers"]["options"].get(parser, {}),
        chunker=config["chunking"]["plugin"],
        chunker_options=config["chunking"]["options"],
        embedder=config["embedding"]["plugin"],
        embedder_options=config["embedding"]["options"],
        file_path=unit.file_path,
        media_type=unit.media_type,
        metadata=unit.metadata,
    )


def _deadline(runtime: Runtime, unit: Unit) -> float:
    child = runtime.settings.child
    return child.parse_deadline + child.deadline_per_mb * (unit.size or 0) / 1e6


def _embed(runtime: Runtime, unit: Unit):
    """What semantic chunkers ask back for: texts -> vectors, by the generation's own model."""

    def embed(texts: list[str]) -> Any:
        embedder = runtime.embedder(unit.generation_id)
        return runtime.host.call(embedder.embed_texts, texts, batch_size=runtime.settings.embed.batch_size)

    return embed


def _extracts(runtime: Runtime, unit: Unit) -> bool:
    extraction = runtime.generation(unit.generation_id).config["extraction"]
    return bool(extraction["chunk"] or extraction["document"])


def _save(runtime: Runtime, claim: Claim, unit: Unit, parse_key: str, parsed: ParsedDocument, chunked: Chunked) -> None:
    rows = chunk_rows(runtime, unit, parsed, chunked)
    with runtime.ledger.write() as tx:
        if unit.key not in work.held(tx, claim.token):
            raise LeaseLost(f"{unit.unique_id} was taken over while it was chunked.")
        content.drop_chunks(tx, unit, keep={unit.indexed_chunks_epoch} - {None, unit.epoch})
        content.write_chunks(tx, unit, rows[:ROWS])
    for start in range(ROWS, len(rows), ROWS):
        with runtime.ledger.write() as tx:
            if unit.key not in work.held(tx, claim.token):
                raise LeaseLost(f"{unit.unique_id} was taken over while its chunks were saved.")
            content.write_chunks(tx, unit, rows[start : start + ROWS])
    with runtime.ledger.write() as tx:
        if unit.key not in work.held(tx, claim.token):
            raise LeaseLost(f"{unit.unique_id} was taken over while its chunks were saved.")
        sync.set_title(tx, unit.document_id, unit.revision, _title(unit, parsed))
        work.move(
            tx,
            unit,
            "extract" if _extracts(runtime, unit) else "embed",
            chunks=len(rows),
            chunks_epoch=unit.epoch,
            parse_key=parse_key,
            text_hash=short_hash(parsed.text),
        )


def chunk_rows(runtime: Runtime, unit: Unit, parsed: ParsedDocument, chunked: Chunked) -> list[ChunkRow]:
    """Rows with the identities that make every later stage repeatable.

    A point's id is that of (collection, source, document, text, occurrence), so an unchanged chunk keeps its point;
    the signature tells whether anything else of its payload changed.
    """
    generation = runtime.generation(unit.generation_id)
    fingerprint = generation.fingerprints["embed"]
    shared = short_hash(
        json.dumps(
            [unit.metadata, parsed.title, unit.file_path, unit.media_type, generation.fingerprints["extract"]],
            sort_keys=True,
        )
    )
    seen: dict[str, int] = {}
    rows = []
    for chunk, lead in zip(chunked.chunks, chunked.leads, strict=True):
        text_hash = short_hash(chunk.text)
        occurrence = seen[text_hash] = seen.get(text_hash, -1) + 1
        owner = (str(unit.collection_id), str(unit.source_id), unit.unique_id)
        embed_key = short_hash(fingerprint, lead + chunk.text)
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


def _title(unit: Unit, parsed: ParsedDocument) -> str | None:
    """What the parser found, else what the connector knows, else the file's name."""
    return parsed.title or unit.metadata.get("title") or unit.metadata.get("file_name")


def _skip(runtime: Runtime, claim: Claim, unit: Unit, reason: str) -> None:
    """There is nothing to index: what the store has is removed, and the document is listed with the reason."""
    with runtime.ledger.write() as tx:
        if unit.key in work.held(tx, claim.token):
            stage = "upsert" if unit.touched else "skipped"
            content.drop_chunks(tx, unit, keep={unit.indexed_chunks_epoch} - {None})
            work.move(tx, unit, stage, goal="skipped", reason=reason, chunks=0, chunks_epoch=None)
    runtime.ring("upsert")


def _ask_source_again(runtime: Runtime, claim: Claim, unit: Unit) -> None:
    """The raw body is gone: forget the change hint, so that the next sync fetches the document anew."""
    with runtime.ledger.write() as tx:
        sync.forget_hint(tx, unit.document_id)
    raise PermanentError("Its stored body is missing.", "Sync its source again: `semantik index` fetches it anew.")
