"""maintenance: what keeps the pipeline going by itself. Leaves nothing behind; doing it twice does no harm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from semantik_pipeline import sources
from semantik_pipeline.ledger import chores, content, deaths, operations, retention, statistics, sync, work

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime

#: Seconds between sweeps of the caches.
SWEEP = 3600.0

#: Under which name the ledger keeps when the last tick was.
TICK = "tick"

HOUR, DAY = 3600.0, 86400.0


def tick(runtime: Runtime, *, alone: bool = False) -> None:
    """Free expired leases, mend what lost its lease, finish operations, begin scheduled syncs, ring for all that is due.

    ``alone``: no other worker lives, so every lease is a dead one's.
    """
    settings = runtime.settings.work
    with runtime.ledger.write() as tx:
        expired = deaths.expire(tx, max_attempts=settings.max_attempts, backoff=settings.backoff, everything=alone)
        deaths.expire_sources(tx, max_attempts=settings.max_attempts, everything=alone)
        work.reconcile(tx)
        operations.settle(tx)
        chores.note(tx, TICK)
    runtime.tally.count("lease_expiries", expired)
    sources.advance_removals(runtime)
    if runtime.scheduling and not runtime.stopping.is_set():
        sources.begin_due(runtime)
    ring_due(runtime)
    _gather_statistics(runtime)
    _sweep(runtime)


def ring_due(runtime: Runtime) -> list[str]:
    """Ring for every stage that has a unit which could be claimed now."""
    with runtime.ledger.read() as tx:
        due = work.due_stages(tx)
        if any(sync.sources_due(tx)):
            due.insert(0, "sync")
    for stage in due:
        runtime.ring(stage)
    return due


def _gather_statistics(runtime: Runtime) -> None:
    """Tell the ledger's planner how large its tables are, each time that they have doubled."""
    with runtime.ledger.read() as tx:
        doubled = statistics.due(tx)
    if doubled is not None and runtime.statistics_of != doubled:
        with runtime.ledger.write() as tx:
            statistics.refresh(tx, doubled)
        runtime.statistics_of = doubled


def _sweep(runtime: Runtime) -> None:
    """Remove what is too old, and cached results and stored bodies that nothing refers to; once an hour, by one
    worker."""
    with runtime.ledger.write() as tx:
        if not chores.take(tx, "sweep", every=SWEEP):
            return
        content.sweep(tx, older_than=runtime.settings.retention.cache_days * DAY)
    _forget(runtime)
    for kind in ("raw", "parsed"):
        for keys in runtime.blobs.keys(kind, older_than=runtime.settings.retention.cache_days * DAY):
            with runtime.ledger.read() as tx:
                unused = content.unused_bodies(tx, kind, keys)
            for key in unused:
                runtime.blobs.remove(kind, key)


def _forget(runtime: Runtime) -> None:
    """Remove old operations, audit entries and workers, a batch in a transaction."""
    kept = runtime.settings.retention
    for sweep, seconds in (
        (retention.sweep_operations, kept.operations_days * DAY),
        (retention.sweep_audit, kept.audit_days * DAY),
        (retention.sweep_workers, kept.workers_hours * HOUR),
    ):
        more = True
        while more and not runtime.stopping.is_set():
            with runtime.ledger.write() as tx:
                more = sweep(tx, older_than=seconds)
