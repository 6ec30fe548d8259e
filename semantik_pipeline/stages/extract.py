"""extract: find facts in chunks and documents. Leaves extraction rows behind, by text hash and fingerprint.

If an extractor fails, the document gets a note. The other extractors and the indexing go on.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from semantik_pipeline.documents import ExtractionResult
from semantik_pipeline.errors import ChildError, ChildOutOfMemory, LeaseLost
from semantik_pipeline.ledger.catalog.collections import Generation
from semantik_pipeline.ledger.documents import content
from semantik_pipeline.ledger.queue import bulk_moves, work
from semantik_pipeline.ledger.queue.keys import by_generation
from semantik_pipeline.ledger.queue.work import Claim, Unit
from semantik_pipeline.stages.bodies import read_ahead
from semantik_pipeline.stages.claims import READY, Claims, Held
from semantik_pipeline.stages.embedder_errors import leave
from semantik_pipeline.stages.extracting import extract_texts, merged
from semantik_pipeline.stages.unit_errors import fail, told

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime

#: Number of texts in one request to a child: large enough for spaCy's batching, small enough to save often.
POOL = 128

#: Approximate maximum number of characters in one request, because whole documents are sent too.
POOL_CHARACTERS = 1_000_000

#: Number of pools of one document that an extractor may fail on, consecutive or not, before it gets no more of the
#: document.
LOST = 3

#: Appended to the document's note when an extractor gets no more of it.
UNREAD = f" It failed on {LOST} parts, so it was not given the rest."


@dataclass
class Pool:
    """Texts for one extractor, by text hash, and the units that contain them."""

    texts: dict[str, str] = field(default_factory=dict)
    owners: dict[str, set[tuple[int, int]]] = field(default_factory=dict)
    units: dict[tuple[int, int], Unit] = field(default_factory=dict)

    def add(self, unit: Unit, text_hash: str, text: str) -> None:
        self.texts[text_hash] = text
        self.owners.setdefault(text_hash, set()).add(unit.key)
        self.units[unit.key] = unit

    def by_unit(self) -> Iterator[Pool]:
        """Split into one pool per unit, with the same texts."""
        for key, unit in self.units.items():
            own = Pool()
            for text_hash, text in self.texts.items():
                if key in self.owners[text_hash]:
                    own.add(unit, text_hash, text)
            yield own

    @property
    def full(self) -> bool:
        return len(self.texts) >= POOL or sum(map(len, self.texts.values())) > POOL_CHARACTERS


@dataclass
class Failures:
    """The failures within one claim.

    ``notes`` holds for each unit, by extractor, why the extractor failed. ``lost`` counts, by unit and extractor, the
    pools without any result: the child died, it was too slow, or the extractor failed on every text.
    """

    notes: dict[tuple[int, int], dict[str, str]]
    lost: Counter[tuple[tuple[int, int], str]] = field(default_factory=Counter)

    @property
    def noted(self) -> bool:
        return any(self.notes.values())

    def leave(self, unit: Unit, plugin: str) -> bool:
        """Return whether the extractor has failed on too much of the document and gets no more of it.

        Each further pool could cost the stage a whole deadline. If so, this adds a sentence about it to the note.
        """
        lost = self.lost[unit.key, plugin] >= LOST
        if lost:
            self.notes[unit.key][plugin] += UNREAD
        return lost


def run(runtime: Runtime, claims: Claims) -> None:
    """Extract from documents, one pool of texts at a time. Each pool is saved at once."""
    for held in claims:
        for generation_id, units in by_generation(held.claim.units):
            try:
                _run_generation(runtime, held, runtime.generation(generation_id), units)
            except LeaseLost:
                break
            except Exception as error:
                leave(runtime, generation_id, "extract", error)
                fail(runtime, held.claim, units, error)
        runtime.ring("embed")


def prepare(runtime: Runtime, generation: Generation) -> None:
    """Start a child and load the extractors' models in it."""
    extraction, deadline = generation.config["extraction"], runtime.settings.child.extract_deadline
    for choice in (*extraction["chunk"], *extraction["document"]):
        wanted = (choice["plugin"], choice["options"], choice.get("types"))
        runtime.children.run(extract_texts, *wanted, {READY: READY}, deadline=deadline)


def _run_generation(runtime: Runtime, held: Held, generation: Generation, units: list[Unit]) -> None:
    claim = held.claim
    units = _with_parse(runtime, claim, units)
    failures = Failures({unit.key: {} for unit in units})
    until = time.monotonic() + runtime.settings.work.time_slice
    extraction = generation.config["extraction"]
    for level, pools in (("chunk", _chunk_pools), ("document", _document_pools)):
        for choice in extraction[level]:
            fingerprint = generation.fingerprints["extract"][choice["plugin"]]
            leave = partial(failures.leave, plugin=choice["plugin"])
            for pool in pools(runtime, claim, units, fingerprint, leave):
                left = _extract_pool(runtime, held, choice, fingerprint, pool, failures)
                units[:] = [unit for unit in units if unit.key not in left]  # given back with the claim
                large = [unit for unit in units if unit.chunks > POOL]
                # Notes end with the claim: the next claim would give the extractor the same texts again, without end.
                if large and time.monotonic() > until and not failures.noted:
                    _yield(runtime, claim, large)
                    return
    _finish(runtime, claim, generation, units, failures)


def _with_parse(runtime: Runtime, claim: Claim, units: list[Unit]) -> list[Unit]:
    """Return the units that have chunk rows. The other units go back to the stage that makes the rows."""
    missing = [unit for unit in units if unit.chunks_epoch is None]
    if missing:
        with runtime.ledger.write() as tx:
            mine = work.held(tx, claim.token)
            for unit in missing:
                if unit.key in mine:
                    work.move(tx, unit, "chunk")
    return [unit for unit in units if unit.chunks_epoch is not None]


def _chunk_pools(
    runtime: Runtime, claim: Claim, units: list[Unit], fingerprint: str, leave: Callable[[Unit], bool]
) -> Iterator[Pool]:
    """Yield pools of chunks that the extractor has not seen, across documents.

    Skips the rest of a document once ``leave`` is true for its unit.
    """
    pool, tried = Pool(), set[str]()
    with runtime.ledger.read() as tx:
        whole = content.unextracted_of(tx, [unit for unit in units if unit.chunks <= POOL], fingerprint)
    for unit in [*units]:
        for rows in [whole[unit.key]] if unit.key in whole else _pages(runtime, unit, fingerprint):
            if rows and leave(unit):
                break
            for text_hash, text in _still(runtime, rows, tried, fingerprint):
                pool.add(unit, text_hash, text)
            if pool.full:
                yield pool
                tried |= pool.texts.keys()
                pool = Pool()
    if pool.texts:
        yield pool


def _still(
    runtime: Runtime, rows: list[tuple[int, str, str]], tried: set[str], fingerprint: str
) -> list[tuple[str, str]]:
    """Return ``(text hash, text)`` of the rows without texts that an earlier pool has extracted from already.

    ``tried`` holds the text hashes of the earlier pools, which another document may share.
    """
    again = {text_hash for _, text_hash, _ in rows} & tried
    there: set[str] = set()
    if again:
        with runtime.ledger.read() as tx:
            there = content.extracted(tx, sorted(again), fingerprint)
    return [(text_hash, text) for _, text_hash, text in rows if text_hash not in there]


def _pages(runtime: Runtime, unit: Unit, fingerprint: str) -> Iterator[list[tuple[int, str, str]]]:
    """Yield the chunks of one large document that the extractor has not seen, up to one pool at a time."""
    after = -1
    while True:
        with runtime.ledger.read() as tx:
            rows = content.unextracted(tx, unit, fingerprint, after=after, limit=POOL)
        yield rows
        if len(rows) < POOL:
            return
        after = rows[-1][0]


def _document_pools(
    runtime: Runtime, claim: Claim, units: list[Unit], fingerprint: str, _leave: Callable[[Unit], bool]
) -> Iterator[Pool]:
    """Yield pools of whole document texts that the extractor has not seen.

    A unit whose body cannot be read fails alone and is removed from ``units``.
    """
    with runtime.ledger.read() as tx:
        there = content.load_extractions(tx, [(unit.text_hash, fingerprint) for unit in units if unit.text_hash])
    new = [unit for unit in units if unit.text_hash and unit.parse_key and (unit.text_hash, fingerprint) not in there]

    pool = Pool()
    for unit, body in read_ahead(runtime, new, lambda unit: runtime.blobs.get_body("parsed", unit.parse_key or "")):
        try:
            if isinstance(body, Exception):
                raise body
            parsed = None if body is None else runtime.blobs.unpack(unit.parse_key or "", body)
        except Exception as error:
            fail(runtime, claim, [unit], error, alone=True)
            units[:] = [one for one in units if one.key != unit.key]
            continue
        if parsed is not None:
            pool.add(unit, unit.text_hash or "", parsed.text)
            if pool.full:
                yield pool
                pool = Pool()
    if pool.texts:
        yield pool


def _extract_pool(
    runtime: Runtime, held: Held, choice: dict[str, Any], fingerprint: str, pool: Pool, failures: Failures
) -> set[tuple[int, int]]:
    """Run one extractor over a pool and save its results.

    Failures become notes on the documents they belong to. If the child dies or is too slow, each document is tried
    alone, with the stage's whole deadline for itself. Returns the keys of units that were not tried because a suspect
    waits for this claim to end.
    """
    held.hold.check()
    try:
        results, failed = runtime.children.run(
            extract_texts,
            choice["plugin"],
            choice["options"],
            choice.get("types"),
            pool.texts,
            deadline=runtime.settings.child.extract_deadline,
            waiting=held.hold.touch,
        )
    except (ChildError, ChildOutOfMemory) as error:
        if len(pool.units) > 1:
            held.hold.touch()
            return _extract_each(runtime, held, choice, fingerprint, pool, failures)
        results, failed = {}, dict.fromkeys(pool.texts, str(error))
    if not results:
        failures.lost.update((key, choice["plugin"]) for key in pool.units)
    else:
        with runtime.ledger.write() as tx:
            content.save_extractions(tx, {(text_hash, fingerprint): result for text_hash, result in results.items()})
    for text_hash, failure in failed.items():
        words = told(failure)
        for key in pool.owners[text_hash]:
            failures.notes[key][choice["plugin"]] = words
    held.hold.touch()
    return set()


def _extract_each(
    runtime: Runtime, held: Held, choice: dict[str, Any], fingerprint: str, pool: Pool, failures: Failures
) -> set[tuple[int, int]]:
    tried: set[tuple[int, int]] = set()
    for own in pool.by_unit():
        if tried and held.wanted:
            return set(pool.units) - tried
        _extract_pool(runtime, held, choice, fingerprint, own, failures)
        tried |= set(own.units)
    return set()


def _yield(runtime: Runtime, claim: Claim, large: list[Unit]) -> None:
    """Put large documents back in the queue when the time slice is over, so that others get a turn.

    They continue later where they stopped. The small documents are given back with the claim.
    """
    with runtime.ledger.write() as tx:
        mine = work.held(tx, claim.token)
        for unit in large:
            if unit.key in mine:
                work.move(tx, unit, "extract", turn=work.later(1))


def _finish(
    runtime: Runtime,
    claim: Claim,
    generation: Generation,
    units: list[Unit],
    failures: Failures,
) -> None:
    """Send the units on to ``embed`` with the extracted facts.

    A unit without a result and without a note, because its stored parse could not be read, goes back to ``chunk``.
    """
    notes = failures.notes
    plugins = [one["plugin"] for one in generation.config["extraction"]["document"]]
    fingerprints = {plugin: generation.fingerprints["extract"][plugin] for plugin in plugins}
    wanted = [(unit.text_hash, one) for unit in units if unit.text_hash for one in fingerprints.values()]
    with runtime.ledger.write() as tx:
        results = content.load_extractions(tx, wanted)
        mine = work.held(tx, claim.token)
        ended: list[tuple[Unit, str, dict[str, Any]]] = []
        for unit in units:
            if unit.key not in mine:
                continue
            answers = {plugin: results.get((unit.text_hash or "", one)) for plugin, one in fingerprints.items()}
            if any(answer is None and plugin not in notes[unit.key] for plugin, answer in answers.items()):
                ended.append((unit, "chunk", {}))
                continue
            extracted = merged(answers.values())
            found = ExtractionResult.to_searchable_dict(extracted)
            # every chunk carries the facts of its document, so if these change, all points change
            rewrite = unit.touched and found != (unit.extracted or {})
            progress = {**unit.progress, "rewrite": True} if rewrite else unit.progress or None
            ended.append((unit, "embed", {"extracted": found, "notes": notes[unit.key] or None, "progress": progress}))
        bulk_moves.move_all(tx, ended)
