"""Handle a unit whose stage failed. The type of the error decides; one bad document harms only itself."""

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

#: How often a document whose plugin hangs is tried alone. Each try costs the stage's whole deadline.
HANGS = 2

#: Seconds for which units wait for a server that is unreachable.
AWAY = 2.0


def describe(error: BaseException) -> dict[str, Any]:
    """Return an error in the form that the ledger stores: ``type``, ``message``, ``traceback``."""
    remote = getattr(error, "child_traceback", None)
    return {
        "type": type(error).__name__,
        "message": told(error) or type(error).__name__,
        "traceback": told(remote or "".join(traceback.format_exception(error))),
    }


def told(error: BaseException | str) -> str:
    """Return an error's message as it is stored and logged.

    It may quote secrets, which are removed, and content of a document, of which characters that no database stores are
    replaced.
    """
    return scrub(storable(str(error)))


def lacks(error: object) -> bool:
    """Return whether the error means that this process lacks something (a plugin, a variable) that another may have."""
    return isinstance(error, FingerprintMismatch | PluginError) and not isinstance(error, PermanentError)


def fail(
    runtime: Runtime, claim: Claim, units: Iterable[Unit], error: BaseException, *, alone: bool = False
) -> list[Unit]:
    """Record that ``units`` of the claim failed together. With ``alone``, this one document is certainly to blame.

    Returns the units that are now in quarantine.
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
    """What happens to failed units.

    ``outcome`` is the name used in the metric. ``delay`` is the number of seconds until the next try, if the error sets
    one. ``attempts`` is the maximum number of attempts of a document, if it is lower than the setting.
    """

    outcome: Literal["released", "suspected", "failed", "quarantined"]
    delay: float | None = None
    attempts: int | None = None


def verdict(error: BaseException, *, alone: bool, goal: str = "indexed") -> Verdict:
    """Return the verdict for units with this goal whose stage raised ``error``.

    With ``alone``, one document is certainly to blame.

    - ``released``: a server, a disk or a worker failed, which is not charged to any document.
    - ``suspected``: several units failed together; each of them runs alone next.
    - ``failed``: a unit alone failed and is charged an attempt.
    - ``quarantined``: a unit alone failed and another try would not help. A deletion is never quarantined.
    """
    together = isinstance(error, OutOfMemory | ServiceFailing) and not alone  # good documents pass when they run alone
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
    """Return this project's error types that may put a document into quarantine.

    Plugins may also raise types of their own, or any built-in exception by mistake.
    """
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
    """Apply the verdict. Returns the units that are now in quarantine."""
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
    """Charge the error to the document. Returns whether it is now in quarantine."""
    kept = {**described, "plugins": stage_plugins(runtime, unit)}  # so that a fixed plugin gets another try
    found, settings = verdict(error, alone=True, goal=unit.goal), runtime.settings.work
    if found.outcome == "quarantined":
        work.quarantine(tx, unit, kept)
        return True
    attempts = min(settings.max_attempts, found.attempts or settings.max_attempts)
    return work.charge(tx, unit, kept, max_attempts=attempts, backoff=settings.backoff, retry_after=found.delay)


def _tell(runtime: Runtime, claim: Claim, outcome: str, units: int) -> None:
    if units:
        runtime.tally.count("units", units, stage=claim.stage, outcome=outcome)
