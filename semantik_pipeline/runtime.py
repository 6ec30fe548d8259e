"""The composition root: from settings to a ledger, blobs, plugins and a store. Builds late, closes all."""

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

#: What a child process loads: the kinds that run there, and embedders for their tokenizers.
CHILD_KINDS = ("parser", "chunking", "extractor", "embedding")

#: How long an answer about a fingerprint is believed, in seconds.
REFUSAL_SECONDS = 30.0


class Runtime:
    """What a process works with. Every part is made when it is first asked for.

    ``ring(stage)`` tells the workers that a stage has work; it is set by whoever knows the broker.
    """

    def __init__(self, settings: Settings, *, ring: Callable[[str], None] | None = None) -> None:
        self.settings = settings
        self.ring = ring or (lambda stage: None)
        self.worker_id = logs.worker_id()
        self.tally = Tally()
        self._generations: dict[int, Generation] = {}
        self._indexes: set[str] = set()
        self._alike: set[tuple[str, str]] = set()  # indexes, and legs of them, whose vectors this process gives
        self._lock = threading.RLock()
        self.stopping = threading.Event()  # the process is to end
        self.closed = False
        self.scheduling = True  # maintenance begins scheduled syncs; not in a process that ends with its one command
        self.left = LeftWork()
        self.resting = threading.Event()  # an operator drained it: it lives, and takes no work
        self._refusals: dict[tuple[int, str], tuple[float, str | None]] = {}
        self.fatal: Exception | None = None  # what no unit can be blamed for and no retry mends: a full disk
        self.statistics = Statistics()  # those that the ledger's planner has
        self.ticked = float("-inf")  # when maintenance's last tick of this process ended, by time.monotonic()
        self.sweep: Iterator[None] | None = None  # maintenance's sweep, as far as its last tick came
        self.embeds = True  # this process embeds; one that does not leaves a build's gate to others
        self.build_gates: dict[int, Gate] = {}  # builds that this process judges, as far as its last tick came
        self.advancing = threading.Lock()  # held by the thread that goes on with builds
        self.sweeping = threading.Lock()

    @part
    def ledger(self) -> Ledger:
        return Ledger(self.settings.database_url)

    @cached_property
    def blobs(self) -> Blobs:
        return Blobs(self.settings.blob_url)

    @part
    def host(self) -> PluginHost:
        """The plugins, loaded once, from the shared state file. A broken file stops the process here."""
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
        """One embedding loop and one writer of the store; as many parsing loops as there are children for them."""
        return Gates({"chunk": self.child_count, "extract": self.child_count})

    @cached_property
    def room(self) -> Room:
        """Who works beside whom in this process: a suspect works alone."""
        return Room()

    @cached_property
    def traces(self) -> Traces | None:
        """Where spans go; None where nobody asked for them."""
        return open_traces(self.settings.trace.sample_ratio)

    @cached_property
    def journal(self) -> Journal:
        """What becomes of claims, for logs and traces."""
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
        """The API keys that callers showed lately."""
        from semantik_pipeline.access import Keyring

        return Keyring()

    @part
    def keeper(self) -> Keeper:
        return Keeper(self.settings.work.lease_renewal)

    @property
    def store(self) -> VectorDBPlugin:
        """The vector store. The embedded one belongs to one process; raises DataFolderInUse in a second."""
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
        """A generation never changes what it is built of, so it is read once."""
        if generation_id not in self._generations:
            with self.ledger.read() as tx:
                self._generations[generation_id] = ledger_collections.get_generation(tx, generation_id)
        return self._generations[generation_id]

    @contextmanager
    def own(self) -> Iterator[None]:
        """Take the data folder for this process, as everything must that works on the embedded index.

        Raises DataFolderInUse naming the process that has it. The lock goes with the process, however it ends.
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
        """Let the note of this process, which owns the data folder, say where it answers HTTP requests."""
        note = self.settings.data_dir / OWNER_NOTE
        fresh = note.with_suffix(".new")
        fresh.write_text(json.dumps({"pid": os.getpid(), "command": " ".join(sys.argv), "url": url}), "utf-8")
        fresh.replace(note)

    def owner(self) -> dict[str, Any] | None:
        """``{"pid", "command"}`` of the process that owns the data folder, and ``url`` if it serves; None if none does."""
        import psutil

        note = read_note(self.settings.data_dir / OWNER_NOTE)
        return note if note and psutil.pid_exists(note["pid"]) else None  # a killed owner leaves its note behind

    @property
    def idle(self) -> bool:
        """Whether this process takes no more work: it is to end, or drained, or nothing that it does can succeed."""
        return self.stopping.is_set() or self.resting.is_set() or self.fatal is not None

    def in_hand(self, names: int) -> dict[str, Any]:
        """``{"stages": {stage: units}, "documents": [at most so many names], "sources": [names]}`` that it holds."""
        with self.ledger.read() as tx:
            return ledger_workers.in_hand(tx, self.keeper.tokens(), limit=names)

    def models(self) -> list[dict[str, Any]]:
        """The models that this process has loaded."""
        return self.host.models() if "host" in self.__dict__ else []

    def refusals(self, stages: Iterable[str]) -> dict[str, str]:
        """``"generation:stage"`` -> why this process leaves those units of these stages to others, and ``"source:sync"``
        -> why it leaves that source."""
        left = {f"{source_id}:sync": reason for source_id, reason in self.left.reasons().items()}
        asked = [(generation, stage) for generation in self.live_generations() for stage in stages]
        reasons = {f"{generation}:{stage}": self.refusal(generation, stage) for generation, stage in asked}
        return left | {place: reason for place, reason in reasons.items() if reason is not None}

    def fingerprints(self) -> dict[str, dict[str, Any]]:
        """Generation -> the fingerprints of its stages as this process would give them; what it can't give is absent."""
        found = {}
        for generation_id in self.live_generations():
            generation = self.generation(generation_id)
            with suppress(Exception):  # whatever a plugin raises: `refusals` tells it
                found[str(generation_id)] = generations.fingerprints(self.host, generation.config)
        return found

    def live_generations(self) -> list[int]:
        """Generations that are written to, of collections that are not in the trash."""
        with self.ledger.ask() as tx:
            return ledger_collections.shown_generation_ids(tx)

    def refusal(self, generation_id: int, stage: str) -> str | None:
        """Why this process cannot do a stage of a generation, or None; asked again after a while."""
        asked, reason = self._refusals.get((generation_id, stage), (-REFUSAL_SECONDS, None))
        if time.monotonic() - asked > REFUSAL_SECONDS:
            reason = generations.refusal(self.host, self.generation(generation_id), stage)
            self._refusals[generation_id, stage] = (time.monotonic(), reason)
        return reason

    def refuse(self, generation_id: int, stage: str, reason: str, *, seconds: float) -> None:
        """Leave a stage of a generation to others for a while: it does not work here."""
        self._refusals[generation_id, stage] = (time.monotonic() - REFUSAL_SECONDS + seconds, reason)

    def embedder(self, generation: Generation | int) -> EmbeddingPlugin:
        """The generation's embedder, its model loaded. Raises as :meth:`check_encoder` does."""
        found = generation if isinstance(generation, Generation) else self.generation(generation)
        self.check_encoder(found, "dense")
        choice = found.config["embedding"]
        return self.host.instance(choice["plugin"], choice["options"], frozen=True, kind="embedding")

    def check_encoder(self, generation: Generation, leg: str) -> None:
        """Raise FingerprintMismatch unless this process gives the generation's vectors of a leg, ``dense`` or ``sparse``.
        Plugins and models are loaded once, so what was found alike stays so."""
        if (generation.index, leg) not in self._alike:
            generations.check_encoder(self.host, generation, leg)
            self._alike.add((generation.index, leg))

    def index(self, generation: Generation) -> str:
        """The name of the generation's index, which exists from here on."""
        with self._lock:
            if generation.index not in self._indexes:
                spec = generations.index_spec(generation, self.settings.store.payload_indexes)
                self.host.call(self.store.create_index, generation.index, spec)
                self._indexes.add(generation.index)
        return generation.index

    def existing_index(self, generation: Generation) -> str | None:
        """The name of the generation's index; None, and nothing is made, if the store has none: nothing was indexed
        yet, or it was lost, which whoever reads must not hide from whoever writes."""
        with self._lock:
            there = generation.index in self._indexes
        if there or self.host.call(self.store.has_index, generation.index):
            return self.index(generation)
        return None

    def drop_index(self, name: str) -> None:
        """Remove an index that nothing reads or writes any more; a missing one is fine."""
        with self._lock:
            self.host.call(self.store.drop_index, name)
            self.forget_index(name)

    def forget_index(self, index: str) -> None:
        """The index is gone from the store. What is known here of its generation is forgotten: SQLite gives the id of
        the newest row again when that row is gone."""
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
        """The collection of that name; made, with ``config`` over the settings' defaults, if there is none."""
        with self.ledger.read() as tx:
            found = ledger_collections.find_collection(tx, name)
        made = found or collections.make(self, name, config)
        if made is not None:
            return made
        with self.ledger.read() as tx:  # another made it in this moment
            return ledger_collections.get_collection(tx, name)

    def close(self) -> None:
        """Give everything back, in the reverse order of making; what was never made is not made now, nor afterwards."""
        self.closed = True
        for name in ("keeper", "children", "traces", "host", "ledger"):
            made = self.__dict__.pop(name, None)
            if made is not None:
                made.close()

    def __enter__(self) -> Runtime:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
