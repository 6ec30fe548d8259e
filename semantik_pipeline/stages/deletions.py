"""Remove from the index what a source no longer has: at the end of a run, after one check of all deletions together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from semantik_pipeline.errors import LeaseLost, MassDeletion
from semantik_pipeline.ledger.ingestion import absence, revisions
from semantik_pipeline.ledger.ingestion import sync as ledger
from semantik_pipeline.ledger.ingestion.sync import SourceClaim
from semantik_pipeline.ledger.queue.leases import Hold

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime


def remove_vanished(runtime: Runtime, claim: SourceClaim, hold: Hold, *, full: bool) -> bool:
    """Remove the documents that the run did not name (``full``), or that the source reported as removed.

    Returns False if the operation is paused before everything is removed. Raises MassDeletion, and removes nothing, if
    the deletions exceed the deletion guard and are not allowed.
    """
    with runtime.ledger.read() as tx:
        gone, total = absence.count_vanished(tx, claim, full=full)
        allowed = absence.is_allowed(tx, claim)
    if not gone:
        return True
    if not allowed:
        _believe(runtime, claim, gone, total)
    while gone:
        with runtime.ledger.write() as tx:
            if not ledger.source_held(tx, claim):
                raise LeaseLost("Another worker syncs this source now.")
            if ledger.on_hold(tx, claim):
                return False
            gone = revisions.remove(tx, claim, full=full)
        hold.touch()
    runtime.ring("upsert")
    return True


def _believe(runtime: Runtime, claim: SourceClaim, gone: int, total: int) -> None:
    """Raise MassDeletion if more documents have vanished than the deletion guard accepts (a count *and* a share)."""
    settings = runtime.settings.sync
    if gone > settings.deletion_guard_count and gone > settings.deletion_guard_share * total:
        raise MassDeletion(
            f"{claim.name}: {gone} of {total} documents have vanished; nothing was deleted and the source is paused."
            " If that is right, sync or resume it with allow_deletions"
            f" (`semantik sources resume {claim.source_id} --allow-deletions`), or index it again with "
            "--allow-deletions."
        )
