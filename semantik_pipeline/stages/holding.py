"""The units of an operation that was paused, let go on or cancelled say so a slice at a time, whoever goes on with that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from semantik_pipeline.ledger.operations import holds
from semantik_pipeline.ledger.queue import marking
from semantik_pipeline.ledger.queue.leases import Hold

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime


def mark(runtime: Runtime, operation_id: int) -> bool:
    """Mark some of the operation's units; returns whether there may be more."""
    with runtime.ledger.read() as tx:
        seen = holds.look(tx, operation_id)
    if seen is None:
        return False
    with runtime.ledger.write() as tx:
        holds.mark(tx, seen)
    return True


def mark_all(runtime: Runtime, source_id: int, hold: Hold) -> None:
    """Mark what is to wait of a source: who takes up what operations hold finds all of it then, and none of it is held
    afterwards."""
    with runtime.ledger.read() as tx:
        left = marking.unmarked(tx, of_source=source_id)
    for operation_id in left:
        while mark(runtime, operation_id):
            hold.touch()
