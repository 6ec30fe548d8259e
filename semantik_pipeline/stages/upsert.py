"""upsert: bring a document's points into the store. A document is ``indexed`` only after the store acknowledged them.

Points carry the document's epoch. Inserts are conditional (never over a newer epoch). Deletes always mean "of this
document, with an older epoch". New points are written first and old ones deleted afterwards. Doing it twice equals
doing it once.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from semantik_pipeline.errors import LeaseLost
from semantik_pipeline.isolation import isolated
from semantik_pipeline.ledger import Transaction
from semantik_pipeline.ledger.catalog.collections import Generation
from semantik_pipeline.ledger.database.bulk import pools, slices
from semantik_pipeline.ledger.documents import content, forgetting
from semantik_pipeline.ledger.queue import bulk_moves, reconciling, work
from semantik_pipeline.ledger.queue.keys import by_generation
from semantik_pipeline.ledger.queue.leases import Hold
from semantik_pipeline.ledger.queue.work import ASIDE, UNREAD, Claim, Unit
from semantik_pipeline.ledger.retention import trash
from semantik_pipeline.stages import lost_index
from semantik_pipeline.stages.chunk_rows import title_of
from semantik_pipeline.stages.claims import Claims
from semantik_pipeline.stages.points import PointBuilder
from semantik_pipeline.stages.unit_errors import fail
from semantik_pipeline.stages.withdrawal import withdraw

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime


#: Number of documents whose points one call to the store deletes.
DELETED = 64

#: Maximum number of documents (GONE), and of their chunk rows (ROWS), that one transaction removes from the ledger, so
#: that nobody waits long for it.
GONE, ROWS = 16, 2000


def run(runtime: Runtime, claims: Claims) -> None:
    """Upsert documents: many small ones in one batch, a large one in slices."""
    for held in claims:
        for generation_id, units in by_generation(held.claim.units):
            writing: set[tuple[int, int]] = set()
            try:
                generation = runtime.generation(generation_id)
                Upsert(runtime, held.claim, held.hold, generation, writing).run(units)
            except LeaseLost:
                reconcile(runtime, units)
                break
            except Exception as error:
                _reconcile_lost(runtime, held.claim, writing)
                lost = fail(runtime, held.claim, units, lost_index.blamed(runtime, generation_id, error))
                with isolated(runtime, "withdrawals"):  # if this fails, maintenance does it later
                    withdraw(runtime, lost)


def prepare(runtime: Runtime, generation: Generation) -> None:
    """Open the store and create the index if it is missing."""
    runtime.index(generation)


def reconcile(runtime: Runtime, units: Iterable[Unit]) -> None:
    """Mark these documents for reconciling: the lease ended during writes, so their points must be checked again."""
    with runtime.ledger.write() as tx:
        reconciling.mark(tx, [unit.key for unit in units])


def _reconcile_lost(runtime: Runtime, claim: Claim, writing: set[tuple[int, int]]) -> None:
    """Mark those of the documents being written that other workers hold by now.

    A store may still perform a write after it has reported an error for it.
    """
    if not writing:
        return
    with runtime.ledger.write() as tx:
        reconciling.mark(tx, writing - work.held(tx, claim.token))


class Upsert:
    """Writes the documents of one claim and one generation to the store.

    ``writing`` holds the keys of units whose points are being written.
    """

    def __init__(
        self,
        runtime: Runtime,
        claim: Claim,
        hold: Hold,
        generation: Generation,
        writing: set[tuple[int, int]] | None = None,
    ) -> None:
        self.runtime = runtime
        self.claim = claim
        self.hold = hold
        self.generation = generation
        self.writing = set() if writing is None else writing
        self.batch = runtime.settings.upsert.batch_size
        self.until = time.monotonic() + runtime.settings.work.time_slice

    def run(self, units: list[Unit]) -> None:
        with_text = [_as_indexed(unit) for unit in units if unit.goal == "indexed"]
        without = [unit for unit in units if unit.goal != "indexed"]
        if with_text or any(unit.touched for unit in without):
            self.index = self.runtime.index(self.generation)
        with_text = self._touch(with_text)
        small = [unit for unit in with_text if unit.chunks <= self.batch]
        for pool in pools([(unit, unit.chunks) for unit in small], self.batch):
            self._write_small(pool)
        for unit in with_text:
            if unit.chunks > self.batch:
                self._write_large(unit)
        if without:
            self._remove(without)

    def _touch(self, units: list[Unit]) -> list[Unit]:
        """Record, before any write, that the store may hold points of these documents and that a write has begun.

        If another revision arrives before the write ends, the state of these documents' points in the store is unknown.
        """
        begun = [replace(unit, progress={**unit.progress, "begun": True}) for unit in units]
        with self._saving(units) as (tx, mine):
            told = [before.touched and before.progress.get("begun") for before in units]
            fresh = [unit for unit, known in zip(begun, told, strict=True) if unit.key in mine and not known]
            bulk_moves.touch_all(tx, fresh)
        self.writing |= {unit.key for unit in units}
        return begun

    def _write_small(self, units: list[Unit]) -> None:
        """Write documents that fit into one batch. A document that lacks a row goes back to the stage that makes it."""
        self.hold.check()
        builder = PointBuilder(self.runtime, self.generation)
        with self.runtime.ledger.read() as tx:
            rows = content.chunk_rows_of(tx, units)
        complete = {unit.key for unit in units if len(rows[unit.key]) == unit.chunks}
        ready = builder.add([(unit, rows[unit.key]) for unit in units if unit.key in complete])
        added = {unit.key for unit in ready}
        for unit in units:
            if unit.key not in added:
                self._send_back(unit, builder.lacks.get(unit.key, "chunk"))
        self._insert(builder)
        self._delete_older(ready)
        self._finish(ready)

    def _write_large(self, unit: Unit) -> None:
        """Write a large document slice by slice, saving after each slice. After the time slice, others get a turn."""
        done = unit.progress.get("ordinal", 0) if unit.progress.get("epoch") == unit.epoch else 0
        while True:
            self.hold.check()
            with self.runtime.ledger.read() as tx:
                rows = content.chunk_rows(tx, unit, unit.chunks_epoch or 0, start=done, limit=self.batch)
            if not rows:
                break
            builder = PointBuilder(self.runtime, self.generation)
            if not builder.add([(unit, rows)]):
                self._send_back(unit, builder.lacks[unit.key])
                return
            self._insert(builder)
            done = rows[-1].ordinal + 1
            over = time.monotonic() > self.until
            progress = {**unit.progress, "ordinal": done, "epoch": unit.epoch}
            with self._saving([unit]) as (tx, mine):
                if unit.key not in mine:
                    return  # revised meanwhile, and marked for reconciling; the claim still holds its other units
                if over:
                    work.move(tx, unit, "upsert", progress=progress)
                else:
                    work.save_progress(tx, unit, progress=progress)
            if over:
                self.writing.discard(unit.key)
                return
        if done < unit.chunks:  # rows are missing: make them again
            self._send_back(unit, "chunk")
            return
        self._delete_older([unit])
        self._finish([unit])

    def _remove(self, units: list[Unit]) -> None:
        """Remove documents from the index: all their points at once, then their texts in short transactions."""
        self.hold.check()
        self._delete_older(units)
        with self.runtime.ledger.read() as tx:
            rows = content.count_rows(tx, units)
        for pool in pools([(unit, rows.get(unit.key, 0)) for unit in units], ROWS, most=GONE):
            self.hold.check()
            self._finish(pool)
            self.hold.touch()

    def _insert(self, builder: PointBuilder) -> None:
        call, store = self.runtime.host.call, self.runtime.store
        for epoch, batch in builder.batches():
            condition = {"must": [{"key": "epoch", "range": {"lte": epoch}}]}
            for points in slices(batch.points, self.batch):
                call(store.insert, self.index, points, condition=condition)
                self.hold.touch()
            changes = [(ids, fields) for fields, kept in batch.unchanged for ids in slices(kept, self.batch)]
            if changes and "payloads" in store.capabilities:  # each document has its own fields
                call(store.set_payloads, self.index, changes, condition=condition)
                self.hold.touch()
                continue
            for ids, fields in changes:
                call(store.set_payload, self.index, ids, fields, condition=condition)
                self.hold.touch()

    def _delete_older(self, units: list[Unit]) -> None:
        """Delete points of these documents from older epochs. A document that was never touched before has none."""
        older = [
            {
                "must": [
                    {"key": "document_id", "match": {"value": unit.document_id}},
                    {"key": "epoch", "range": {"lt": unit.epoch}},
                ]
            }
            for unit in units
            if unit.touched
        ]
        for part in slices(older, DELETED):
            self.runtime.host.call(self.runtime.store.delete, self.index, filter={"should": part})
            self.hold.touch()

    def _finish(self, units: list[Unit]) -> None:
        deleted, ended = [], []
        with self._saving(units) as (tx, mine):
            replaced = [unit for unit in units if unit.indexed_chunks_epoch not in (None, unit.chunks_epoch)]
            kept = [(unit, {unit.chunks_epoch}) for unit in replaced if unit.goal == "indexed" and unit.key in mine]
            skipped = [(unit, ()) for unit in units if unit.goal == "skipped" and unit.key in mine]
            content.drop_chunks(tx, [*kept, *skipped])
            in_trash = trash.kept(tx, [unit.document_id for unit in units if unit.goal == "deleted"])
            for unit in units:
                if unit.key not in mine:
                    continue
                shown: dict[str, Any]
                if unit.goal == "indexed":
                    shown = {"indexed_epoch": unit.epoch, "indexed_chunks_epoch": unit.chunks_epoch}
                else:
                    shown = {"indexed_epoch": None, "indexed_chunks_epoch": None, "touched": False}
                    if unit.document_id in in_trash:
                        shown |= {"extracted": None, "notes": None}
                    elif unit.goal == "deleted":
                        deleted.append(unit)
                        shown |= {**UNREAD, "notes": None}
                    else:
                        shown |= UNREAD
                aside = unit.progress.get(ASIDE)  # set if the unit stays in quarantine and its points are rewritten
                stage = unit.goal if aside is None else "quarantined"
                # the rewritten points are open to no principal, so the next revision must write all of them
                progress = None if aside is None else {"rewrite": True}
                ended.append((unit, stage, {"progress": progress, **shown, **(aside or {})}))
            forgetting.forget_documents(tx, deleted)
            bulk_moves.move_all(tx, ended)
        self.writing -= {unit.key for unit in units}
        forget_blobs(self.runtime, deleted)

    def _send_back(self, unit: Unit, stage: str) -> None:
        with self._saving([unit]) as (tx, mine):
            if unit.key in mine:
                lost = stage == "chunk" and ASIDE in unit.progress  # so that its newest revision tries again
                work.move(tx, unit, stage, **({"progress": {"rewrite": True}} if lost else {}))
        self.writing.discard(unit.key)
        self.runtime.ring(stage)

    @contextmanager
    def _saving(self, units: list[Unit]) -> Iterator[tuple[Transaction, set[tuple[int, int]]]]:
        """Yield a write transaction and the keys of the claim's units that are still held.

        Those of ``units`` that are no longer held are marked for reconciling. Raises LeaseLost if no unit is held any
        more.
        """
        with self.runtime.ledger.write() as tx:
            mine = work.held(tx, self.claim.token)
            reconciling.mark(tx, [unit.key for unit in units if unit.key not in mine])
            if mine or not units:
                yield tx, mine
                return
        raise LeaseLost("Other workers have these documents now.")


def _as_indexed(unit: Unit) -> Unit:
    """Return the unit as its points must be written: a unit in quarantine is open to no principal.

    Its points belong to the previous revision, but the principals in the ledger belong to the new one, and the old text
    must not be shown to these. Its title is the one of the new revision, without a title from the parser.
    """
    if ASIDE not in unit.progress:
        return unit
    return replace(unit, title=title_of(unit.metadata, unit.title), principals=[])


def forget_blobs(runtime: Runtime, units: Sequence[Unit]) -> None:
    """Remove the stored bodies of deleted documents, unless other documents share them."""
    bodies = {"raw": {unit.content_hash for unit in units}, "parsed": {unit.parse_key for unit in units}}
    for kind, keys in bodies.items():
        if named := {key for key in keys if key}:
            with runtime.ledger.read() as tx:
                unused = forgetting.unused_bodies(tx, kind, named)
            runtime.blobs.remove_many(kind, unused)
