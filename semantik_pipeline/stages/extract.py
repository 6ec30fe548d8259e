"""extract: find facts in chunks and documents. Leaves extraction rows behind, by text hash and fingerprint.

An extractor that fails is noted on the document; the other extractors, and the indexing, go on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from semantik_pipeline.documents import ExtractionResult
from semantik_pipeline.errors import ChildError, ChildOutOfMemory, LeaseLost, PipelineError, PluginError
from semantik_pipeline.ledger import content, work
from semantik_pipeline.ledger.collections import Generation
from semantik_pipeline.ledger.leases import Hold
from semantik_pipeline.ledger.work import Claim, Unit
from semantik_pipeline.stages.claims import Claims, by_generation
from semantik_pipeline.stages.extracting import extract_texts, merged
from semantik_pipeline.stages.failures import fail

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime

#: Texts that one request gives to a child: large enough to use spaCy's batching, small enough to save often.
POOL = 128


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Texts for one extractor, by text hash, and the units that want them."""

    texts: dict[str, str]
    units: tuple[Unit, ...]


def run(runtime: Runtime, claims: Claims) -> None:
    """Extract from documents, a pool of texts at a time; each pool is saved at once."""
    for held in claims:
        for generation_id, units in by_generation(held.claim.units):
            try:
                _run_generation(runtime, held.claim, held.hold, runtime.generation(generation_id), units)
            except LeaseLost:
                break
            except Exception as error:
                fail(runtime, held.claim, units, error)
        runtime.ring("embed")


def _run_generation(runtime: Runtime, claim: Claim, hold: Hold, generation: Generation, units: list[Unit]) -> None:
    units = _with_parse(runtime, claim, units)
    notes: dict[tuple[int, int], dict[str, str]] = {unit.key: {} for unit in units}
    until = time.monotonic() + runtime.settings.work.slice
    extraction = generation.config["extraction"]
    for level, pools in (("chunk", _chunk_pools), ("document", _document_pools)):
        for choice in extraction[level]:
            fingerprint = generation.fingerprints["extract"][choice["plugin"]]
            for pool in pools(runtime, units, fingerprint):
                hold.check()
                _extract_pool(runtime, choice, fingerprint, pool, notes)
                hold.touch()
                if time.monotonic() > until and pool.units[-1].chunks > POOL:
                    _yield(runtime, claim, units)
                    return
    _finish(runtime, claim, generation, units, notes)


def _with_parse(runtime: Runtime, claim: Claim, units: list[Unit]) -> list[Unit]:
    """Units whose chunk rows are there; the others go back to the stage that makes them."""
    missing = [unit for unit in units if unit.chunks_epoch is None]
    if missing:
        with runtime.ledger.write() as tx:
            mine = work.held(tx, claim.token)
            for unit in missing:
                if unit.key in mine:
                    work.move(tx, unit, "chunk")
    return [unit for unit in units if unit.chunks_epoch is not None]


def _chunk_pools(runtime: Runtime, units: list[Unit], fingerprint: str) -> Iterator[Pool]:
    """Chunks that the extractor has not seen, pooled over documents."""
    texts: dict[str, str] = {}
    owners: list[Unit] = []
    for unit in units:
        after = -1
        while True:
            with runtime.ledger.read() as tx:
                rows = content.unextracted(tx, unit, fingerprint, after=after, limit=POOL)
            if not rows:
                break
            after = rows[-1][0]
            texts.update({text_hash: text for _, text_hash, text in rows})
            owners.append(unit)
            if len(texts) >= POOL:
                yield Pool(texts=texts, units=tuple(owners))
                texts, owners = {}, []
    if texts:
        yield Pool(texts=texts, units=tuple(owners))


def _document_pools(runtime: Runtime, units: list[Unit], fingerprint: str) -> Iterator[Pool]:
    """Whole texts that the extractor has not seen; large ones alone."""
    with runtime.ledger.read() as tx:
        there = content.load_extractions(tx, [(unit.text_hash, fingerprint) for unit in units if unit.text_hash])
    texts: dict[str, str] = {}
    owners: list[Unit] = []
    for unit in units:
        if not unit.text_hash or (unit.text_hash, fingerprint) in there or not unit.parse_key:
            continue
        parsed = runtime.blobs.get_parsed(unit.parse_key)
        if parsed is None:
            continue
        texts[unit.text_hash] = parsed.text
        owners.append(unit)
        if len(texts) >= POOL or sum(map(len, texts.values())) > 1_000_000:
            yield Pool(texts=texts, units=tuple(owners))
            texts, owners = {}, []
    if texts:
        yield Pool(texts=texts, units=tuple(owners))


def _extract_pool(
    runtime: Runtime, choice: dict[str, Any], fingerprint: str, pool: Pool, notes: dict[tuple[int, int], dict[str, str]]
) -> None:
    """Run one extractor over a pool and keep its results; failures become notes on the documents they belong to."""
    try:
        answer = runtime.children.run(
            extract_texts,
            choice["plugin"],
            choice["options"],
            choice.get("types"),
            pool.texts,
            deadline=runtime.settings.child.extract_deadline,
        )
    except (ChildError, ChildOutOfMemory) as error:
        if len({unit.key for unit in pool.units}) > 1:
            for unit in {unit.key: unit for unit in pool.units}.values():
                with runtime.ledger.read() as tx:
                    rows = content.unextracted(tx, unit, fingerprint, after=-1, limit=POOL)
                own = {text_hash: text for _, text_hash, text in rows if text_hash in pool.texts}
                own = own or {h: text for h, text in pool.texts.items() if h == unit.text_hash}
                if own:
                    _extract_pool(runtime, choice, fingerprint, Pool(texts=own, units=(unit,)), notes)
            return
        notes[pool.units[0].key][choice["plugin"]] = str(error)
        return
    except PluginError:
        raise
    except PipelineError as error:
        for unit in pool.units:
            notes[unit.key][choice["plugin"]] = str(error)
        return
    results, failures = answer
    if results:
        with runtime.ledger.write() as tx:
            content.save_extractions(tx, {(text_hash, fingerprint): result for text_hash, result in results.items()})
    if failures:
        for unit in pool.units:
            notes[unit.key][choice["plugin"]] = next(iter(failures.values()))


def _yield(runtime: Runtime, claim: Claim, units: list[Unit]) -> None:
    """The slice is over and a large document is in hand: let others have a turn, go on where it was."""
    with runtime.ledger.write() as tx:
        for unit in units:
            if unit.key in work.held(tx, claim.token):
                work.move(tx, unit, "extract")


def _finish(
    runtime: Runtime,
    claim: Claim,
    generation: Generation,
    units: list[Unit],
    notes: dict[tuple[int, int], dict[str, str]],
) -> None:
    fingerprints = [
        generation.fingerprints["extract"][one["plugin"]] for one in generation.config["extraction"]["document"]
    ]
    wanted = [(unit.text_hash, fingerprint) for unit in units if unit.text_hash for fingerprint in fingerprints]
    with runtime.ledger.write() as tx:
        results = content.load_extractions(tx, wanted)
        mine = work.held(tx, claim.token)
        for unit in units:
            if unit.key not in mine:
                continue
            extracted = merged([results.get((unit.text_hash, fingerprint)) for fingerprint in fingerprints])
            found = ExtractionResult.to_searchable_dict(extracted)
            # every chunk carries what the document says, so a change of it changes all points
            rewrite = unit.touched and found != (unit.extracted or {})
            progress = {"rewrite": True} if rewrite or unit.progress.get("rewrite") else None
            work.move(tx, unit, "embed", extracted=found, notes=notes[unit.key] or None, progress=progress)
