"""The units of an operation that was paused, let go on or cancelled are held, or let go, a slice at a time, whoever goes on
with that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from semantik_pipeline.ledger.operations import holds
from semantik_pipeline.ledger.queue import pending_holds
from semantik_pipeline.ledger.queue.leases import Hold

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime


def apply(runtime: Runtime, operation_id: int) -> bool:
    """Hold some of the operation's units, or let them go; returns whether there may be more."""
    with runtime.ledger.read() as tx:
        seen = holds.look(tx, operation_id)
    if seen is None:
        return False
    with runtime.ledger.write() as tx:
        holds.apply(tx, seen)
    return True


def apply_all(runtime: Runtime, source_id: int, lease: Hold) -> None:
    """Hold what is to wait of a source: who takes up what operations hold finds all of it then, and none of it is held
    afterwards."""
    with runtime.ledger.read() as tx:
        left = pending_holds.stopped(tx, of_source=source_id)
    for operation_id in left:
        while apply(runtime, operation_id):
            lease.touch()
