"""What becomes of a source whose slice failed: it is tried again, left to others, its sync has failed, or it is paused
and says why."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from semantik_pipeline.errors import (
    CredentialsRejected,
    MassDeletion,
    PipelineError,
    PluginLoadError,
    PluginNotFoundError,
    StorageFull,
    StorageUnavailable,
    TransientError,
    VariableNotSet,
)
from semantik_pipeline.ledger.ingestion import sync as ledger
from semantik_pipeline.ledger.ingestion.sync import SourceClaim
from semantik_pipeline.stages.unit_errors import AWAY, describe, told

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime

#: Errors after which a person must say how to go on.
ASKS = (CredentialsRejected, MassDeletion)

#: Errors that say what this process lacks, and another may have.
LACKS = (PluginNotFoundError, PluginLoadError, VariableNotSet)

log = logging.getLogger(__name__)


def fail_slice(runtime: Runtime, claim: SourceClaim, error: Exception) -> None:
    """A source that fails backs off; after the last attempt, or where retrying is no use, its sync has failed. One
    whose credentials are refused, or whose documents are nearly all gone, is paused and asks; one whose connector this
    process lacks is left to others; on a fleet, one for which the ledger or the blobs are away waits for them, while whoever
    types a command is told after the last attempt."""
    if isinstance(error, LACKS):
        _leave(runtime, claim, error)
        return
    if isinstance(error, StorageUnavailable) and runtime.settings.fleet:
        _wait(runtime, claim, error)
        return
    settings = runtime.settings.work
    if isinstance(error, StorageFull):
        runtime.fatal = error
    hopeless = isinstance(error, PipelineError) and not isinstance(error, TransientError)
    level = logging.ERROR if hopeless else logging.WARNING
    words = told(error)
    log.log(level, "The sync of %s failed: %s", claim.name, words)
    with runtime.ledger.write() as tx:
        if not ledger.source_held(tx, claim):
            return
        attempts = ledger.attempts(tx, claim) + 1
        if isinstance(error, StorageFull):
            ledger.pause_slice(tx, claim)
        elif hopeless or attempts >= settings.max_attempts:
            paused = {"paused": words} if isinstance(error, ASKS) else {}
            named = words if words.startswith(claim.name) else f"{claim.name}: {words}"
            ledger.finish_source(tx, claim, error=named, error_type=type(error).__name__, **paused)
        else:
            delay = getattr(error, "retry_after", None) or max(AWAY, settings.backoff * 2**attempts)
            ledger.pause_slice(tx, claim, delay=delay, attempts=attempts, error=describe(error))


def _wait(runtime: Runtime, claim: SourceClaim, error: StorageUnavailable) -> None:
    """Free the source, with nothing held against it, and try it again soon."""
    log.warning("The sync of %s waits %.1f s: %s", claim.name, AWAY, told(error))
    with runtime.ledger.write() as tx:
        if ledger.source_held(tx, claim):
            ledger.pause_slice(tx, claim, delay=AWAY, error=ledger.blocked(describe(error)))


def _leave(runtime: Runtime, claim: SourceClaim, error: Exception) -> None:
    """Free the source, with nothing held against it. Where nobody has what it needs its operation is blocked, and goes
    on when somebody has."""
    words = told(error)
    log.error("%s can't be read here: %s", claim.name, words)
    runtime.left.leave(claim.source_id, words)  # before it is free, or this process would take it again
    with runtime.ledger.write() as tx:
        if ledger.source_held(tx, claim):
            ledger.pause_slice(tx, claim, error=ledger.blocked(describe(error)))
    runtime.ring("sync")
