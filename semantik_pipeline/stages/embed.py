"""embed: turn chunks into vectors. Leaves embedding rows behind, by the hash of the exact model input.

Several threads run side by side so that the device never waits. A reader claims documents and gathers texts, embedder
threads compute vectors, and a writer saves them and sends finished documents on. A fast embedder gets two pools at
once, so that one is tokenized while the other is on the device. One pool waits before the embedder and one behind it.
This bounds memory and the work that a kill can lose.
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


#: Number of pools that one claim takes of a large document, so that the document shares the stage with others.
PAGES = 4

#: SLOW: an embedder that needs at least this many seconds for a pool counts as slow. It gets one pool at a time, with
#: at most one more waiting, so that a claim of few documents does not wait behind two pools. AT_ONCE: number of pools
#: that a fast embedder has at once.
SLOW, AT_ONCE = 0.5, 2


@dataclass(kw_only=True)
class Pool:
    """Texts for one generation's model, by embedding key, and the units they belong to."""

    generation_id: int
    held: Held
    texts: dict[str, str] = field(default_factory=dict)
    counts: dict[tuple[int, int], int] = field(default_factory=dict)  # unit key -> number of its texts in this pool
    units: dict[tuple[int, int], Unit] = field(default_factory=dict)
    finished: set[tuple[int, int]] = field(default_factory=set)  # nothing of these is missing once this pool is saved
    last: bool = False  # whether this is the last pool of the claim
    vectors: np.ndarray | None = None
    sparse: list[bytes] | None = None  # packed sparse vectors, if the collection has a sparse model
    error: Exception | None = None
    embedded: threading.Event = field(default_factory=threading.Event)  # set once the pool is embedded or has failed


def run(runtime: Runtime, claims: Claims) -> None:
    """Embed until the stage is dry or the loop's time is over."""
    gathered: queue.Queue[Pool | None] = queue.Queue(maxsize=1)
    to_device: queue.Queue[Pool | None] = queue.Queue()  # bounded by the writer's queue
    to_writer: queue.Queue[Pool | None] = queue.Queue(maxsize=1)
    reader = Reader(runtime, claims)
    threads = [
        *(_thread("embed-device", _embed_each, runtime, reader, to_device) for _ in range(AT_ONCE)),
        _thread("embed-writer", _save_each, runtime, reader, to_writer),
        _thread("embed-reader", _feed, reader, gathered),  # last: claims need the other threads
    ]
    started: list[threading.Thread] = []
    try:
        for thread in threads:
            thread.start()
            started.append(thread)
        while (pool := gathered.get()) is not None:
            gathered.task_done()  # the pool no longer waits
            to_device.put(pool)
            if reader.patient:
                pool.embedded.wait()
            to_writer.put(pool)  # in order, because the last pool of a claim closes the claim
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
    """Load the models and warm them up."""
    embedder, encoder = runtime.embedder(generation), sparse_encoder(runtime, generation)
    runtime.host.call(embedder.embed_texts, [READY], mode=EmbeddingMode.QUERY)
    if encoder is not None:
        runtime.host.call(encoder.embed_sparse, [READY], mode=EmbeddingMode.QUERY)


def _feed(reader: Reader, gathered: queue.Queue[Pool | None]) -> None:
    try:
        for pool in reader.pools():
            gathered.put(pool)
            if reader.patient:
                # wait until the pool goes to the device: a unit claimed now would go before all units that arrive later
                gathered.join()
    except Exception as error:
        reader.error = error
    finally:
        gathered.put(None)


def _embed_each(runtime: Runtime, reader: Reader, to_device: queue.Queue[Pool | None]) -> None:
    while (pool := to_device.get()) is not None:
        began = time.monotonic()
        try:
            _embed(runtime, pool)
        except BaseException as error:  # any error: the writer waits for this pool
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
        self.patient = True  # whether the embedder is slow, or its speed is not known yet
        self.error: Exception | None = None

    def forget(self, pool: Pool) -> None:
        """Drop a saved or failed pool from the texts in flight."""
        self._in_flight.difference_update(pool.texts)

    def pools(self) -> Iterator[Pool]:
        """Yield pools of about ``embed.pool_chunks`` texts each. The last pool of each claim has ``last`` set."""
        while self.error is None and (held := self._claims.take()) is not None:
            try:
                yield from self._pools_of(held)
            except Exception:
                held.close()  # the last pool, which would close the claim, never comes
                raise

    def _pools_of(self, held: Held) -> Iterator[Pool]:
        units = sorted(held.claim.units, key=lambda unit: unit.generation_id)
        pool = Pool(generation_id=units[0].generation_id, held=held)
        before = frozenset(self._in_flight)  # these may be saved during the reading, so they are not missing
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
        """Return the missing texts, by unit key, of the documents that fit into one pool.

        A claim holds about one pool of texts.
        """
        found: dict[tuple[int, int], list] = {}
        for _, own in by_generation(unit for unit in units if unit.chunks <= self._size):
            with self._runtime.ledger.read() as tx:
                found |= content.unembedded_of(tx, own)
        return found

    def _pages(self, held: Held, unit: Unit) -> Iterator[tuple[list, bool]]:
        """Yield ``(missing texts of a unit, whether these are the last)``.

        Stops after some pages of a large document.
        """
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
    """Set the pool's vectors, or its error."""
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
    """Return the vectors as a float32 array of shape (count, dimension).

    Raises PermanentError for a wrong number of vectors or values that are not finite, and FingerprintMismatch for
    another dimension.
    """
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
    """Save the pool's vectors. Documents of which nothing is missing go on to ``upsert``."""
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
