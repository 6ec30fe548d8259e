"""What callers ask for and what takes time: index, retry, drop. The pipeline's workers do it; here it is begun and
waited for."""

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
    """A source to sync: which connector, what a person calls it, its configuration."""

    connector: str
    name: str
    config: dict[str, Any] = field(default_factory=dict)


def folder_source(
    path: Path, *, include: Sequence[str] = (), exclude: Sequence[str] = (), recursive: bool = True
) -> SourceRequest:
    """The source that a path on the command line means; ``../papers`` and ``~/papers`` may be the same one. Links are kept
    as they are. Raises UsageError for a path that does not exist."""
    absolute = Path(os.path.abspath(path.expanduser()))  # noqa: PTH100 - absolute() leaves ".." in it
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
    """Register the sources, make them due, and return the operation's id. Nothing is read yet. A source that is named
    twice is synced once, as it was named last.

    ``full`` lets connectors name everything that could tell what changed since the last run.
    """
    sources = list({(source.connector, source.name): source for source in sources}.values())
    for source in sources:
        runtime.host.effective_config(source.connector, source.config, kind="connector")  # refuse bad ones at once
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
    """Let quarantined documents run again from their first stage; those that never were fetched wait for a sync."""
    return _begin_for(runtime, documents, "retry", revisions.retry_documents)


#: Documents in quarantine, as a rerun's filter.
QUARANTINED: dict[str, Any] = {"must": [{"key": "status", "match": {"value": "quarantined"}}]}


def begin_retry_of_quarantined(runtime: Runtime, collection: str) -> int:
    """The same of all documents of the collection that are in quarantine: the first of them are on their way then,
    maintenance sends the others. Raises UsageError if there are none."""
    return rerun(runtime, collection, QUARANTINED)


def begin_drop(runtime: Runtime, documents: Sequence[dict[str, Any]], *, purge: bool = False) -> int:
    """Remove documents from the index. One that its source still has comes back with the source's next sync."""
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
    """Wait until the operation is finished, however long somebody pauses it. Raises what stops the whole process (a
    full disk). Where this process works alone: PipelineError if nobody can do what is left; the operation stays, and
    goes on with the next run that can. A fleet may get a worker that can, so there the wait goes on."""
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
    """Whether this process, which works alone, can't go on: it has waited for long, or plugin and model that it has loaded
    can't do what is left, which no wait changes."""
    reason = progress.reason or ""
    if time.monotonic() - (stuck_since or time.monotonic()) > PATIENCE or runtime.left.lasts(reason):
        return True
    waiting = [stage for stage in STAGES if progress.stages.get(stage)]
    with runtime.ledger.read() as tx:
        live = collections.list_generations(tx)
    return any(reason == refusal(runtime.host, one, stage) for one in live for stage in waiting)


def look(runtime: Runtime, operation_id: int) -> Progress:
    """How far the operation is now, and what blocks it."""
    with runtime.ledger.read() as tx:
        progress = lifecycle.progress(tx, operation_id)
        if progress.state != "running":
            return progress
        return replace(progress, reason=blocked_operations.reason(tx, operation_id, living(runtime, tx)))


def living(runtime: Runtime, tx: Transaction) -> list[WorkerRow] | None:
    """The fleet's living workers; None where one process does everything."""
    return workers.living(tx) if runtime.settings.fleet else None


def _pause_until_ended(runtime: Runtime, operation_id: int, seconds: float, interval: float) -> None:
    """Sleep between two looks at the progress, which cost more the larger the operation is; ask at this interval whether
    it has ended."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and runtime.fatal is None:
        time.sleep(interval)
        with runtime.ledger.ask() as tx:
            if lifecycle.state(tx, operation_id) == "finished":
                return


def ask_interval(waited: float) -> float:
    """Seconds between two questions whether an operation has ended that was waited for so long: its end is noticed soon,
    and asking takes little of a processor that the model could use."""
    return min(LONGEST, max(SHORTEST, waited / 50))


SHORTEST, LONGEST = 0.03, 0.2

#: Seconds between two looks at an operation's progress, at least and at most: one takes some milliseconds of a processor,
#: and more the larger the operation is.
LOOK, MOST = 0.5, 5.0

#: Seconds that all units of an operation may be blocked before waiting for it is given up.
PATIENCE = 30.0


def pause(runtime: Runtime, operation_id: int) -> int:
    """Let nobody take what the operation has left; returns how many documents wait."""
    return _steer(runtime, operation_id, "pause", holds.pause)


def resume(runtime: Runtime, operation_id: int) -> int:
    """Let a paused operation go on, and call for whoever works on it; returns how many documents were let go."""
    freed = _steer(runtime, operation_id, "resume", holds.resume)
    ring_all(runtime)
    return freed


def cancel(runtime: Runtime, operation_id: int) -> int:
    """Stop reading and park what is not finished (see ``ledger/operations/holds.py``); returns how many documents are parked."""
    parked = _steer(runtime, operation_id, "cancel", _cancel)
    with runtime.ledger.write() as tx:
        lifecycle.settle(tx, operation_id)
    runtime.ring("upsert")  # its deletions
    runtime.ring("maintenance")  # what it built
    return parked


def _cancel(tx: Transaction, operation_id: int) -> None:
    """One that builds a generation ends at once; maintenance removes what it built."""
    build = builds.of_operation(tx, operation_id)
    if build is None:
        holds.cancel(tx, operation_id)
        return
    holds.lock(tx, operation_id)
    pending_holds.forget(tx, operation_id)
    switching.end(tx, build, "cancelled")
    switching.abandon(tx, operation_id)


def _steer(runtime: Runtime, operation_id: int, event: str, change: Callable[[Transaction, int], None]) -> int:
    """Change the operation's state, then hold its units, or let them go, however many. If this process dies meanwhile, maintenance goes on
    with them. Returns of how many documents they were changed."""
    with runtime.ledger.write() as tx:
        change(tx, operation_id)
        audit_trail.record(tx, event=f"operation.{event}", subject=operation_reports.name(tx, operation_id))
    while holding.apply(runtime, operation_id):
        pass
    with runtime.ledger.read() as tx:
        return pending_holds.changed(tx, operation_id)


def advance_holds(runtime: Runtime, *, seconds: float) -> bool:
    """Go on with the units of operations that were paused, let go on or cancelled and that don't follow yet, for about so many
    seconds; there is always time for some of each. Returns whether more could be done at once."""
    with runtime.ledger.read() as tx:
        left = pending_holds.operation_ids(tx)
    return _advance(runtime, "holds", left, holding.apply, seconds)


def advance_taking_up(runtime: Runtime, *, seconds: float) -> bool:
    """Go on with what operations take up of what others left unfinished, in the same way."""
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
    """Run again, as an operation of its own, what one that has ended left unfinished; returns the new one's id. The first
    documents are on their way then, maintenance sends the others.

    Documents in quarantine begin anew, those that were parked go on where they were, sources that failed, were
    cancelled or could not be read as a whole are read again, and a rerun looks at the documents that it did not come to.
    Raises UsageError if it has not ended, or left nothing.
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
        fair_queue.owners(tx, [], more=left.sources)  # before the operation
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
    """Let some of what others left unfinished be the operation's; returns whether there may be more."""
    with runtime.ledger.read() as tx:
        left = unfinished.pending(tx, only=operation_id)
        ids = unfinished.following(tx, left[0]) if left else []
    if not left:
        return False
    with runtime.ledger.write() as tx:
        return unfinished.take_up(tx, left[0], ids)


def ring_all(runtime: Runtime) -> None:
    """Call for workers of every stage, and for who goes on with slices; one that finds nothing due goes away again."""
    for stage in (*reversed(STAGES), "sync", "maintenance"):
        runtime.ring(stage)


def optimize(runtime: Runtime, collection: str) -> None:
    """Let the store build what makes searches faster, if its index has grown enough; may take long. Where it can't, that is
    told, and nothing is lost by it."""
    view = runtime.ledger.search_view(collection)
    with isolated(runtime, "optimize", f"collection {collection}"):
        runtime.host.call(runtime.store.optimize, view.index)


def list_documents(runtime: Runtime, *, collection: str | None, status: str | None) -> list[dict[str, Any]]:
    with runtime.ledger.read() as tx:
        if collection is not None:
            collections.get_collection(tx, collection)
        return document_reports.list_documents(tx, collection=collection, status=status)
