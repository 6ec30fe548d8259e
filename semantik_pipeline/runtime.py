"""The composition root: builds ledger, blobs, plugins and store from the settings at their first use; closes them."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from semantik_pipeline import collections, generations, logs
from semantik_pipeline.blobs import Blobs
from semantik_pipeline.contracts import EmbeddingPlugin, VectorDBPlugin
from semantik_pipeline.errors import SettingsError
from semantik_pipeline.lazy_parts import part
from semantik_pipeline.ledger import Ledger
from semantik_pipeline.ledger.catalog import collections as ledger_collections
from semantik_pipeline.ledger.catalog.collections import Collection, Generation
from semantik_pipeline.ledger.database.statistics import Statistics
from semantik_pipeline.ledger.queue import workers as ledger_workers
from semantik_pipeline.ledger.queue.leases import Keeper
from semantik_pipeline.ownership import OWNER_NOTE, in_use, read_note
from semantik_pipeline.plugins.child import ChildPool
from semantik_pipeline.plugins.host import PluginHost
from semantik_pipeline.plugins.residency import Budget
from semantik_pipeline.plugins.state import read_state
from semantik_pipeline.settings import Settings, visible_gpus
from semantik_pipeline.stages.gates import Gates
from semantik_pipeline.stages.journal import Journal
from semantik_pipeline.stages.left import LeftWork
from semantik_pipeline.stages.room import Room
from semantik_pipeline.tally import Tally
from semantik_pipeline.traces import Traces, open_traces

if TYPE_CHECKING:
    from semantik_pipeline.access import Keyring
    from semantik_pipeline.generations.gate import Gate
    from semantik_pipeline.search.completeness import Completeness
    from semantik_pipeline.search.index_languages import IndexLanguages
    from semantik_pipeline.search.query_vector import QueryVectors

#: Plugin kinds that a child process loads: those that run there, and embedders for their tokenizers.
CHILD_KINDS = ("parser", "chunking", "extractor", "embedding")

#: Seconds for which the answer of :meth:`Runtime.refusal` is cached.
REFUSAL_SECONDS = 30.0


class Runtime:
    """The parts that a process works with. Each is made at its first use.

    ``ring(stage)`` tells the workers that a stage has work; the code that knows the broker sets it.
    """

    def __init__(self, settings: Settings, *, ring: Callable[[str], None] | None = None) -> None:
        self.settings = settings
        self.ring = ring or (lambda stage: None)
        self.worker_id = logs.worker_id()
        self.tally = Tally()
        self._generations: dict[int, Generation] = {}
        self._indexes: set[str] = set()
        self._alike: set[tuple[str, str]] = set()  # (index, leg) whose vectors this process is known to reproduce
        self._lock = threading.RLock()
        self.stopping = threading.Event()  # set when the process should end
        self.closed = False
        self.scheduling = True  # maintenance begins scheduled syncs; False in a process that runs a single command
        self.left = LeftWork()
        self.resting = threading.Event()  # set while an operator has drained it: it stays alive but takes no work
        self._refusals: dict[tuple[int, str], tuple[float, str | None]] = {}
        self.fatal: Exception | None = None  # an error that no unit caused and no retry fixes, such as a full disk
        self.statistics = Statistics()  # of the ledger's query planner
        self.ticked = float("-inf")  # time.monotonic() at the end of this process's last maintenance tick
        self.sweep: Iterator[None] | None = None  # maintenance's unfinished sweep
        self.embeds = True  # whether this process embeds; if not, it leaves the gates of builds to other processes
        self.build_gates: dict[int, Gate] = {}  # builds that this process is checking, across ticks
        self.advancing = threading.Lock()  # held by the thread that advances builds
        self.sweeping = threading.Lock()

    @part
    def ledger(self) -> Ledger:
        return Ledger(self.settings.database_url)

    @cached_property
    def blobs(self) -> Blobs:
        return Blobs(self.settings.blob_url)

    @part
    def host(self) -> PluginHost:
        """The plugins, loaded once from the shared state file. A broken file stops the process here."""
        worker = self.settings.worker
        state = replace(read_state(self.settings.state_file), offered=self.settings.offered)
        budget = Budget(
            bytes=worker.model_memory_mb * 1024 * 1024,
            sharers=worker.gpu_sharers,
            limited=bool(worker.model_memory_mb or visible_gpus()),
        )
        return PluginHost.start(state, budget=budget, tally=self.tally)

    @part
    def children(self) -> ChildPool:
        memory = self.settings.child.memory_mb
        return ChildPool(self.child_count, self.host.state, kinds=CHILD_KINDS, memory_mb=memory)

    @cached_property
    def gates(self) -> Gates:
        """Limits: one embedding loop, one upsert loop, and as many parsing and extracting loops as child processes."""
        return Gates({"chunk": self.child_count, "extract": self.child_count})

    @cached_property
    def room(self) -> Room:
        """Controls which units run at the same time in this process: a suspect runs alone."""
        return Room()

    @cached_property
    def traces(self) -> Traces | None:
        """The destination of spans; None if tracing is off."""
        return open_traces(self.settings.trace.sample_ratio)

    @cached_property
    def journal(self) -> Journal:
        """Records the progress of claims in logs and traces."""
        return Journal(self)

    @property
    def child_count(self) -> int:
        return self.settings.child.processes or max(1, (os.cpu_count() or 2) - 1)

    @cached_property
    def completeness(self) -> Completeness:
        from semantik_pipeline.search.completeness import Completeness

        return Completeness()

    @cached_property
    def index_languages(self) -> IndexLanguages:
        from semantik_pipeline.search.index_languages import IndexLanguages

        return IndexLanguages()

    @cached_property
    def query_vectors(self) -> QueryVectors:
        from semantik_pipeline.search.query_vector import QueryVectors

        return QueryVectors()

    @cached_property
    def keyring(self) -> Keyring:
        """The cache of API keys that callers used recently."""
        from semantik_pipeline.access import Keyring

        return Keyring()

    @part
    def keeper(self) -> Keeper:
        return Keeper(self.settings.work.lease_renewal)

    @property
    def store(self) -> VectorDBPlugin:
        """The vector store. An embedded one belongs to one process; raises DataFolderInUse in a second process."""
        with self._lock:
            return self._store

    @cached_property
    def _store(self) -> VectorDBPlugin:
        settings = self.settings
        if settings.store.plugin:
            return self.host.instance(settings.store.plugin, dict(settings.store.options), kind="vectordb")
        if settings.qdrant.url:
            options = {"url": settings.qdrant.url}
            if settings.qdrant.api_key_env:
                options["api_key_env"] = settings.qdrant.api_key_env
            return self.host.instance("qdrant", options, kind="vectordb")
        return self.host.instance("qdrant-edge", {"path": str(settings.index_dir)}, kind="vectordb")

    def generation(self, generation_id: int) -> Generation:
        """Return a generation, read once and cached: its configuration is frozen."""
        if generation_id not in self._generations:
            with self.ledger.read() as tx:
                self._generations[generation_id] = ledger_collections.get_generation(tx, generation_id)
        return self._generations[generation_id]

    @contextmanager
    def own(self) -> Iterator[None]:
        """Lock the data folder for this process; required for all work on the embedded index.

        Raises DataFolderInUse, which names the owning process. The lock ends with the process, however it ends.
        """
        folder = self.settings.data_dir
        lock = FileLock(folder / "owner.lock")
        note = folder / OWNER_NOTE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except Timeout:
            raise in_use(folder, note) from None
        except OSError as error:
            raise SettingsError(
                f"The data folder {folder} can't be used: {error.strerror}.", "Choose another with --data-dir."
            ) from None
        try:
            note.write_text(json.dumps({"pid": os.getpid(), "command": " ".join(sys.argv)}), "utf-8")
            yield
        finally:
            note.unlink(missing_ok=True)
            lock.release()

    def announce(self, url: str) -> None:
        """Add the URL of this process's HTTP server to its note in the data folder, which it must own."""
        note = self.settings.data_dir / OWNER_NOTE
        fresh = note.with_suffix(".new")
        fresh.write_text(json.dumps({"pid": os.getpid(), "command": " ".join(sys.argv), "url": url}), "utf-8")
        fresh.replace(note)

    def owner(self) -> dict[str, Any] | None:
        """Return ``{"pid", "command"}`` of the process that owns the data folder, and ``url`` if it serves, or None."""
        import psutil

        note = read_note(self.settings.data_dir / OWNER_NOTE)
        return note if note and psutil.pid_exists(note["pid"]) else None  # a killed owner does not remove its note

    @property
    def idle(self) -> bool:
        """Whether this process takes no more work: it is stopping, drained, or has had a fatal error."""
        return self.stopping.is_set() or self.resting.is_set() or self.fatal is not None

    def in_hand(self, names: int) -> dict[str, Any]:
        """Return its units: ``{"stages": {stage: units}, "documents": [at most ``names``], "sources": [names]}``."""
        with self.ledger.read() as tx:
            return ledger_workers.in_hand(tx, self.keeper.tokens(), limit=names)

    def models(self) -> list[dict[str, Any]]:
        """Return information about the models that this process has loaded."""
        return self.host.models() if "host" in self.__dict__ else []

    def refusals(self, stages: Iterable[str]) -> dict[str, str]:
        """Return why this process leaves units of these stages to others, by ``"generation:stage"``, and sources, by
        ``"source:sync"``."""
        left = {f"{source_id}:sync": reason for source_id, reason in self.left.reasons().items()}
        asked = [(generation, stage) for generation in self.live_generations() for stage in stages]
        reasons = {f"{generation}:{stage}": self.refusal(generation, stage) for generation, stage in asked}
        return left | {place: reason for place, reason in reasons.items() if reason is not None}

    def fingerprints(self) -> dict[str, dict[str, Any]]:
        """Return the stages' fingerprints by generation, as far as this process can compute them."""
        found = {}
        for generation_id in self.live_generations():
            generation = self.generation(generation_id)
            with suppress(Exception):  # whatever a plugin raises; `refusals` reports it
                found[str(generation_id)] = generations.fingerprints(self.host, generation.config)
        return found

    def live_generations(self) -> list[int]:
        """Return the ids of generations that are written to, of collections that are not in the trash."""
        with self.ledger.ask() as tx:
            return ledger_collections.shown_generation_ids(tx)

    def refusal(self, generation_id: int, stage: str) -> str | None:
        """Return why this process can't do a stage of a generation, or None. Cached for REFUSAL_SECONDS."""
        asked, reason = self._refusals.get((generation_id, stage), (-REFUSAL_SECONDS, None))
        if time.monotonic() - asked > REFUSAL_SECONDS:
            reason = generations.refusal(self.host, self.generation(generation_id), stage)
            self._refusals[generation_id, stage] = (time.monotonic(), reason)
        return reason

    def refuse(self, generation_id: int, stage: str, reason: str, *, seconds: float) -> None:
        """Leave a stage of a generation to other processes for ``seconds`` seconds, because it fails here."""
        self._refusals[generation_id, stage] = (time.monotonic() - REFUSAL_SECONDS + seconds, reason)

    def embedder(self, generation: Generation | int) -> EmbeddingPlugin:
        """Return the generation's embedder with its model loaded. Raises what :meth:`check_encoder` raises."""
        found = generation if isinstance(generation, Generation) else self.generation(generation)
        self.check_encoder(found, "dense")
        choice = found.config["embedding"]
        return self.host.instance(choice["plugin"], choice["options"], frozen=True, kind="embedding")

    def check_encoder(self, generation: Generation, leg: str) -> None:
        """Raise FingerprintMismatch unless this process reproduces the generation's vectors of a leg, ``dense`` or
        ``sparse``. Only success is cached: plugins and models are loaded once."""
        if (generation.index, leg) not in self._alike:
            generations.check_encoder(self.host, generation, leg)
            self._alike.add((generation.index, leg))

    def index(self, generation: Generation) -> str:
        """Return the name of the generation's index; creates the index if it does not exist."""
        with self._lock:
            if generation.index not in self._indexes:
                spec = generations.index_spec(generation, self.settings.store.payload_indexes)
                self.host.call(self.store.create_index, generation.index, spec)
                self._indexes.add(generation.index)
        return generation.index

    def existing_index(self, generation: Generation) -> str | None:
        """Return the name of the generation's index, or None, without creating it, if the store has none: nothing was
        indexed yet, or the index was lost, and a reader that created it would hide the loss from writers."""
        with self._lock:
            there = generation.index in self._indexes
        if there or self.host.call(self.store.has_index, generation.index):
            return self.index(generation)
        return None

    def drop_index(self, name: str) -> None:
        """Remove an index that is not used any more. Idempotent."""
        with self._lock:
            self.host.call(self.store.drop_index, name)
            self.forget_index(name)

    def forget_index(self, index: str) -> None:
        """Forget what is cached about an index that was removed, and about its generation: SQLite reuses the id of the
        newest row after that row was deleted."""
        self.index_languages.forget(index)
        self.query_vectors.forget(index)
        with self._lock:
            self._indexes.discard(index)
            self._alike -= {(index, "dense"), (index, "sparse")}
            for generation in [one for one in self._generations.values() if one.index == index]:
                del self._generations[generation.id]
                self.completeness.forget(generation.id)
                for place in [place for place in self._refusals if place[0] == generation.id]:
                    del self._refusals[place]

    def collection(self, name: str, config: dict[str, Any] | None = None) -> Collection:
        """Return the collection, created from the settings' defaults and ``config`` if it does not exist."""
        with self.ledger.read() as tx:
            found = ledger_collections.find_collection(tx, name)
        made = found or collections.make(self, name, config)
        if made is not None:
            return made
        with self.ledger.read() as tx:  # another process has just created it
            return ledger_collections.get_collection(tx, name)

    def close(self) -> None:
        """Close all parts in the reverse order of creation; parts that do not exist are not created, now or later."""
        self.closed = True
        for name in ("keeper", "children", "traces", "host", "ledger"):
            made = self.__dict__.pop(name, None)
            if made is not None:
                made.close()

    def __enter__(self) -> Runtime:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
