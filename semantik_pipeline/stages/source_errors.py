"""Handle a failed sync slice: retry it, leave the source to other workers, fail the sync, or pause the source."""

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

#: Errors after which a person must decide how to go on.
ASKS = (CredentialsRejected, MassDeletion)

#: Errors that mean that this process lacks something that another process may have.
LACKS = (PluginNotFoundError, PluginLoadError, VariableNotSet)

log = logging.getLogger(__name__)


def fail_slice(runtime: Runtime, claim: SourceClaim, error: Exception) -> None:
    """Record that a slice failed. The type of the error decides what happens to the source.

    - It backs off and is tried again. After the last attempt, or if a retry is useless, its sync fails.
    - If its credentials are refused, or too many documents have vanished, it is paused until a person decides.
    - If this process lacks its connector, it is left to other workers.
    - On a fleet, if the ledger or the blobs are unreachable, it waits for them. Without a fleet these failures count as
      attempts, so that a user at the command line gets an error after the last attempt.
    """
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
    """Free the source without charging it an attempt, and try it again soon."""
    log.warning("The sync of %s waits %.1f s: %s", claim.name, AWAY, told(error))
    with runtime.ledger.write() as tx:
        if ledger.source_held(tx, claim):
            ledger.pause_slice(tx, claim, delay=AWAY, error=ledger.blocked(describe(error)))


def _leave(runtime: Runtime, claim: SourceClaim, error: Exception) -> None:
    """Free the source without charging it an attempt.

    If no worker has what the source needs, its operation is blocked until one has it.
    """
    words = told(error)
    log.error("%s can't be read here: %s", claim.name, words)
    runtime.left.leave(claim.source_id, words)  # first, or this process would take the source again
    with runtime.ledger.write() as tx:
        if ledger.source_held(tx, claim):
            ledger.pause_slice(tx, claim, error=ledger.blocked(describe(error)))
    runtime.ring("sync")
