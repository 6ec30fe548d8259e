"""The end of a run that enumerated everything its source has: adopt unfinished units, then finish the source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from semantik_pipeline.ledger.ingestion import adoption
from semantik_pipeline.ledger.ingestion import sync as ledger
from semantik_pipeline.ledger.ingestion.sync import SourceClaim
from semantik_pipeline.ledger.queue import fair_queue
from semantik_pipeline.ledger.queue.leases import Hold
from semantik_pipeline.stages.holding import apply_all

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime


def complete(
    runtime: Runtime, claim: SourceClaim, hold: Hold, *, next_run: Any, problems: list[str], older_than: float
) -> None:
    """End the run, in short transactions.

    Units that earlier operations left unfinished become part of this operation. Indexed documents on which an extractor
    failed at least ``older_than`` seconds ago go through ``extract`` again. If another worker holds the source by now,
    nothing more is done. If the operation was paused in the meantime, the run ends later.
    """
    apply_all(runtime, claim.source_id, hold)
    with runtime.ledger.read() as tx:
        page: adoption.Page | None = adoption.first_page(tx, claim)
        noted = adoption.is_noted(tx, claim, older_than=older_than)
    retried, ended, goes_first = noted, False, False
    while not ended:
        with runtime.ledger.write() as tx:
            if not ledger.source_held(tx, claim):
                break
            if ledger.on_hold(tx, claim):
                ledger.pause_slice(tx, claim)
                break
            if page is not None:
                page = adoption.adopt(tx, claim, page)
            if noted:
                noted = adoption.retry_noted(tx, claim, older_than=older_than) == adoption.PAGE
            ended = page is None and not noted
            if ended:
                goes_first = fair_queue.hasten(tx, claim.source_id)
                ledger.finish_source(tx, claim, next_run=next_run, problems=problems)
        hold.touch()
    if goes_first:
        runtime.room.precedence.expect()
    if retried:
        runtime.ring("extract")
    runtime.ring("upsert")
