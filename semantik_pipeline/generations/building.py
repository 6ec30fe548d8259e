"""Carry out builds and remove unused generations, a slice at a time, during maintenance.

A build is filled, waits for the stages, is verified and then switched to. All state that lasts longer than a slice is
in the ledger, except the checks of a running verification.
"""

from __future__ import annotations

import logging
import time
from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING, Any

from semantik_pipeline.errors import FingerprintMismatch, PermanentError, PipelineError, StorageUnavailable
from semantik_pipeline.generations import aliases, rerunning
from semantik_pipeline.generations.gate import Gate, Verdict, with_losses
from semantik_pipeline.isolation import isolated
from semantik_pipeline.ledger.generations import backfill, builds, switching
from semantik_pipeline.plugins.secrets import scrub
from semantik_pipeline.stages.embedder_errors import REFUSES
from semantik_pipeline.stages.unit_errors import told

if TYPE_CHECKING:
    from semantik_pipeline.ledger.generations.builds import Build
    from semantik_pipeline.runtime import Runtime

log = logging.getLogger(__name__)

#: Seconds for which a build is reserved for the process that verifies it. Each slice renews the reservation.
VERIFY_SECONDS = 60.0


def advance(runtime: Runtime, *, seconds: float) -> bool:
    """Continue every build, rerun and removal, for about ``seconds`` seconds in total.

    Returns whether more could be done at once.
    """
    if not runtime.advancing.acquire(blocking=False):
        return False  # another thread is doing this
    try:
        return _advance_all(runtime, time.monotonic() + seconds)
    finally:
        runtime.advancing.release()


def _advance_all(runtime: Runtime, until: float) -> bool:
    """Continue everything until about ``until``.

    An error in one build, rerun or removal does not stop the others, except an unreachable ledger.
    """
    with runtime.ledger.read() as tx:
        found = builds.building(tx)
    for ended in {*runtime.build_gates} - {build.generation_id for build in found}:
        del runtime.build_gates[ended]  # a later generation may get the same number
    more = False
    with _isolated(runtime, "reruns"):
        more = rerunning.advance(runtime, until)
    for build in found:
        if build.operation_state == "running":
            with _isolated(runtime, f"reindex-{build.operation_id}"):
                more = _advance(runtime, build, until) or more
    with _isolated(runtime, "aliases"):
        aliases.mend(runtime)
    with _isolated(runtime, "retirements"):
        _retire(runtime)
    with runtime.ledger.read() as tx:
        gone = switching.retired(tx)
    for step in (_set_aside, _remove):
        for one in gone:
            with _isolated(runtime, f"generation {one.generation_id}"):
                more = step(runtime, one, until) or more
    return more


def _isolated(runtime: Runtime, about: str) -> AbstractContextManager[None]:
    return isolated(runtime, "builds", about, but=StorageUnavailable)


def _retire(runtime: Runtime) -> None:
    with runtime.ledger.read() as tx:
        over = switching.any_due(tx)
    if over:
        with runtime.ledger.write() as tx:
            switching.retire_due(tx)


def _advance(runtime: Runtime, build: Build, until: float) -> bool:
    if build.phase == "backfilling":
        return _fill(runtime, build, until)
    if build.phase == "building":
        with runtime.ledger.read() as tx:
            if builds.is_unfinished(tx, build, but_arrivals=True):
                return False
        with runtime.ledger.write() as tx:
            mine = builds.take(tx, build.generation_id)
            if mine is None:
                return True
            if mine.phase == "building":  # otherwise another process is verifying it by now
                builds.note(tx, build.generation_id, phase="verifying", verifier=None)
    return _verify(runtime, build, until)


def _fill(runtime: Runtime, build: Build, until: float) -> bool:
    """Add units for documents to the build. There is always time for one batch."""
    while True:
        with runtime.ledger.write() as tx:
            mine = builds.take(tx, build.generation_id)
            if mine is None or mine.operation_state != "running" or mine.phase != "backfilling":
                return False
            more = backfill.step(tx, mine)
        runtime.ring("chunk")
        if not more or time.monotonic() >= until or runtime.stopping.is_set():
            return True


# -- verifying --------------------------------------------------------------------------------------------------------


def _verify(runtime: Runtime, build: Build, until: float) -> bool:
    """Continue verifying if this process can and no other does. At the end, switch to the build or give it up."""
    if not runtime.embeds or runtime.refusal(build.generation_id, "embed") is not None:
        return False  # the probes need the model, so a process that embeds must verify
    mine = _mine_to_verify(runtime, build)
    if not mine:
        if mine is False:
            runtime.build_gates.pop(build.generation_id, None)
        return False
    gate = runtime.build_gates.get(build.generation_id)
    if gate is None or gate.compares_with != build.active_generation:
        gate = runtime.build_gates[build.generation_id] = Gate(runtime, build)
    try:
        verdict = gate.advance(until)
    except (PermanentError, FingerprintMismatch) as error:
        verdict = Verdict(losses=0, reason=scrub(f"it can't be verified: {error}"))
    except Exception as error:  # a server is unreachable: this says nothing about the build
        log.warning("The checks of reindex-%d start again: %s", build.operation_id, error)
        del runtime.build_gates[build.generation_id]
        _leave(runtime, build, error)
        return False
    if verdict is not None and _decide(runtime, build, verdict):
        del runtime.build_gates[build.generation_id]
    return True


def _mine_to_verify(runtime: Runtime, build: Build) -> bool | None:
    """Return whether this process should verify the build. None means that another transaction has it locked now."""
    with runtime.ledger.write() as tx:
        mine = builds.take(tx, build.generation_id)
        if mine is None:
            return None
        if mine.phase != "verifying" or mine.operation_state != "running":
            return False
        return builds.taken_to_verify(tx, mine, runtime.worker_id, seconds=VERIFY_SECONDS)


def _leave(runtime: Runtime, build: Build, error: Exception) -> None:
    """Let another process verify the build, because that process may have what this one lacks."""
    runtime.refuse(build.generation_id, "embed", told(error), seconds=REFUSES)
    with suppress(PipelineError), runtime.ledger.write() as tx:  # otherwise the reservation ends within a minute
        mine = builds.take(tx, build.generation_id)
        if mine is not None and (mine.progress.get("verifier") or {}).get("worker") == runtime.worker_id:
            builds.note(tx, build.generation_id, verifier=None)


def _decide(runtime: Runtime, build: Build, verdict: Verdict) -> bool:
    """Switch to a build that passed, if that still holds, or give it up. Returns whether nothing is left to decide.

    Documents that arrived after the gate's check are checked once more here, while nobody can write revisions of the
    collection.
    """
    settings = runtime.settings.reindex
    with runtime.ledger.write() as tx:
        mine = builds.take(tx, build.generation_id)
        if mine is None or mine.operation_state != "running":
            return False
        builds.lock(tx, mine.collection_id)
        if verdict.reason is None:
            patient = builds.seconds_verifying(tx, mine) < settings.catch_up_timeout
            if builds.is_unfinished(tx, mine, but_arrivals=not patient):
                builds.note(tx, mine.generation_id, phase="building")  # documents that arrived meanwhile come first
                return True
            verdict = with_losses(tx, mine, verdict)
        if verdict.reason is None:
            switching.end(tx, mine, _outcome(tx, mine), gate=verdict.to_dict(), generation=mine.generation_id)
            switching.switch(tx, mine, keep=settings.rollback_window)
        else:
            switching.end(tx, mine, "failed", gate=verdict.to_dict(), error=verdict.reason)
            switching.abandon(tx, mine.operation_id)
    if verdict.reason is None:
        log.info("Searches of %s now use generation %d.", build.collection, build.generation_id)
        aliases.tell_outsiders(runtime, build.collection)
    else:
        log.error("reindex-%d failed; searches keep using the current index: %s", build.operation_id, verdict.reason)
    return True


def _outcome(tx: Any, build: Build) -> str:
    quarantined = builds.counts(tx, build.generation_id)["documents"]["quarantined"]
    return "degraded" if quarantined else "succeeded"


# -- removing ---------------------------------------------------------------------------------------------------------


def _set_aside(runtime: Runtime, gone: switching.Retired, until: float) -> bool:
    """Take the units of a retired generation out of their stages. Returns whether some are left.

    There is always time for one slice.
    """
    after: int | None = 0
    while after is not None:
        with runtime.ledger.write() as tx:
            after = switching.set_aside(tx, gone.generation_id, after=after)
        if after is not None and (time.monotonic() >= until or runtime.stopping.is_set()):
            return True
    return False


def _remove(runtime: Runtime, gone: switching.Retired, until: float) -> bool:
    """Remove a retired generation's rows, then its index, then the generation. Returns whether rows are left.

    There is always time for one batch.
    """
    while True:
        with runtime.ledger.write() as tx:
            more = switching.remove_rows(tx, gone.generation_id)
        if not more:
            break
        if time.monotonic() >= until or runtime.stopping.is_set():
            return True
    with runtime.ledger.read() as tx:
        if not switching.quiet(tx, gone.generation_id):
            return False
    try:
        if gone.index in runtime.host.call(runtime.store.list_indexes):
            runtime.host.call(runtime.store.drop_index, gone.index)
    except PipelineError as error:
        log.info("The index %s can't be removed yet: %s", gone.index, error)
        return False
    runtime.forget_index(gone.index)
    with runtime.ledger.write() as tx:
        switching.forget(tx, gone.generation_id)
    return False
