"""Asking for another build of a collection's index, and for the way back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from semantik_pipeline import configurations
from semantik_pipeline.errors import UsageError
from semantik_pipeline.generations.aliases import tell_outsiders
from semantik_pipeline.generations.configuration import complete, frozen_from
from semantik_pipeline.generations.outdated import reasons
from semantik_pipeline.ledger import (
    audit_trail,
    builds,
    collections,
    lineage,
    operations,
    switching,
)
from semantik_pipeline.ledger.collections import Collection

if TYPE_CHECKING:
    from semantik_pipeline.ledger.builds import Frozen
    from semantik_pipeline.runtime import Runtime


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
