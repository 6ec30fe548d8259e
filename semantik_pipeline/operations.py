"""Begins, waits for, pauses, resumes, cancels and retries operations. Workers do their work."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semantik_pipeline.errors import Conflict, NotFound, PipelineError, ServiceUnavailable, UsageError
from semantik_pipeline.generations.configuration import refusal
from semantik_pipeline.generations.rerunning import rerun
from semantik_pipeline.isolation import Step, isolated
from semantik_pipeline.ledger import Transaction
from semantik_pipeline.ledger.access import audit_trail
from semantik_pipeline.ledger.catalog import collections
from semantik_pipeline.ledger.documents import document_reports
from semantik_pipeline.ledger.generations import builds, switching
from semantik_pipeline.ledger.ingestion import revisions, unfinished
from semantik_pipeline.ledger.operations import blocked_operations, holds, lifecycle, operation_reports, reruns
from semantik_pipeline.ledger.operations.lifecycle import Progress
from semantik_pipeline.ledger.queue import fair_queue, pending_holds, workers
from semantik_pipeline.ledger.queue.work import ASKED, STAGES
from semantik_pipeline.ledger.queue.workers import WorkerRow
from semantik_pipeline.stages import holding

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime


@dataclass(frozen=True, kw_only=True)
class SourceRequest:
    """A source to sync: its connector, its display name and its configuration."""

    connector: str
    name: str
    config: dict[str, Any] = field(default_factory=dict)


def folder_source(
    path: Path, *, include: Sequence[str] = (), exclude: Sequence[str] = (), recursive: bool = True
) -> SourceRequest:
    """Return the source for a path on the command line; ``../papers`` and ``~/papers`` may be the same source.

    Symbolic links are not resolved. Raises UsageError for a path that does not exist.
    """
    absolute = Path(os.path.abspath(path.expanduser()))  # noqa: PTH100 - Path.absolute() would keep ".."
    if not absolute.exists():
        raise UsageError(f"{path} does not exist.", "Give the path of a folder or a file.")
    config: dict[str, Any] = {"path": str(absolute), "recursive": recursive}
    if include:
        config["include"] = list(include)
    if exclude:
        config["exclude"] = list(exclude)
    return SourceRequest(connector="directory", name=str(absolute), config=config)


def begin_sync(
    runtime: Runtime,
    sources: Sequence[SourceRequest],
    *,
    collection: str,
    config: dict[str, Any] | None = None,
    allow_deletions: bool = False,
    full: bool = False,
) -> int:
    """Register the sources, make them due, and return the operation's id. Nothing is read yet.

    If a source is listed twice, the last entry counts. ``full`` makes connectors list everything, even if they could
    list only what changed since the last run.
    """
    sources = list({(source.connector, source.name): source for source in sources}.values())
    for source in sources:
        runtime.host.effective_config(source.connector, source.config, kind="connector")  # reject invalid ones early
    found = runtime.collection(collection, config)
    with runtime.ledger.write() as tx:
        operation_id = lifecycle.begin(tx, found.id, "sync")
        for source in sources:
            source_id = collections.put_source(tx, found.id, source.connector, source.name, source.config)
            lifecycle.request_sync(tx, operation_id, source_id, lane=ASKED, allow_deletions=allow_deletions, full=full)
            asked = {"source": source_id, "operation": operation_id, "allow_deletions": allow_deletions, "full": full}
            audit_trail.record(tx, event="source.sync", subject=f"{collection}: {source.name}", detail=asked)
    runtime.ring("sync")
    return operation_id


def begin_retry(runtime: Runtime, documents: Sequence[dict[str, Any]]) -> int:
    """Restart quarantined documents at their first stage; documents that were never fetched wait for a sync."""
    return _begin_for(runtime, documents, "retry", revisions.retry_documents)


#: A rerun's filter for documents in quarantine.
QUARANTINED: dict[str, Any] = {"must": [{"key": "status", "match": {"value": "quarantined"}}]}


def begin_retry_of_quarantined(runtime: Runtime, collection: str) -> int:
    """Restart all quarantined documents of the collection; return the operation's id.

    The first documents are restarted here, the others by maintenance. Raises UsageError if there are none.
    """
    return rerun(runtime, collection, QUARANTINED)


def begin_drop(runtime: Runtime, documents: Sequence[dict[str, Any]], *, purge: bool = False) -> int:
    """Remove documents from the index. A document that its source still has returns with the source's next sync."""
    trash = not purge and runtime.settings.retention.trash_days > 0
    return _begin_for(runtime, documents, "delete", partial(revisions.drop_documents, trash=trash))


def _begin_for(runtime: Runtime, documents: Sequence[dict[str, Any]], kind: str, change: Callable[..., None]) -> int:
    if not documents:
        raise NotFound("No such document.", "`semantik documents list` shows the names.")
    with runtime.ledger.write() as tx:
        found = collections.get_collection(tx, documents[0]["collection"])
        operation_id = lifecycle.begin(tx, found.id, kind)
        change(tx, [document["id"] for document in documents], operation_id=operation_id, lane=ASKED)
        some = {"documents": len(documents), "some": [document["document"] for document in documents[:5]]}
        audit_trail.record(tx, event=f"document.{kind}", subject=found.name, detail={"operation": operation_id, **some})
    for stage in ("upsert", "chunk"):
        runtime.ring(stage)
    return operation_id


def wait(runtime: Runtime, operation_id: int, on_progress: Callable[[Progress], None] | None = None) -> Progress:
    """Wait until the operation is finished, even while it is paused. Raises errors that stop the process (full disk).

    Without a fleet, it raises PipelineError if this process can't do the remaining work; the operation stays and
    continues with the next run that can. A fleet may get a suitable worker, so there the wait continues.
    """
    began = time.monotonic()
    stuck_since: float | None = None
    while True:
        asked = time.monotonic()
        progress = look(runtime, operation_id)
        stuck_since = None if progress.reason is None else stuck_since or time.monotonic()
        if progress.reason is not None and not runtime.settings.fleet and _hopeless(runtime, progress, stuck_since):
            raise PipelineError(
                f"This process can't continue: {progress.reason}", "The next run that can will continue."
            )
        if on_progress is not None:
            on_progress(progress)
        if progress.state == "finished":
            return progress
        if runtime.fatal is not None:
            raise runtime.fatal
        seconds = min(max(LOOK, 50 * (time.monotonic() - asked)), MOST)
        _pause_until_ended(runtime, operation_id, seconds, ask_interval(asked - began))


def _hopeless(runtime: Runtime, progress: Progress, stuck_since: float | None) -> bool:
    """Whether this process, without a fleet, can't continue: it was blocked for long, or its loaded plugin or model
    can't do the remaining work, which waiting does not change."""
    reason = progress.reason or ""
    if time.monotonic() - (stuck_since or time.monotonic()) > PATIENCE or runtime.left.lasts(reason):
        return True
    waiting = [stage for stage in STAGES if progress.stages.get(stage)]
    with runtime.ledger.read() as tx:
        live = collections.list_generations(tx)
    return any(reason == refusal(runtime.host, one, stage) for one in live for stage in waiting)


def look(runtime: Runtime, operation_id: int) -> Progress:
    """Return the operation's current progress, and the reason if it is blocked."""
    with runtime.ledger.read() as tx:
        progress = lifecycle.progress(tx, operation_id)
        if progress.state != "running":
            return progress
        return replace(progress, reason=blocked_operations.reason(tx, operation_id, living(runtime, tx)))


def living(runtime: Runtime, tx: Transaction) -> list[WorkerRow] | None:
    """Return the fleet's living workers; None if one process does everything."""
    return workers.living(tx) if runtime.settings.fleet else None


def _pause_until_ended(runtime: Runtime, operation_id: int, seconds: float, interval: float) -> None:
    """Sleep for up to ``seconds``, but return early when the operation ends; check for that every ``interval`` seconds.

    Reading the full progress costs more the larger the operation is, so it is done less often than this check.
    """
    until = time.monotonic() + seconds
    while time.monotonic() < until and runtime.fatal is None:
        time.sleep(interval)
        with runtime.ledger.ask() as tx:
            if lifecycle.state(tx, operation_id) == "finished":
                return


def ask_interval(waited: float) -> float:
    """Return the seconds between two checks whether an operation has ended, after ``waited`` seconds.

    Short enough to notice the end soon, long enough to leave the processor to the model.
    """
    return min(LONGEST, max(SHORTEST, waited / 50))


SHORTEST, LONGEST = 0.03, 0.2

#: Minimum and maximum seconds between two reads of an operation's progress. A read takes some milliseconds of processor
#: time, more for a larger operation.
LOOK, MOST = 0.5, 5.0

#: Seconds that all units of an operation may be blocked before the wait for it ends with an error.
PATIENCE = 30.0


def pause(runtime: Runtime, operation_id: int) -> int:
    """Pause the operation: nobody claims its remaining units. Returns the number of documents that wait."""
    return _steer(runtime, operation_id, "pause", holds.pause)


def resume(runtime: Runtime, operation_id: int) -> int:
    """Resume a paused operation and ring for workers; returns the number of documents that were released."""
    freed = _steer(runtime, operation_id, "resume", holds.resume)
    ring_all(runtime)
    return freed


def cancel(runtime: Runtime, operation_id: int) -> int:
    """Stop reading and park unfinished documents (``ledger/operations/holds.py``); return how many are parked."""
    parked = _steer(runtime, operation_id, "cancel", _cancel)
    with runtime.ledger.write() as tx:
        lifecycle.settle(tx, operation_id)
    runtime.ring("upsert")  # for its deletions
    runtime.ring("maintenance")  # to remove what it built
    return parked


def _cancel(tx: Transaction, operation_id: int) -> None:
    """Cancel the operation. One that builds a generation ends at once; maintenance removes what it built."""
    build = builds.of_operation(tx, operation_id)
    if build is None:
        holds.cancel(tx, operation_id)
        return
    holds.lock(tx, operation_id)
    pending_holds.forget(tx, operation_id)
    switching.end(tx, build, "cancelled")
    switching.abandon(tx, operation_id)


def _steer(runtime: Runtime, operation_id: int, event: str, change: Callable[[Transaction, int], None]) -> int:
    """Change the operation's state, then hold or release all of its units; return the number of documents changed.
    If this process dies in between, maintenance continues."""
    with runtime.ledger.write() as tx:
        change(tx, operation_id)
        audit_trail.record(tx, event=f"operation.{event}", subject=operation_reports.name(tx, operation_id))
    while holding.apply(runtime, operation_id):
        pass
    with runtime.ledger.read() as tx:
        return pending_holds.changed(tx, operation_id)


def advance_holds(runtime: Runtime, *, seconds: float) -> bool:
    """Continue to hold or release units of paused, resumed or cancelled operations, for about ``seconds`` seconds.
    Each operation makes some progress even if time is short. Returns whether more could be done at once."""
    with runtime.ledger.read() as tx:
        left = pending_holds.operation_ids(tx)
    return _advance(runtime, "holds", left, holding.apply, seconds)


def advance_taking_up(runtime: Runtime, *, seconds: float) -> bool:
    """Continue, in the same way, to assign unfinished documents of other operations to operations that retry them."""
    with runtime.ledger.read() as tx:
        left = [one.operation_id for one in unfinished.pending(tx)]
    return _advance(runtime, "taking_up", left, take_up, seconds)


def _advance(
    runtime: Runtime, step: Step, operation_ids: list[int], slice_of: Callable[[Runtime, int], bool], seconds: float
) -> bool:
    until = time.monotonic() + seconds
    more = False
    for operation_id in operation_ids:
        with isolated(runtime, step, f"operation {operation_id}", but=ServiceUnavailable):
            while more_of_it := slice_of(runtime, operation_id):
                if time.monotonic() >= until or runtime.stopping.is_set():
                    break
            more = more or more_of_it
    return more


def retry(runtime: Runtime, operation_id: int) -> int:
    """Run again, as a new operation, what a finished one left unfinished; return the new operation's id.

    The first documents are assigned here, the others by maintenance. Quarantined documents start from the beginning;
    parked ones continue at their stage; sources that failed, were cancelled or could not be read completely are read
    again; a rerun continues with the documents it did not reach. Raises Conflict if the operation has not ended,
    UsageError if it left nothing.
    """
    with runtime.ledger.read() as tx:
        name = operation_reports.name(tx, operation_id)
        if lifecycle.state(tx, operation_id) != "finished":
            raise Conflict(f"{name} has not finished.", "`semantik documents retry` retries quarantined documents.")
        left = operation_reports.unfinished(tx, operation_id)
    if not left:
        otherwise = "`semantik sources sync` looks for changes, and `semantik sources remove` removes a source."
        raise UsageError(f"{name} left nothing unfinished.", otherwise)
    with runtime.ledger.write() as tx:
        fair_queue.owners(tx, [], more=left.sources)  # lock order: sources before the operation
        further = reruns.take_over(tx, left.rerun) if left.rerun is not None else None
        if further is not None:
            again = further.operation_id
        else:
            again = lifecycle.begin(tx, operation_reports.collection_id(tx, operation_id), "retry")
        unfinished.begin(tx, again, of=operation_id)
        for source_id in left.sources:
            lifecycle.request_sync(tx, again, source_id, lane=ASKED, allow_deletions=False)
        found = {"documents": left.quarantined + left.parked, "sources": len(left.sources)}
        audit_trail.record(tx, event="operation.retry", subject=name, detail={"by": f"retry-{again}", **found})
    take_up(runtime, again)
    ring_all(runtime)
    return again


def take_up(runtime: Runtime, operation_id: int) -> bool:
    """Assign some of the unfinished documents of other operations to this one; return whether there may be more."""
    with runtime.ledger.read() as tx:
        left = unfinished.pending(tx, only=operation_id)
        ids = unfinished.following(tx, left[0]) if left else []
    if not left:
        return False
    with runtime.ledger.write() as tx:
        return unfinished.take_up(tx, left[0], ids)


def ring_all(runtime: Runtime) -> None:
    """Ring for every stage, ``sync`` and ``maintenance``. A worker that finds nothing due stops at once."""
    for stage in (*reversed(STAGES), "sync", "maintenance"):
        runtime.ring(stage)


def optimize(runtime: Runtime, collection: str) -> None:
    """Let the store optimize the index for faster searches, if it has grown enough; may take long. A failure is logged,
    and the index stays usable."""
    view = runtime.ledger.search_view(collection)
    with isolated(runtime, "optimize", f"collection {collection}"):
        runtime.host.call(runtime.store.optimize, view.index)


def list_documents(runtime: Runtime, *, collection: str | None, status: str | None) -> list[dict[str, Any]]:
    with runtime.ledger.read() as tx:
        if collection is not None:
            collections.get_collection(tx, collection)
        return document_reports.list_documents(tx, collection=collection, status=status)
