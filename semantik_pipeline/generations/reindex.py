"""Asking for another build of a collection's index, for documents to go their way again, and for the way back."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from semantik_pipeline import configurations
from semantik_pipeline.errors import PipelineError, UsageError
from semantik_pipeline.generations.configuration import complete, frozen_from
from semantik_pipeline.generations.outdated import reasons
from semantik_pipeline.ledger import (
    audit_trail,
    builds,
    collections,
    lineage,
    operations,
    revisions,
    selection,
    switching,
)
from semantik_pipeline.ledger.collections import Collection

if TYPE_CHECKING:
    from semantik_pipeline.ledger.builds import Frozen
    from semantik_pipeline.runtime import Runtime

log = logging.getLogger(__name__)

#: The lane of documents that somebody sends through the stages again.
API_LANE = 1

#: Documents that one transaction sends on their way.
BATCH = 500


def wanted(runtime: Runtime, collection: Collection, changes: Mapping[str, Any]) -> Frozen:
    """What a build with these changes (dotted names, see ``configurations.py``) is made of. Raises UsageError and
    PluginConfigError for what makes no sense."""
    config = configurations.changed(collection.config, changes) if changes else collection.config
    return frozen_from(runtime.host, complete(runtime.host, config))


def reindex(
    runtime: Runtime,
    collection: str,
    changes: Mapping[str, Any] | None = None,
    *,
    accept_losses: bool = False,
    force: bool = False,
) -> int:
    """Build the collection's index anew beside the one that search reads, with these changes of its configuration, and
    switch to it when it has passed its gate; returns the operation.

    ``accept_losses``: documents that are found now and fail with the new configuration don't keep it from being switched
    to. Raises Conflict if one is being built already, and UsageError if the build would be what is there, unless
    ``force``.
    """
    with runtime.ledger.read() as tx:
        found = collections.get_collection(tx, collection)
        active = lineage.active(tx, found.id)
    frozen = wanted(runtime, found, changes or {})
    if not force and not reasons(runtime.host, frozen.wanted, active):
        raise UsageError(
            f"A build of {collection!r} would be what its index is now.",
            "Change something (--set chunking.max_tokens=150), or --force it.",
        )
    detail = {"changes": dict(changes or {}), "accept_losses": accept_losses}
    with runtime.ledger.write() as tx:
        operation_id = operations.begin(tx, found.id, "reindex", detail=detail)
        generation_id = builds.begin(tx, found, frozen, operation_id)
        subject = f"{collection} (reindex-{operation_id})"
        audit_trail.record(
            tx, event="collection.reindex", subject=subject, detail={**detail, "generation": generation_id}
        )
    runtime.ring("maintenance")
    return operation_id


def rollback(runtime: Runtime, collection: str) -> dict[str, Any]:
    """Let search read the generation before again, at once; what was active is kept in its place. Returns ``{"collection",
    "generation", "replaced", "behind"}``: documents on which the stages are still to work there, which are as they were
    until then. Raises UsageError if none is kept."""
    with runtime.ledger.write() as tx:
        found = collections.get_collection(tx, collection)
        generation_id = switching.rollback(tx, found, keep=runtime.settings.reindex.keep)
        behind = builds.left(tx, generation_id)
        changes = {"generation": generation_id, "replaced": found.active_generation, "behind": behind}
        audit_trail.record(tx, event="collection.rollback", subject=collection, detail=changes)
    tell_outsiders(runtime, collection)
    return {"collection": collection, **changes}


def point_alias(runtime: Runtime, collection: str) -> None:
    """Let outsiders find the collection's index under one name, where the store has aliases: ``semantik-`` and the
    collection's number. Left alone where another process has the store."""
    if runtime.settings.database.url is None and (runtime.owner() or {}).get("pid") not in (None, os.getpid()):
        return
    view = runtime.ledger.search_view(collection)
    generation = runtime.generation(view.generation_id)
    if runtime.existing_index(generation) is not None:
        runtime.host.call(runtime.store.point_alias, f"semantik-{generation.collection_id}", view.index)


def tell_outsiders(runtime: Runtime, collection: str) -> None:
    """:func:`point_alias`, after the switch: a store that is away undoes nothing."""
    try:
        point_alias(runtime, collection)
    except PipelineError as error:
        log.warning("The store's alias of %s still names the index before: %s", collection, error)


def history(runtime: Runtime, collection: str) -> list[dict[str, Any]]:
    """The collection's generations, newest first: state, index, dimension, documents and chunks, times."""
    with runtime.ledger.read() as tx:
        found = collections.get_collection(tx, collection)
        records = lineage.of_collection(tx, found.id)
        sizes = lineage.sizes(tx, found.id)
    return [
        {**record.summary(), **dict(zip(("documents", "chunks"), sizes.get(record.id, (0, 0)), strict=True))}
        for record in records
    ]


def rerun(runtime: Runtime, collection: str, where: dict[str, Any], *, fresh: bool = False) -> int:
    """Send the collection's documents that meet a filter through the stages again, within the generations that there are;
    returns the operation. See ``ledger/selection.py`` for what a filter can ask for.

    ``fresh``: parses that are kept are not used again, as after a parser was mended without a new OUTPUT_VERSION. Raises
    UsageError for a filter that is wrong, or that no document meets.
    """
    with runtime.ledger.read() as tx:
        found = collections.get_collection(tx, collection)
        chosen = selection.select_documents(tx, found.id, where)
    if not chosen:
        raise UsageError(
            f"No document of {collection!r} meets the filter.", "`semantik documents list` shows what there is."
        )
    if fresh:
        _forget_parses(runtime, chosen)
    with runtime.ledger.write() as tx:
        operation_id = operations.begin(tx, found.id, "retry", detail={"where": where, "fresh": fresh})
        for start in range(0, len(chosen), BATCH):
            ids = [document.id for document in chosen[start : start + BATCH]]
            revisions.retry_documents(tx, ids, operation_id=operation_id, lane=API_LANE)
        detail = {"where": where, "documents": len(chosen), "operation": operation_id}
        audit_trail.record(tx, event="collection.rerun", subject=collection, detail=detail)
    runtime.ring("chunk")
    return operation_id


def matching(runtime: Runtime, collection: str, where: dict[str, Any]) -> list[str]:
    """The unique ids of the documents that :func:`rerun` would send on their way."""
    with runtime.ledger.read() as tx:
        found = collections.get_collection(tx, collection)
        return [one.document for one in selection.select_documents(tx, found.id, where)]


def _forget_parses(runtime: Runtime, chosen: Sequence[selection.Selected]) -> None:
    for key in sorted({key for document in chosen for key in document.parse_keys}):
        runtime.blobs.remove("parsed", key)
