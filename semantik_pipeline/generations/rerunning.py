"""Send documents that match a filter through the stages again, within the existing generations.

The first slice is sent at once. Maintenance sends the rest a slice at a time, as long as at most ``work.max_in_flight``
of the documents are being processed. The progress is in the ledger.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from semantik_pipeline.errors import PipelineError, UsageError
from semantik_pipeline.isolation import isolated
from semantik_pipeline.ledger.access import audit_trail
from semantik_pipeline.ledger.catalog import collections
from semantik_pipeline.ledger.documents import selection
from semantik_pipeline.ledger.operations import lifecycle, reruns
from semantik_pipeline.ledger.operations.reruns import Rerun

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime

log = logging.getLogger(__name__)

#: Maximum number of documents that an answer names.
NAMED = 10


@dataclass(frozen=True, kw_only=True)
class Matching:
    """The number of documents that match a filter, and the unique ids of some."""

    documents: int
    examples: tuple[str, ...]


def rerun(runtime: Runtime, collection: str, where: dict[str, Any], *, fresh: bool = False) -> int:
    """Send the collection's documents that match a filter through the stages again. Returns the operation id.

    On return the first documents are on their way; maintenance sends the others. See ``ledger/documents/selection.py``
    for the possible filters.

    ``fresh``: do not use stored parses again, for example after a parser was fixed without a new OUTPUT_VERSION. Raises
    UsageError for a filter that is not valid or that no document matches.
    """
    with runtime.ledger.read() as tx:
        found = collections.get_collection(tx, collection)
    after = _before_first(runtime, found.id, where)
    if after is None:
        raise UsageError(
            f"No document of {collection!r} matches the filter.", "`semantik documents list` shows the documents."
        )
    with runtime.ledger.write() as tx:
        begun = reruns.begin(tx, found.id, where, fresh=fresh, after=after)
        asked = {"where": where, "fresh": fresh, "operation": begun.operation_id}
        audit_trail.record(tx, event="collection.rerun", subject=collection, detail=asked)
    if _go_on(runtime, begun) is not None:
        runtime.ring("maintenance")
    return begun.operation_id


def _before_first(runtime: Runtime, collection_id: int, where: dict[str, Any]) -> int | None:
    """Return an id after which, within one page, the first matching document comes; None if no document matches."""
    after: int | None = 0
    while after is not None:
        with runtime.ledger.read() as tx:
            part = selection.following(tx, collection_id, where, after=after)
        if part.documents:
            return after
        after = part.upto
    return None


def matching(runtime: Runtime, collection: str, where: dict[str, Any]) -> Matching:
    """Return the documents that :func:`rerun` would send."""
    total, after = 0, 0
    some: list[str] = []
    with runtime.ledger.read() as tx:
        found = collections.get_collection(tx, collection)
        while True:
            part = selection.following(tx, found.id, where, after=after)
            total += len(part.documents)
            some += [one.document for one in part.documents[: NAMED - len(some)]]
            if part.upto is None:
                return Matching(documents=total, examples=tuple(some))
            after = part.upto


def advance(runtime: Runtime, until: float) -> bool:
    """Continue every rerun until about ``until`` (``time.monotonic()``). Returns whether more could be done at once.

    There is always time for one slice. A rerun that fails stops neither the others nor the caller.
    """
    with runtime.ledger.read() as tx:
        pending = reruns.pending(tx)
    for one in pending:
        left: Rerun | None = one
        with isolated(runtime, "builds", f"retry-{one.operation_id}"):
            while left is not None:
                left = _go_on(runtime, left)
                if left is not None and (time.monotonic() >= until or runtime.stopping.is_set()):
                    return True
    return False


def _go_on(runtime: Runtime, rerun: Rerun) -> Rerun | None:
    """Send a slice if possible now. Returns the rerun if this process should send more, otherwise None.

    A rerun that can never succeed (another version wrote its filter) ends as failed.
    """
    try:
        return _send(runtime, rerun)
    except UsageError as error:
        log.error("retry-%d failed: %s", rerun.operation_id, error)
        with runtime.ledger.write() as tx:
            reruns.fail(tx, rerun, str(error))
        with runtime.ledger.write() as tx:
            lifecycle.settle(tx, rerun.operation_id)
    except PipelineError as error:
        log.warning("retry-%d waits: %s", rerun.operation_id, error)
    return None


def _send(runtime: Runtime, rerun: Rerun) -> Rerun | None:
    """Send a slice unless enough documents are on their way. Returns the rerun if this process should send more."""
    with runtime.ledger.read() as tx:
        if reruns.crowded(tx, rerun, runtime.settings.work.max_in_flight):
            return None
        part = selection.following(tx, rerun.collection_id, rerun.where, after=rerun.after)
    if rerun.fresh:
        _forget_parses(runtime, part.documents)
    with runtime.ledger.write() as tx:
        ids = [document.id for document in part.documents]
        sent = reruns.send(tx, rerun, ids, upto=part.upto)
    if part.documents:
        runtime.ring("chunk")
    return replace(rerun, after=part.upto) if sent and part.upto is not None else None


def _forget_parses(runtime: Runtime, chosen: Sequence[selection.Selected]) -> None:
    runtime.blobs.remove_many("parsed", sorted({key for document in chosen for key in document.parse_keys}))
