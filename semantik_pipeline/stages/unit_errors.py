"""What becomes of a unit whose stage failed. The error's type decides; one bad document harms itself alone."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from semantik_pipeline import errors, logs
from semantik_pipeline.errors import (
    ChildTimeout,
    FingerprintMismatch,
    LeaseLost,
    OutOfMemory,
    PermanentError,
    PluginError,
    ServiceFailing,
    ServiceUnavailable,
    StorageFull,
    TransientError,
    WorkerUnfit,
)
from semantik_pipeline.ledger import Transaction
from semantik_pipeline.ledger.operations import lifecycle
from semantik_pipeline.ledger.queue import work
from semantik_pipeline.ledger.queue.work import Claim, Unit
from semantik_pipeline.plugins.secrets import scrub
from semantik_pipeline.stages.journal import about, stage_plugins
from semantik_pipeline.stages.parsing import storable

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime

log = logging.getLogger(__name__)

#: How often a document whose plugin hangs is tried alone: each try costs the stage's whole deadline.
HANGS = 2

#: How long units wait for a server that is away, in seconds.
AWAY = 2.0


def describe(error: BaseException) -> dict[str, Any]:
    """An error as the ledger keeps it: ``type``, ``message``, ``traceback``."""
    remote = getattr(error, "child_traceback", None)
    return {
        "type": type(error).__name__,
        "message": told(error) or type(error).__name__,
        "traceback": told(remote or "".join(traceback.format_exception(error))),
    }


def told(error: BaseException | str) -> str:
    """An error's words as they are kept and logged. They may quote secrets, which go, and what a document holds, of which
    no database takes everything."""
    return scrub(storable(str(error)))


def lacks(error: object) -> bool:
    """Whether the error says that this process lacks something (a plugin, a variable) that another may have."""
    return isinstance(error, FingerprintMismatch | PluginError) and not isinstance(error, PermanentError)


def fail(
    runtime: Runtime, claim: Claim, units: Iterable[Unit], error: BaseException, *, alone: bool = False
) -> list[Unit]:
    """Record that ``units`` of the claim failed together; ``alone`` says that this one document is surely to blame.

    Returns those that are in quarantine now.
    """
    units = list(units)
    if isinstance(error, LeaseLost) or not units:
        return []
    if isinstance(error, StorageFull | WorkerUnfit):
        runtime.fatal = error
    runtime.journal.failed(claim, units, error)
    described = describe(error)
    with logs.bound(**about(units)), runtime.ledger.write() as tx:
        mine = work.held(tx, claim.token)
        still = [unit for unit in units if unit.key in mine]
        return _record(runtime, tx, claim, still, error, described, alone=alone or len(units) == 1)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What becomes of units: ``outcome`` as the metric names it. ``delay`` in seconds until the next try, if the error
    says so; ``attempts`` that a document has at most, if fewer than the settings say."""

    outcome: Literal["released", "suspected", "failed", "quarantined"]
    delay: float | None = None
    attempts: int | None = None


def verdict(error: BaseException, *, alone: bool, goal: str = "indexed") -> Verdict:
    """What becomes of units with this goal whose stage raised ``error``; ``alone``: one document is surely to blame.

    A server, a disk or a worker that fails holds nothing against documents: ``released``. Of several that failed
    together each runs alone next: ``suspected``. One alone is charged (``failed``), or ``quarantined`` where no further
    try would help; a deletion never is.
    """
    together = isinstance(error, OutOfMemory | ServiceFailing) and not alone  # what is well goes through by itself
    if isinstance(error, StorageFull | ServiceUnavailable | WorkerUnfit) and not together:
        return Verdict(outcome="released", delay=getattr(error, "retry_after", None) or AWAY)
    if lacks(error):
        return Verdict(outcome="released", delay=AWAY)
    if not alone:
        return Verdict(outcome="suspected")
    if isinstance(error, PermanentError) and goal == "indexed":
        return Verdict(outcome="quarantined")
    return Verdict(
        outcome="failed",
        delay=error.retry_after if isinstance(error, TransientError) else None,
        attempts=HANGS if isinstance(error, ChildTimeout) else None,
    )


def foreseeable() -> list[str]:
    """Types of errors that may bring a document into quarantine, of those that this project has; plugins raise their own,
    and what nobody meant to raise."""
    kinds = [one for one in vars(errors).values() if isinstance(one, type)]
    ours = [one for one in kinds if issubclass(one, TransientError | PermanentError)]
    return [one.__name__ for one in ours if verdict(one(), alone=True).outcome != "released"]


def _record(
    runtime: Runtime,
    tx: Transaction,
    claim: Claim,
    units: list[Unit],
    error: BaseException,
    described: dict[str, Any],
    *,
    alone: bool,
) -> list[Unit]:
    """Apply the verdict; returns the units in quarantine."""
    keys, words = [unit.key for unit in units], described["message"]
    found = verdict(error, alone=alone)
    if found.outcome == "released":
        log.warning("%s waits %.1f s: %s", claim.stage, found.delay, words)
        if lacks(error):
            runtime.left.unable(words)
        work.release(tx, claim.token, keys, delay=found.delay or AWAY, blocked=words)
        _tell(runtime, claim, "released", len(units))
        return []
    if found.outcome == "suspected":
        log.warning(
            "%s failed on a batch of %d documents; each is processed alone now: %s", claim.stage, len(units), words
        )
        work.suspect(tx, claim.token, keys)
        _tell(runtime, claim, "suspected", len(units))
        return []
    lost = []
    operation = lifecycle.of_documents(tx, [unit.document_id for unit in units])
    for unit in units:
        gone = _charge(runtime, tx, unit, error, described)
        if gone:
            lost.append(unit)
            runtime.tally.count("quarantines", stage=claim.stage, error_type=type(error).__name__)
        with logs.bound(document=unit.unique_id, operation=operation.get(unit.document_id)):
            log.warning("%s of %s failed%s: %s", claim.stage, unit.unique_id, "; in quarantine" if gone else "", words)
    _tell(runtime, claim, "quarantined", len(lost))
    _tell(runtime, claim, "failed", len(units) - len(lost))
    return lost


def _charge(runtime: Runtime, tx: Transaction, unit: Unit, error: BaseException, described: dict[str, Any]) -> bool:
    """Hold the error against the document; returns whether it is in quarantine now."""
    kept = {**described, "plugins": stage_plugins(runtime, unit)}  # a mended one gets another try
    found, settings = verdict(error, alone=True, goal=unit.goal), runtime.settings.work
    if found.outcome == "quarantined":
        work.quarantine(tx, unit, kept)
        return True
    attempts = min(settings.max_attempts, found.attempts or settings.max_attempts)
    return work.charge(tx, unit, kept, max_attempts=attempts, backoff=settings.backoff, retry_after=found.delay)


def _tell(runtime: Runtime, claim: Claim, outcome: str, units: int) -> None:
    if units:
        runtime.tally.count("units", units, stage=claim.stage, outcome=outcome)
