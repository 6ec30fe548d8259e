"""The stage ``maintenance``: periodic work that keeps the pipeline running. Idempotent; it has no output of its own."""

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

#: Seconds that one tick spends on each long task (removals, a sweep and others). The next tick continues it: expired
#: leases and schedules must not wait for a hundred thousand deletions.
SLICE = 2.0

#: The ledger's name for the time of the last tick.
TICK = "tick"

#: The ledger's name for the time when leases were last spared.
SPARED = "spare"

HOUR, DAY = 3600.0, 86400.0


def tick(runtime: Runtime, *, alone: bool = False) -> bool:
    """Run all maintenance steps; return whether one of the long tasks could continue at once.

    The steps: free expired leases, ring for all due work, reconcile points written without a lease, finish operations,
    begin scheduled syncs, and continue long tasks. Each step fails alone, so a failing source, operation or store does
    not stop the others. Raises ServiceUnavailable if the ledger is unavailable.

    ``alone``: no other worker is alive, so every lease belongs to a dead worker.
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
    """Run a tick, or, shortly after a tick, only continue the long tasks; return whether one could continue at once."""
    lately = time.monotonic() - runtime.ticked < runtime.settings.work.poll
    return advance(runtime) if lately else tick(runtime)


def advance(runtime: Runtime) -> bool:
    """Continue each long task for about SLICE seconds, and ring for the units that became due.

    Returns whether a task could continue at once.
    """
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
    """Free the leases of dead workers, or spare all leases after an outage; return whether they were spared."""
    settings = runtime.settings.work
    units: list[expired_leases.Death] = []
    freed = 0
    with runtime.ledger.write() as tx:
        spared = not alone and _slept(runtime, tx)
        if spared:
            expired_leases.spare(
                tx, seconds=2 * settings.lease_renewal
            )  # a lease that can't be spared is not counted as a death in this tick either
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
    """Send documents whose points may have been written without a lease through ``upsert`` again."""
    with runtime.ledger.write() as tx:
        reconciling.reconcile(tx)


def settle(runtime: Runtime) -> None:
    """Finish the operations that have nothing left to do.

    Each is finished in its own transaction, so that nothing waits for locks on operations that continue. A failure of
    one does not stop the others, except if the ledger is unavailable.
    """

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
    """Whether there was no tick for so long that living workers may have lost their leases too.

    Then the ledger was unavailable or the host slept, and lost leases are not counted as deaths. If the last sparing
    tick has not been noted as ended (:func:`_note_end`), this returns False: where ticks take as long as an outage,
    dead workers would otherwise be spared forever.
    """
    age, spared = chores.age(tx, TICK), chores.age(tx, SPARED)
    if age is None or (spared is not None and spared < age):
        return False
    return age > _outage(runtime)


def _outage(runtime: Runtime) -> float:
    """Return the seconds without a tick after which leases of living workers may have expired."""
    return runtime.settings.work.lease + 2 * runtime.settings.schedule.tick


def _note_end(runtime: Runtime) -> None:
    """Record the end of a tick that spared all leases, so that a late next tick counts as a new outage.

    A tick that itself took as long as an outage is not recorded.
    """
    with runtime.ledger.write() as tx:
        took = chores.age(tx, SPARED)
        if took is not None and took <= _outage(runtime):
            chores.note(tx, TICK)


def ring_due(runtime: Runtime) -> list[str]:
    """Ring for every stage that has a unit which could be claimed now; return these stages."""
    with runtime.ledger.read() as tx:
        stages = due.stages(tx)
        if any(sync.sources_due(tx)):
            stages.insert(0, "sync")
    for stage in stages:
        runtime.ring(stage)
    return stages


def _sweep(runtime: Runtime) -> bool:
    """Continue this process's sweep, or begin one; return whether it is unfinished.

    A sweep begins once an hour, in one worker. If the process dies during a sweep, the next sweep does the rest.
    """
    until = time.monotonic() + SLICE
    if not runtime.sweeping.acquire(blocking=False):
        return False  # another thread is sweeping
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
        runtime.sweep = None  # a generator that raised can't continue
        raise
    finally:
        runtime.sweeping.release()


def _pieces(runtime: Runtime) -> Iterator[None]:
    """Remove expired rows, and cached results and stored bodies that nothing refers to.

    Each step between two yields is one short transaction, or one folder of bodies.
    """
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
            runtime.blobs.remove_many(kind, unused)
            yield
    yield from _lost_words(runtime)


def _lost_words(runtime: Runtime) -> Iterator[None]:
    """Remove unused words last and separately, because only this part of a sweep needs the store."""
    try:
        yield from vocabulary.sweep(runtime)
    except PipelineError as error:
        log.warning("Words that no document contains any more are left for the next sweep: %s", error)
