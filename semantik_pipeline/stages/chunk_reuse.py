"""Reuse of chunks that another generation of the same collection has already made with the same parser and chunker.

A build with another embedder or extractor therefore chunks nothing. A document that arrives during a build is chunked
once for both generations, unless one claim contains both of its units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from semantik_pipeline.ledger.documents import content
from semantik_pipeline.ledger.documents.content import ChunkRow, Twin
from semantik_pipeline.ledger.queue.keys import by_generation
from semantik_pipeline.ledger.queue.work import Unit
from semantik_pipeline.stages.chunk_rows import signed_anew

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime


def find_twins(runtime: Runtime, units: Sequence[Unit]) -> dict[tuple[int, int], list[Twin]]:
    """Return, by unit key, the chunks that other generations have of the same revision.

    Only units that were never chunked are looked up. A unit that somebody sends through the stage again must be chunked
    anew.
    """
    alike = _alike(runtime, {unit.generation_id for unit in units})
    asked = [unit for unit in units if unit.chunks_epoch is None and alike.get(unit.generation_id)]
    if not asked:
        return {}
    others = sorted({other for unit in asked for other in alike[unit.generation_id]})
    with runtime.ledger.read() as tx:
        found = content.twins(tx, [unit.document_id for unit in asked], others)
    return {
        unit.key: [
            twin
            for twin in found.get(unit.document_id, ())
            if twin.revision == unit.revision and twin.generation_id in alike[unit.generation_id]
        ]
        for unit in asked
    }


def _alike(runtime: Runtime, generation_ids: set[int]) -> dict[int, set[int]]:
    """Return, by generation id, the other generations of the same collection with the same ``chunk`` fingerprint.

    Whether they also parse alike shows in the parse key.
    """
    live = [runtime.generation(one) for one in runtime.live_generations()]
    if len(live) < 2:
        return {}
    found: dict[int, set[int]] = {}
    for generation_id in generation_ids:
        mine = runtime.generation(generation_id)
        found[generation_id] = {
            other.id
            for other in live
            if other.id != mine.id
            and other.collection_id == mine.collection_id
            and other.fingerprints["chunk"] == mine.fingerprints["chunk"]
        }
    return found


def rows_of(runtime: Runtime, twins: Sequence[tuple[Unit, Twin]]) -> dict[tuple[int, int], list[ChunkRow]]:
    """Return the twins' chunks by unit key, with the embed keys and signatures of the unit's own generation.

    Units whose twin lost its chunks in the meantime, because a newer revision arrived, are left out.
    """
    asked = [replace(unit, generation_id=twin.generation_id, chunks_epoch=twin.chunks_epoch) for unit, twin in twins]
    found: dict[tuple[int, int], list[ChunkRow]] = {}
    with runtime.ledger.read() as tx:
        for _, of_it in by_generation(asked):
            found |= content.chunk_rows_of(tx, of_it)
    return {
        unit.key: signed_anew(runtime.generation(unit.generation_id), unit, rows)
        for unit, twin in twins
        if len(rows := found[unit.document_id, twin.generation_id]) == twin.chunks
    }
