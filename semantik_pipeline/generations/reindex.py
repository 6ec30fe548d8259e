"""Request a new build of a collection's index, or a rollback to the previous one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from semantik_pipeline import configurations
from semantik_pipeline.errors import Conflict, PipelineError, UsageError
from semantik_pipeline.generations.aliases import tell_outsiders
from semantik_pipeline.generations.configuration import check_encoders, complete, frozen_from
from semantik_pipeline.generations.outdated import reasons
from semantik_pipeline.ledger.access import audit_trail
from semantik_pipeline.ledger.catalog import collections, lineage
from semantik_pipeline.ledger.catalog.collections import Collection, Generation
from semantik_pipeline.ledger.generations import builds, switching
from semantik_pipeline.ledger.operations import lifecycle
from semantik_pipeline.ledger.queue import workers

if TYPE_CHECKING:
    from semantik_pipeline.ledger.generations.builds import Frozen
    from semantik_pipeline.runtime import Runtime


def wanted(runtime: Runtime, collection: Collection, changes: Mapping[str, Any]) -> Frozen:
    """Return the frozen configuration of a build with these changes (dotted names, see ``configurations.py``).

    Raises UsageError and PluginConfigError for changes that are not valid.
    """
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
    """Request a new build of the collection's index, with these changes of its configuration. Returns the operation id.

    The build runs beside the index that search reads. Search switches to it after it has passed its gate.

    ``accept_losses``: switch even if documents that are found now fail with the new configuration. Raises Conflict if a
    build is already running, and UsageError if the build would equal the current index, unless ``force``.
    """
    with runtime.ledger.read() as tx:
        found = collections.get_collection(tx, collection)
        active = lineage.active(tx, found.id)
    frozen = wanted(runtime, found, changes or {})
    if not force and not reasons(runtime.host, frozen.wanted, active):
        raise UsageError(
            f"A new index of {collection!r} would be the same as the current one.",
            "Change something (--set chunking.max_tokens=150), or use --force.",
        )
    detail = {"changes": dict(changes or {}), "accept_losses": accept_losses}
    with runtime.ledger.write() as tx:
        operation_id = lifecycle.begin(tx, found.id, "reindex", detail=detail)
        generation_id = builds.begin(tx, found, frozen, operation_id)
        subject = f"{collection} (reindex-{operation_id})"
        audit_trail.record(
            tx, event="collection.reindex", subject=subject, detail={**detail, "generation": generation_id}
        )
    runtime.ring("maintenance")
    return operation_id


def rollback(runtime: Runtime, collection: str, *, force: bool = False) -> dict[str, Any]:
    """Let search read the previous generation again, at once. The active one is kept in its place.

    Returns ``{"collection", "generation", "previous_generation", "pending_documents"}``. The last is the number of
    documents that the stages still have to process in that generation; until then search finds their older state.
    Raises UsageError if no generation is kept, and Conflict if queries cannot be embedded for it, unless ``force``.
    """
    while True:
        with runtime.ledger.read() as tx:
            kept = switching.kept(tx, collections.get_collection(tx, collection))
        if not force and (reason := _unsearchable(runtime, runtime.generation(kept))) is not None:
            raise Conflict(
                f"Queries of {collection!r} can't be embedded for generation {kept}, the previous one: {reason}",
                "Fix that first, or use --force.",
            )
        if (answer := _rolled_back(runtime, collection, kept)) is not None:
            tell_outsiders(runtime, collection)
            return answer


def _unsearchable(runtime: Runtime, generation: Generation) -> str | None:
    """Return why the processes that answer searches cannot embed a query for the generation, or None.

    If no search worker is alive, nothing is known, and this returns None.
    """
    if runtime.settings.search.execution == "local":
        try:
            check_encoders(runtime.host, generation)
        except PipelineError as error:
            return error.message
        return None
    with runtime.ledger.read() as tx:
        living = [row for row in workers.living(tx) if "search" in row.report.get("queues", ())]
    prints = [row.activity.get("fingerprints", {}).get(str(generation.id), {}).get("embed") for row in living]
    if not living or generation.fingerprints["embed"] in prints:
        return None
    return f"no search worker can embed as for that index ({', '.join(sorted(row.id for row in living))})."


def _rolled_back(runtime: Runtime, collection: str, generation_id: int) -> dict[str, Any] | None:
    """Roll back in the ledger. Returns None, and changes nothing, if another generation is the previous one by now."""
    with runtime.ledger.write() as tx:
        found = collections.get_collection(tx, collection)
        if not switching.rollback(tx, found, generation_id, keep=runtime.settings.reindex.rollback_window):
            return None
        behind = builds.left(tx, generation_id)
        changes = {
            "generation": generation_id,
            "previous_generation": found.active_generation,
            "pending_documents": behind,
        }
        audit_trail.record(tx, event="collection.rollback", subject=collection, detail=changes)
    return {"collection": collection, **changes}
