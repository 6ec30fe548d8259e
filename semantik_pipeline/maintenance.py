"""maintenance: what keeps the pipeline going by itself. Leaves nothing behind; doing it twice does no harm."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from semantik_pipeline import operations as running
from semantik_pipeline import sources, trash, vocabulary
from semantik_pipeline.errors import PipelineError, ServiceUnavailable
from semantik_pipeline.generations import building
from semantik_pipeline.isolation import Step, isolated
from semantik_pipeline.ledger.access import idempotency
from semantik_pipeline.ledger.catalog import evaluations
from semantik_pipeline.ledger.database import chores
from semantik_pipeline.ledger.documents import forgetting
from semantik_pipeline.ledger.ingestion import sync
from semantik_pipeline.ledger.operations import lifecycle
from semantik_pipeline.ledger.queue import due, expired_leases, reconciling
from semantik_pipeline.ledger.retention import expiry
from semantik_pipeline.stages import withdrawal

if TYPE_CHECKING:
    from semantik_pipeline.ledger import Transaction
    from semantik_pipeline.runtime import Runtime

log = logging.getLogger(__name__)

#: Seconds between sweeps of the caches.
SWEEP = 3600.0

#: Seconds that one tick gives to removals, and to a sweep. The rest is the next tick's: expired leases and schedules
#: don't wait for a hundred thousand deletions.
SLICE = 2.0

#: Under which name the ledger keeps when the last tick was.
TICK = "tick"

#: Under which name it keeps when leases were spared last.
SPARED = "spare"

HOUR, DAY = 3600.0, 86400.0


def tick(runtime: Runtime, *, alone: bool = False) -> bool:
    """Free expired leases, ring for all that is due, mend what lost its lease, finish operations, begin scheduled syncs,
    and go on with what takes long. Returns whether something of that could go on at once.

    Bells come first, and each step fails alone: whatever goes wrong with a source, an operation or the store, everything
    else goes on. Raises ServiceUnavailable if the ledger is away.

    ``alone``: no other worker lives, so every lease is a dead one's.
    """
    spared = False
    with isolated(runtime, "leases", but=ServiceUnavailable):
        spared = _free(runtime, alone)
    at_once: tuple[tuple[Step, Callable[[Runtime], object]], ...] = (
        *(("bells", ring_due), ("reconcile", reconcile)),
        *(("operations", settle), ("schedules", _begin_due)),
    )
    for name, step in at_once:
        with isolated(runtime, name):
            step(runtime)
    more = advance(runtime)
    with isolated(runtime, "statistics"):
        runtime.statistics.refresh(runtime.ledger)
    if spared:
        with isolated(runtime, "leases"):
            _note_end(runtime)
    runtime.ticked = time.monotonic()
    return more


def work(runtime: Runtime) -> bool:
    """What a bell asks for: a tick, or, right after one, only to go on with what takes long. Returns as they do."""
    lately = time.monotonic() - runtime.ticked < runtime.settings.work.poll
    return advance(runtime) if lately else tick(runtime)


def advance(runtime: Runtime) -> bool:
    """Go on with what takes long, for about SLICE seconds each, and ring for what that made due. Returns whether something
    of it could go on at once."""
    more = False
    steps: tuple[tuple[Step, Callable[..., bool]], ...] = (
        ("holds", running.advance_holds),
        ("taking_up", running.advance_taking_up),
        ("removals", sources.advance_removals),
        ("builds", building.advance),
        ("withdrawals", withdrawal.advance),
        ("trash", trash.advance),
        ("permissions", sources.advance_permissions),
        ("vocabulary", vocabulary.advance),
    )
    for name, step in steps:
        with isolated(runtime, name):
            more = step(runtime, seconds=SLICE) or more
    with isolated(runtime, "bells"):
        ring_due(runtime)
    with isolated(runtime, "sweep"):
        more |= _sweep(runtime)
    return more


def _free(runtime: Runtime, alone: bool) -> bool:
    """Free what dead workers held; returns whether everybody was spared instead."""
    settings = runtime.settings.work
    units: list[expired_leases.Death] = []
    freed = 0
    with runtime.ledger.write() as tx:
        spared = not alone and _slept(runtime, tx)
        if spared:
            expired_leases.spare(
                tx, seconds=2 * settings.lease_renewal
            )  # what it can't is not held against anybody in this tick
            chores.note(tx, SPARED)
        else:
            units = expired_leases.expire(
                tx, max_attempts=settings.max_attempts, backoff=settings.backoff, everything=alone
            )
            freed = expired_leases.expire_sources(tx, max_attempts=settings.max_attempts, everything=alone)
            chores.note(tx, TICK)
    for death in units:
        runtime.tally.count("lease_expiries", stage=death.stage)
        if death.quarantined:
            runtime.tally.count("quarantines", stage=death.stage, error_type=expired_leases.DIED)
    runtime.tally.count("lease_expiries", freed, stage="sync")
    return spared


def reconcile(runtime: Runtime) -> None:
    """Have somebody look again at points that may have been written without a lease."""
    with runtime.ledger.write() as tx:
        reconciling.reconcile(tx)


def settle(runtime: Runtime) -> None:
    """Finish the operations that have nothing left to do, each in a transaction of its own: nobody waits for locks on those
    that go on. Whatever goes wrong with one keeps no other from its end, but for a ledger that is away."""

    def each(one: int) -> AbstractContextManager[None]:
        return isolated(runtime, "operations", f"operation {one}", but=ServiceUnavailable)

    with runtime.ledger.read() as tx:
        ready = lifecycle.ready(tx, each=each)
    for one in ready:
        with each(one), runtime.ledger.write() as tx:
            lifecycle.settle(tx, one)


def _begin_due(runtime: Runtime) -> None:
    if runtime.scheduling and not runtime.stopping.is_set():
        sources.begin_due(runtime)


def _slept(runtime: Runtime, tx: Transaction) -> bool:
    """Whether no tick came for so long that workers which live may have lost their leases as well: the ledger was away, or
    the host slept. That is no death, and is held against nobody. A tick that spared them and did not come to its end in
    time was the last one to do so: where ticks take long themselves, the dead would be spared for ever."""
    age, spared = chores.age(tx, TICK), chores.age(tx, SPARED)
    if age is None or (spared is not None and spared < age):
        return False
    return age > _outage(runtime)


def _outage(runtime: Runtime) -> float:
    """Seconds without a tick after which the leases of the living may be over."""
    return runtime.settings.work.lease + 2 * runtime.settings.schedule.tick


def _note_end(runtime: Runtime) -> None:
    """A tick that spared everybody ends, and counts as an ordinary one from here on: if the next one is late, that is
    another outage. One that took as long as an outage does not count."""
    with runtime.ledger.write() as tx:
        took = chores.age(tx, SPARED)
        if took is not None and took <= _outage(runtime):
            chores.note(tx, TICK)


def ring_due(runtime: Runtime) -> list[str]:
    """Ring for every stage that has a unit which could be claimed now."""
    with runtime.ledger.read() as tx:
        stages = due.stages(tx)
        if any(sync.sources_due(tx)):
            stages.insert(0, "sync")
    for stage in stages:
        runtime.ring(stage)
    return stages


def _sweep(runtime: Runtime) -> bool:
    """Go on with this process's sweep, or begin one: once an hour, by one worker. Returns whether it goes on. One that
    its process does not live to end is made up for by the next."""
    until = time.monotonic() + SLICE
    if not runtime.sweeping.acquire(blocking=False):
        return False  # another thread is at it
    try:
        if runtime.sweep is None:
            with runtime.ledger.write() as tx:
                if not chores.take(tx, "sweep", every=SWEEP):
                    return False
            runtime.sweep = _pieces(runtime)
        for _ in runtime.sweep:
            if runtime.stopping.is_set() or time.monotonic() >= until:
                return True
        runtime.sweep = None
        return False
    except BaseException:
        runtime.sweep = None  # a generator that raised is over
        raise
    finally:
        runtime.sweeping.release()


def _pieces(runtime: Runtime) -> Iterator[None]:
    """Remove what is too old, and cached results and stored bodies that nothing refers to: a short transaction, or a
    folder of bodies, between two yields."""
    kept = runtime.settings.retention
    cached = kept.cache_days * DAY
    for sweep in (forgetting.sweep_embeddings, forgetting.sweep_extractions):
        after: int | None = 0
        while after is not None:
            with runtime.ledger.write() as tx:
                after = sweep(tx, older_than=cached, after=after)
            yield
    old: tuple[tuple[Callable[..., bool], float], ...] = (
        (expiry.sweep_operations, kept.operations_days * DAY),
        (expiry.sweep_audit, kept.audit_days * DAY),
        (evaluations.sweep, kept.audit_days * DAY),
        (expiry.sweep_workers, kept.workers_hours * HOUR),
        (idempotency.sweep, idempotency.KEPT),
    )
    for forget, seconds in old:
        more = True
        while more:
            with runtime.ledger.write() as tx:
                more = forget(tx, older_than=seconds)
            yield
    for kind in ("raw", "parsed"):
        for keys in runtime.blobs.keys(kind, older_than=kept.blobs_days * DAY):
            with runtime.ledger.read() as tx:
                unused = forgetting.unused_bodies(tx, kind, keys)
            for key in unused:
                runtime.blobs.remove(kind, key)
            yield
    yield from _lost_words(runtime)


def _lost_words(runtime: Runtime) -> Iterator[None]:
    """Comes last and fails alone: nothing else of a sweep needs the store."""
    try:
        yield from vocabulary.sweep(runtime)
    except PipelineError as error:
        log.warning("Words that no document contains any more are left for the next sweep: %s", error)
