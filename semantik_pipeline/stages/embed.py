"""embed: turn chunks into vectors. Leaves embedding rows behind, by the hash of the exact model input.

Threads side by side, so that the device never waits: a reader claims documents and gathers texts, the embedder turns them
into vectors, a writer saves and sends finished documents on. A swift embedder has two pools at once, so that one is
tokenised while the other is on the device. One pool waits before it, and one behind it, which bounds memory and what a kill
can cost.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from semantik_pipeline import logs
from semantik_pipeline.contracts import EmbeddingMode
from semantik_pipeline.errors import FingerprintMismatch, PermanentError, PluginError
from semantik_pipeline.ledger import Transaction
from semantik_pipeline.ledger.documents import content
from semantik_pipeline.ledger.queue import bulk_moves, work
from semantik_pipeline.ledger.queue.keys import by_generation
from semantik_pipeline.ledger.queue.work import Unit
from semantik_pipeline.stages.claims import READY, Claims, Held
from semantik_pipeline.stages.embedder_errors import blame, unready
from semantik_pipeline.stages.unit_errors import fail
from semantik_pipeline.stages.vectors import checked_sparse, sparse_encoder

if TYPE_CHECKING:
    import numpy as np

    from semantik_pipeline.ledger.catalog.collections import Generation
    from semantik_pipeline.runtime import Runtime


#: Pools that one claim takes of a document, so that a large one shares the stage with others.
PAGES = 4

#: Seconds of one pool from which on an embedder counts as slow: it is given one at a time, one that waits is enough, and who
#: comes with few documents does not wait for two. Of a swift one, so many are under way at once.
SLOW, AT_ONCE = 0.5, 2


@dataclass(kw_only=True)
class Pool:
    """Texts for one generation's model, by embedding key, and the documents they came from."""

    generation_id: int
    held: Held
    texts: dict[str, str] = field(default_factory=dict)
    counts: dict[tuple[int, int], int] = field(default_factory=dict)  # unit -> texts that are embedded for it here
    units: dict[tuple[int, int], Unit] = field(default_factory=dict)
    finished: set[tuple[int, int]] = field(default_factory=set)  # once this is saved, nothing of them is missing
    last: bool = False  # the claim ends with this pool
    vectors: np.ndarray | None = None
    sparse: list[bytes] | None = None  # what lies behind each vector, where a model gives sparse ones too
    error: Exception | None = None
    embedded: threading.Event = field(default_factory=threading.Event)  # or it has failed


def run(runtime: Runtime, claims: Claims) -> None:
    """Embed until the stage is dry or the slice is over."""
    gathered: queue.Queue[Pool | None] = queue.Queue(maxsize=1)
    to_device: queue.Queue[Pool | None] = queue.Queue()  # never more than the writer's queue lets by
    to_writer: queue.Queue[Pool | None] = queue.Queue(maxsize=1)
    reader = Reader(runtime, claims)
    threads = [
        *(_thread("embed-device", _embed_each, runtime, reader, to_device) for _ in range(AT_ONCE)),
        _thread("embed-writer", _save_each, runtime, reader, to_writer),
        _thread("embed-reader", _feed, reader, gathered),  # the last one: before, nothing is claimed
    ]
    started: list[threading.Thread] = []
    try:
        for thread in threads:
            thread.start()
            started.append(thread)
        while (pool := gathered.get()) is not None:
            gathered.task_done()  # it waits no more
            to_device.put(pool)
            if reader.patient:
                pool.embedded.wait()
            to_writer.put(pool)  # in their order, for the last pool of a claim ends it
    finally:
        for _ in range(AT_ONCE):
            to_device.put(None)
        to_writer.put(None)
        for thread in started:
            thread.join()
    if reader.error:
        raise reader.error


def _thread(name: str, work: Callable[..., None], *args: object) -> threading.Thread:
    return threading.Thread(target=logs.carried(work), args=args, name=name, daemon=True)


def prepare(runtime: Runtime, generation: Generation) -> None:
    """Have the model loaded, and warm."""
    embedder, encoder = runtime.embedder(generation), sparse_encoder(runtime, generation)
    runtime.host.call(embedder.embed_texts, [READY], mode=EmbeddingMode.QUERY)
    if encoder is not None:
        runtime.host.call(encoder.embed_sparse, [READY], mode=EmbeddingMode.QUERY)


def _feed(reader: Reader, gathered: queue.Queue[Pool | None]) -> None:
    try:
        for pool in reader.pools():
            gathered.put(pool)
            if reader.patient:
                gathered.join()  # until it is on its way to the device: what is claimed now goes before all that comes later
    except Exception as error:
        reader.error = error
    finally:
        gathered.put(None)


def _embed_each(runtime: Runtime, reader: Reader, to_device: queue.Queue[Pool | None]) -> None:
    while (pool := to_device.get()) is not None:
        began = time.monotonic()
        try:
            _embed(runtime, pool)
        except BaseException as error:  # whatever it is, the writer waits for the pool
            pool.error = error if isinstance(error, Exception) else PluginError(f"The embedder raised {error!r}.")
        if pool.texts and pool.error is None:
            reader.patient = time.monotonic() - began >= SLOW
        pool.embedded.set()


def _save_each(runtime: Runtime, reader: Reader, to_writer: queue.Queue[Pool | None]) -> None:
    while (pool := to_writer.get()) is not None:
        pool.embedded.wait()
        try:
            _save(runtime, pool)
        except Exception as error:
            reader.error = error
        finally:
            reader.forget(pool)


class Reader:
    """Claims documents and gathers the texts that are not embedded yet, each text once."""

    def __init__(self, runtime: Runtime, claims: Claims) -> None:
        self._runtime = runtime
        self._claims = claims
        self._size = runtime.settings.embed.pool_chunks
        self._in_flight: set[str] = set()
        self.patient = True  # the embedder is slow, or not known yet
        self.error: Exception | None = None

    def forget(self, pool: Pool) -> None:
        """The pool was saved, or given up."""
        self._in_flight.difference_update(pool.texts)

    def pools(self) -> Iterator[Pool]:
        """Pools of at most about ``embed.pool_chunks`` texts; the last one of each claim says so."""
        while self.error is None and (held := self._claims.take()) is not None:
            try:
                yield from self._pools_of(held)
            except Exception:
                held.close()  # its last pool, which would close it, never comes
                raise

    def _pools_of(self, held: Held) -> Iterator[Pool]:
        units = sorted(held.claim.units, key=lambda unit: unit.generation_id)
        pool = Pool(generation_id=units[0].generation_id, held=held)
        before = frozenset(self._in_flight)  # what is saved while this is read is not missing
        whole = self._whole(units)
        for unit in units:
            pages = [(whole[unit.key], True)] if unit.key in whole else self._pages(held, unit)
            for page, complete in pages:
                if pool.generation_id != unit.generation_id or len(pool.texts) >= self._size:
                    yield pool
                    pool = Pool(generation_id=unit.generation_id, held=held)
                self._collect(pool, unit, page, before)
                if complete:
                    pool.finished.add(unit.key)
        pool.last = True
        yield pool

    def _whole(self, units: list[Unit]) -> dict[tuple[int, int], list]:
        """Missing texts of the documents that fit a pool; a claim has about a pool's worth of them."""
        found: dict[tuple[int, int], list] = {}
        for _, own in by_generation(unit for unit in units if unit.chunks <= self._size):
            with self._runtime.ledger.read() as tx:
                found |= content.unembedded_of(tx, own)
        return found

    def _pages(self, held: Held, unit: Unit) -> Iterator[tuple[list, bool]]:
        """Missing texts of a unit, and whether they are the last; a large document is left after some pages."""
        after = -1
        for _ in range(PAGES):
            with self._runtime.ledger.read() as tx:
                rows = content.unembedded(tx, unit, after=after, limit=self._size)
            complete = len(rows) < self._size
            yield rows, complete
            if complete or self._claims.over or held.wanted:
                return
            after = rows[-1][0]

    def _collect(self, pool: Pool, unit: Unit, rows: list[tuple[int, str, str]], before: frozenset[str]) -> None:
        pool.units[unit.key] = unit
        for _, key, text in rows:
            if key not in self._in_flight and key not in before:
                self._in_flight.add(key)
                pool.texts[key] = text
                pool.counts[unit.key] = pool.counts.get(unit.key, 0) + 1


def _embed(runtime: Runtime, pool: Pool) -> None:
    """The pool's vectors, or its error."""
    if not pool.texts:
        return
    try:
        pool.held.hold.check()
        dimension = runtime.generation(pool.generation_id).dimension
    except Exception as error:
        pool.error = error
        return
    try:
        embedder = runtime.embedder(pool.generation_id)
        encoder = sparse_encoder(runtime, pool.generation_id)
    except Exception as error:
        pool.error = unready(runtime, pool.generation_id, error)
        return

    def embed(texts: list[str]) -> object:
        size = runtime.settings.embed.batch_size
        return runtime.host.call(embedder.embed_texts, texts, batch_size=size, mode=EmbeddingMode.DOCUMENT)

    def encode(texts: list[str]) -> list[bytes] | None:
        if encoder is None:
            return None
        return checked_sparse(runtime.host.call(encoder.embed_sparse, texts, mode=EmbeddingMode.DOCUMENT), len(texts))

    try:
        texts = list(pool.texts.values())
        pool.vectors, pool.sparse = checked(embed(texts), len(texts), dimension), encode(texts)
    except Exception as error:
        pool.error = blame(runtime, pool.generation_id, error, lambda: (embed([READY]), encode([READY])))


def checked(vectors: object, count: int, dimension: int) -> np.ndarray:
    """The vectors as a (count, dimension) float32 array; raises for another shape or values that aren't finite."""
    import numpy as np

    array = np.asarray(vectors, dtype="<f4")
    if array.ndim != 2 or len(array) != count:
        raise PermanentError(f"The embedder returned an array of shape {array.shape} for {count} texts.")
    if array.shape[1] != dimension:
        raise FingerprintMismatch(
            f"The model's vectors have {array.shape[1]} dimensions; the index has {dimension}.",
            "Use the model that the collection was built with, or `semantik reindex` it with this one.",
        )
    if not np.isfinite(array).all():
        raise PermanentError("The embedder returned a vector that is not finite.")
    return array


def _save(runtime: Runtime, pool: Pool) -> None:
    """Keep the pool's vectors; documents of which nothing is missing go on to ``upsert``."""
    claim = pool.held.claim
    try:
        if pool.error is not None:
            fail(runtime, claim, pool.units.values(), pool.error)
            return
        rows = _rows(pool)
        with runtime.ledger.write() as tx:
            mine = work.held(tx, claim.token)
            content.save_embeddings(tx, rows)
            _advance(tx, [unit for key, unit in pool.units.items() if key in mine], pool)
        pool.held.hold.touch()
        if pool.finished:
            runtime.ring("upsert")
    finally:
        if pool.last:
            pool.held.close()


def _rows(pool: Pool) -> dict[str, bytes]:
    if pool.vectors is None:
        return {}
    dense = [row.tobytes() for row in pool.vectors]
    sparse = pool.sparse if pool.sparse is not None else [b""] * len(dense)
    return {key: one + other for key, one, other in zip(pool.texts, dense, sparse, strict=True)}


def _advance(tx: Transaction, units: list[Unit], pool: Pool) -> None:
    finished = [unit for unit in units if unit.key in pool.finished]
    bulk_moves.move_all(tx, [(unit, "upsert", {"embedded_more": pool.counts.get(unit.key, 0)}) for unit in finished])
    for unit in units:
        if unit.key not in pool.finished:
            embedded = work.embedded_more(pool.counts.get(unit.key, 0))
            work.save_progress(tx, unit, embedded=embedded, turn=work.later(1))
