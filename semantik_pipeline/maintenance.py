"""maintenance: what keeps the pipeline going by itself. Leaves nothing behind; doing it twice does no harm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from semantik_pipeline.ledger import chores, content, deaths, operations, sync, work

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime

#: Seconds between sweeps of the caches.
SWEEP = 3600.0

DAY = 86400.0


def tick(runtime: Runtime, *, alone: bool = False) -> None:
    """Free expired leases, mend what lost its lease, finish operations, ring for all that is due.

    ``alone``: no other worker lives, so every lease is a dead one's.
    """
    settings = runtime.settings.work
    with runtime.ledger.write() as tx:
        deaths.expire(tx, max_attempts=settings.max_attempts, backoff=settings.backoff, everything=alone)
        sync.expire_sources(tx, max_attempts=settings.max_attempts, everything=alone)
        work.reconcile(tx)
        operations.settle(tx)
    ring_due(runtime)
    _sweep(runtime)


def ring_due(runtime: Runtime) -> list[str]:
    """Ring for every stage that has a unit which could be claimed now."""
    with runtime.ledger.read() as tx:
        due = work.due_stages(tx)
        if sync.sources_due(tx):
            due.insert(0, "sync")
    for stage in due:
        runtime.ring(stage)
    return due


def _sweep(runtime: Runtime) -> None:
    """Remove cached results and stored bodies that nothing refers to; once an hour, by one worker."""
    with runtime.ledger.write() as tx:
        if not chores.take(tx, "sweep", every=SWEEP):
            return
        content.sweep(tx, older_than=runtime.settings.retention.cache_days * DAY)
    for kind in ("raw", "parsed"):
        for keys in runtime.blobs.keys(kind, older_than=runtime.settings.retention.cache_days * DAY):
            with runtime.ledger.read() as tx:
                unused = content.unused_bodies(tx, kind, keys)
            for key in unused:
                runtime.blobs.remove(kind, key)
