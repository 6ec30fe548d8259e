"""What another generation of the same collection has made already, with the same parser and chunker: taken over, not made
again. So a build with another embedder or extractor chunks nothing, and a document that arrives while one is under way is
chunked once for both, unless one claim takes both of its units."""

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
    """unit's key -> what other generations have of the same revision. Only units that were never chunked have any: what
    somebody sends through the stage again is to be made again."""
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
    """generation -> the others of its collection that chunk as it does; whether they parse alike is in a parse's key."""
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
    """The twins' chunks by unit's key, as the unit's generation has them; those that a newer revision took away meanwhile
    are left out."""
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
