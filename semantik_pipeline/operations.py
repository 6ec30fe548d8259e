"""What callers ask for and what takes time: index, retry, drop. The pipeline's workers do it; here it is begun and
waited for."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semantik_pipeline.errors import PipelineError, UsageError
from semantik_pipeline.ledger import collections, operations, reports, revisions
from semantik_pipeline.ledger.operations import Progress

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime

#: Lanes: what an application asked for goes before what a schedule asked for.
API_LANE = 1


@dataclass(frozen=True, kw_only=True)
class SourceRequest:
    """A source to sync: which connector, what a person calls it, its configuration."""

    connector: str
    name: str
    config: dict[str, Any] = field(default_factory=dict)


def folder_source(
    path: Path, *, include: Sequence[str] = (), exclude: Sequence[str] = (), recursive: bool = True
) -> SourceRequest:
    """The source that a path on the command line means. Raises UsageError if there is nothing at the path."""
    absolute = path.expanduser().absolute()
    if not absolute.exists():
        raise UsageError(f"There is nothing at {path}.", "Give the path of a folder or a file.")
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

    ``full`` lets connectors name everything that could tell what changed since the last run.
    """
    for source in sources:
        runtime.host.effective_config(source.connector, source.config)  # refuse bad configurations at once
    found = runtime.collection(collection, config)
    with runtime.ledger.write() as tx:
        operation_id = operations.begin(tx, found.id, "sync")
        for source in sources:
            source_id = collections.put_source(tx, found.id, source.connector, source.name, source.config)
            operations.request_sync(
                tx, operation_id, source_id, lane=API_LANE, allow_deletions=allow_deletions, full=full
            )
    runtime.ring("sync")
    return operation_id


def begin_retry(runtime: Runtime, documents: Sequence[dict[str, Any]]) -> int:
    """Let quarantined documents run again from their first stage; those that never were fetched wait for a sync."""
    return _begin_for(runtime, documents, "retry", revisions.retry_documents)


def begin_drop(runtime: Runtime, documents: Sequence[dict[str, Any]]) -> int:
    """Remove documents from the index. One that its source still has comes back with the source's next sync."""
    return _begin_for(runtime, documents, "delete", revisions.drop_documents)


def _begin_for(runtime: Runtime, documents: Sequence[dict[str, Any]], kind: str, change: Callable[..., None]) -> int:
    if not documents:
        raise UsageError("There is no such document.", "`semantik documents list` shows the names.")
    with runtime.ledger.write() as tx:
        found = collections.get_collection(tx, documents[0]["collection"])
        operation_id = operations.begin(tx, found.id, kind)
        change(tx, [document["id"] for document in documents], operation_id=operation_id, lane=API_LANE)
    for stage in ("upsert", "chunk"):
        runtime.ring(stage)
    return operation_id


def wait(runtime: Runtime, operation_id: int, on_progress: Callable[[Progress], None] | None = None) -> Progress:
    """Wait until the operation is finished. Raises what stops the whole process (a full disk), and PipelineError
    where nobody can do what is left; the operation stays, and goes on with the next worker that can."""
    stuck_since: float | None = None
    while True:
        asked = time.monotonic()
        with runtime.ledger.read() as tx:
            progress = operations.progress(tx, operation_id)
            reason = None if progress.state == "finished" else operations.all_blocked(tx, operation_id)
        if on_progress is not None:
            on_progress(progress)
        if progress.state == "finished":
            return progress
        if runtime.fatal is not None:
            raise runtime.fatal
        stuck_since = None if reason is None else stuck_since or time.monotonic()
        if stuck_since is not None and time.monotonic() - stuck_since > PATIENCE:
            raise PipelineError(f"Nobody here can go on: {reason}", "It goes on with the next run that can.")
        _pause_until_ended(runtime, operation_id, max(POLL, 20 * (time.monotonic() - asked)))


def _pause_until_ended(runtime: Runtime, operation_id: int, seconds: float) -> None:
    """Sleep between two looks at the progress, which cost more the larger the operation is; its end is noticed soon."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and runtime.fatal is None:
        time.sleep(0.03)
        with runtime.ledger.read() as tx:
            if operations.state(tx, operation_id) == "finished":
                return


#: The least time between two looks at an operation's progress, in seconds.
POLL = 0.2

#: Seconds that all units of an operation may be blocked before waiting for it is given up.
PATIENCE = 30.0


def optimize(runtime: Runtime, collection: str) -> None:
    """Let the store build what makes searches faster, if its index has grown enough; may take long."""
    view = runtime.ledger.search_view(collection)
    runtime.host.call(runtime.store.optimize, view.index)


def list_documents(runtime: Runtime, *, collection: str | None, status: str | None) -> list[dict[str, Any]]:
    with runtime.ledger.read() as tx:
        if collection is not None:
            collections.get_collection(tx, collection)
        return reports.list_documents(tx, collection=collection, status=status)
