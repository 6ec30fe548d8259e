"""The trash: what users delete leaves search at once and can be restored for ``retention.trash_days``.

Documents that vanished at their source are not put into the trash.

Maintenance does the long work in short transactions: it restores the documents of sources, purges what is older than
that window, and drops collections. A kill only delays it. Every deletion and restoration is recorded in the audit
trail.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from semantik_pipeline import operations as running
from semantik_pipeline.errors import Conflict, NotFound, ServiceUnavailable, UsageError
from semantik_pipeline.isolation import isolated
from semantik_pipeline.ledger.access import audit_trail
from semantik_pipeline.ledger.catalog import collections
from semantik_pipeline.ledger.documents import forgetting
from semantik_pipeline.ledger.operations import lifecycle
from semantik_pipeline.ledger.retention import purging, removal, trash_contents
from semantik_pipeline.ledger.retention import trash as ledger

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime

log = logging.getLogger(__name__)

DAY = 86400.0

#: The kinds of items in the trash, in the order of its listing.
KINDS = trash_contents.KINDS


def contents(runtime: Runtime, *, limit: int | None = None) -> dict[str, Any]:
    """Return ``collections``, ``sources`` and ``documents`` in the trash (at most ``limit`` documents), and
    ``retention_days``.

    Each item has ``trashed_at`` and ``purge_at``, the time when it is deleted permanently (None: purging has begun).
    """
    days = runtime.settings.retention.trash_days
    with runtime.ledger.read() as tx:
        found = trash_contents.contents(tx, limit=limit)
    for rows in found.values():
        for row in rows:
            row["purge_at"] = _purge_at(row, days)
    return {**found, "retention_days": days}


def page(
    runtime: Runtime,
    *,
    limit: int,
    after: tuple[int, float, int] | None = None,
    among: Collection[str] | None = None,
    kinds: Collection[str] = KINDS,
) -> list[tuple[str, dict[str, Any]]]:
    """Return a page of :func:`contents`, each item with its kind, in the order of ``trash_contents.page``."""
    days = runtime.settings.retention.trash_days
    with runtime.ledger.read() as tx:
        found = trash_contents.page(tx, limit=limit, after=after, among=among, kinds=kinds)
    return [(kind, {**row, "purge_at": _purge_at(row, days)}) for kind, row in found]


def source(runtime: Runtime, source_id: int, *, among: Collection[str] | None = None) -> dict[str, Any]:
    """Return a source in the trash, of one of these collections (None: of any). Raises NotFound."""
    with runtime.ledger.read() as tx:
        return trash_contents.get_source(tx, source_id, among=among)


def _purge_at(row: dict[str, Any], days: float) -> float | None:
    return row["trashed_at"] + days * DAY if row["trashed_at"] != ledger.PURGED else None


def restore_documents(runtime: Runtime, documents: Sequence[dict[str, Any]]) -> int:
    """Begin to restore documents, rows of :func:`contents` of one collection; return the operation.

    They are indexed again from stored results; results that are no longer stored are computed again.
    """
    if not documents:
        raise NotFound("There is no such document in the trash.", "`semantik trash` lists its contents.")
    with runtime.ledger.write() as tx:
        found = collections.get_collection(tx, documents[0]["collection"])
        operation_id = lifecycle.begin(tx, found.id, "restore")
        names = [row["document"] for row in documents]
        ids = [row["id"] for row in documents]
        number = ledger.restore_documents(tx, ids, operation_id=operation_id)
        detail = {"operation": operation_id, "documents": number, "some": names[:5]}
        audit_trail.record(tx, event="document.restore", subject=found.name, detail=detail)
    with runtime.ledger.write() as tx:
        lifecycle.settle(tx, operation_id)  # documents without text are restored already
    runtime.ring("chunk")
    return operation_id


def restore_source(runtime: Runtime, source: dict[str, Any]) -> int:
    """Begin to restore a source, a row of :func:`contents`, and the documents removed with it; return the operation.

    Its schedule continues from now.
    """
    with runtime.ledger.write() as tx:
        operation_id = ledger.begin_restoring(tx, source["id"])
        subject = f"{source['collection']}: {source['name']}"
        detail = {"source": source["id"], "operation": operation_id}
        audit_trail.record(tx, event="source.restore", subject=subject, detail=detail)
    runtime.ring("maintenance")
    return operation_id


def delete_collection(runtime: Runtime, name: str, *, purge: bool = False) -> dict[str, Any]:
    """Hide a collection and stop its syncs and operations; return ``id``, ``name`` and whether it is ``purged``.

    With ``purge``, or without a restore window, maintenance deletes it permanently. Raises UsageError if it does not
    exist, Conflict if it is in the trash already.
    """
    at_once = purge or runtime.settings.retention.trash_days == 0
    with runtime.ledger.write() as tx:
        found = collections.find_collection(tx, name, trashed=True) or collections.get_collection(tx, name)
        if found.trashed_at is not None and not at_once:
            raise Conflict(
                f"The collection {name!r} is already in the trash.", "To delete it permanently, use purge (--purge)."
            )
        ledger.bin_collection(tx, found.id, purge=at_once)
        audit_trail.record(tx, event="collection.delete", subject=name, detail={"purge": at_once})
    _stop(runtime)
    runtime.ring("maintenance")
    return {"id": found.id, "name": name, "purged": at_once}


def restore_collection(runtime: Runtime, name: str) -> int | None:
    """Restore a collection from the trash; return the operation that continues its stopped work, or None.

    Some of that work starts at once, maintenance starts the rest; reruns continue as operations of their own. Its
    schedules continue. Raises UsageError if it is not in the trash.
    """
    with runtime.ledger.write() as tx:
        found = collections.find_collection(tx, name, trashed=True)
        if found is None or found.trashed_at is None or found.importing_at is not None:
            raise NotFound(f"There is no collection {name!r} in the trash.", "`semantik trash` lists its contents.")
        ledger.restore_collection(tx, found.id)
        operation_id = ledger.begin_taking_up(tx, found.id)
        further = ledger.take_up_reruns(tx, found.id, since=found.trashed_at)
        detail = {"operation": operation_id, "reruns": further}
        audit_trail.record(tx, event="collection.restore", subject=name, detail=detail)
    if operation_id is not None:
        running.take_up(runtime, operation_id)
    running.ring_all(runtime)
    return operation_id if operation_id is not None else next(iter(further), None)


# -- maintenance ------------------------------------------------------------------------------------------------------


def advance(runtime: Runtime, *, seconds: float = float("inf")) -> bool:
    """Restore and purge what is due, for about ``seconds`` seconds; return whether it could continue at once."""
    until = time.monotonic() + seconds
    _stop(runtime)
    try:
        for more in _steps(runtime):
            if runtime.stopping.is_set() or (more and time.monotonic() >= until):
                return more
    except ServiceUnavailable as error:  # the store or the blobs are unavailable; other maintenance needs neither
        log.info("The trash can't be emptied yet: %s", error)
    return False


def _stop(runtime: Runtime) -> None:
    """Cancel operations that are still running in collections of the trash."""
    with runtime.ledger.read() as tx:
        left = ledger.running_in_trash(tx)
    for operation_id in left:
        with isolated(runtime, "trash", f"operation {operation_id}"), suppress(UsageError):  # it may have just ended
            running.cancel(runtime, operation_id)


def _steps(runtime: Runtime) -> Iterator[bool]:
    """Run the steps, each a short transaction or the dropping of an index; yield whether there may be another like it.

    A failure affects only its own item, except if the store is unavailable.
    """
    window = runtime.settings.retention.trash_days * DAY
    with runtime.ledger.read() as tx:
        restoring = ledger.restoring(tx)
    for operation_id in restoring:
        yield from _isolated(runtime, f"operation {operation_id}", _restore(runtime, operation_id))
    with runtime.ledger.read() as tx:
        sources, documents = ledger.sources_over(tx, older_than=window), ledger.documents_over(tx, older_than=window)
    for source_id in sources:
        with isolated(runtime, "trash", f"source {source_id}", but=ServiceUnavailable):
            _purge_source(runtime, source_id, window)
        yield True
    failed: set[int] = set()
    while documents:
        for collection_id, ids in documents.items():
            failed.add(collection_id)
            with isolated(runtime, "trash", f"documents of collection {collection_id}", but=ServiceUnavailable):
                _purge_documents(runtime, collection_id, ids)
                failed.remove(collection_id)
        yield True
        with runtime.ledger.read() as tx:
            documents = ledger.documents_over(tx, older_than=window, without=failed)
    with runtime.ledger.read() as tx:
        over = ledger.collections_over(tx, older_than=window)
    if over:
        with runtime.ledger.write() as tx:
            over = ledger.begin_purging(tx, older_than=window)
    for collection_id in over:
        yield from _isolated(runtime, f"collection {collection_id}", _purge_collection(runtime, collection_id))


def _isolated(runtime: Runtime, about: str, steps: Iterator[bool]) -> Iterator[bool]:
    with isolated(runtime, "trash", about, but=ServiceUnavailable):
        yield from steps


def _restore(runtime: Runtime, operation_id: int) -> Iterator[bool]:
    more = True
    while more:
        with runtime.ledger.write() as tx:
            more = ledger.restore_step(tx, operation_id)
        runtime.ring("chunk")
        yield more


def _purge_source(runtime: Runtime, source_id: int, window: float) -> None:
    """Begin to remove a source permanently; :func:`sources.advance_removals` continues."""
    with runtime.ledger.write() as tx:
        if source_id in ledger.sources_over(tx, older_than=window):
            collection_id = ledger.lock_source(tx, source_id)
            operation_id = lifecycle.begin(tx, collection_id, "delete", detail={"purge": True})
            removal.begin(tx, source_id, operation_id)


def _purge_documents(runtime: Runtime, collection_id: int, ids: Sequence[int]) -> None:
    with runtime.ledger.write() as tx:
        operation_id = lifecycle.begin(tx, collection_id, "delete", detail={"purge": True})
        ledger.purge_documents(tx, ids, operation_id=operation_id)
    runtime.ring("upsert")


def _purge_collection(runtime: Runtime, collection_id: int) -> Iterator[bool]:
    """Drop documents first, so that no worker holds a unit of the collection; then its indexes, then its other rows."""
    while True:
        with runtime.ledger.write() as tx:
            dropped = purging.drop_documents(tx, collection_id)
        if dropped.waits:
            return
        if dropped.ended:
            break
        _remove_bodies(runtime, dropped)
        yield True
    with runtime.ledger.read() as tx:
        indexes = purging.indexes(tx, collection_id)
    for index in indexes:
        runtime.drop_index(index)
        yield True
    more = True
    while more:
        with runtime.ledger.write() as tx:
            more = purging.drop_collection(tx, collection_id)
        yield more


def _remove_bodies(runtime: Runtime, dropped: purging.Dropped) -> None:
    """Remove the bodies that nothing else refers to; the hourly sweep finds those too recent or missed by a kill."""
    for kind, keys in (("raw", dropped.raw), ("parsed", dropped.parsed)):
        with runtime.ledger.read() as tx:
            unused = forgetting.unused_bodies(tx, kind, keys)
        runtime.blobs.remove_many(kind, unused)
