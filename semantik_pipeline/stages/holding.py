"""Hold or release the units of an operation that was paused, resumed or cancelled.

The units change a slice at a time, and any process may continue where another one stopped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from semantik_pipeline.ledger.operations import holds
from semantik_pipeline.ledger.queue import pending_holds
from semantik_pipeline.ledger.queue.leases import Hold

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime


def apply(runtime: Runtime, operation_id: int) -> bool:
    """Hold or release the next units of the operation. Returns whether there may be more."""
    with runtime.ledger.read() as tx:
        seen = holds.look(tx, operation_id)
    if seen is None:
        return False
    with runtime.ledger.write() as tx:
        holds.apply(tx, seen)
    return True


def apply_all(runtime: Runtime, source_id: int, lease: Hold) -> None:
    """Hold all units of a source that pending pauses and cancellations must hold.

    A caller that takes up held units afterwards then finds all of them, and none becomes held later.
    """
    with runtime.ledger.read() as tx:
        left = pending_holds.stopped(tx, of_source=source_id)
    for operation_id in left:
        while apply(runtime, operation_id):
            lease.touch()
