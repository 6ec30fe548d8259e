"""Creates, shows, configures and renames collections. Every change is recorded in the audit trail.

Deleting and restoring collections is in :mod:`trash`, building their indexes in :mod:`generations`.
"""

from __future__ import annotations

from collections.abc import Collection as Group
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from semantik_pipeline import configurations, generations
from semantik_pipeline.errors import ChangedMeanwhile, Conflict
from semantik_pipeline.ledger.access import audit_trail
from semantik_pipeline.ledger.catalog import collection_reports
from semantik_pipeline.ledger.catalog import collections as ledger

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime


def create(
    runtime: Runtime,
    name: str,
    *,
    config: Mapping[str, Any] | None = None,
    changes: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Create a collection from the settings' defaults, ``config``, then ``changes`` by dotted names; return it.

    The result is that of :func:`show`. Raises UsageError, PluginNotFoundError or PluginConfigError for an invalid name
    or configuration, and Conflict if the name is taken.
    """
    configurations.check_name(name)
    given = {**runtime.settings.collection, **(config or {})}
    if changes:
        given = configurations.changed({**generations.DEFAULT, **given}, changes)
    _refuse_taken(runtime, name)
    if make(runtime, name, given) is None:
        _refuse_taken(runtime, name)
        raise Conflict(f"A collection {name!r} was created at the same moment.", "Try again, or give another name.")
    return show(runtime, name)


def make(runtime: Runtime, name: str, config: Mapping[str, Any] | None = None) -> ledger.Collection | None:
    """Create a collection from the settings' defaults and ``config``; return None if the name is taken.

    A collection in the trash also takes its name. The creation is recorded in the audit trail. Raises what
    :func:`create` raises for an invalid name or configuration.
    """
    configurations.check_name(name)
    given = {**runtime.settings.collection, **(config or {})}
    frozen = generations.frozen_from(runtime.host, generations.complete(runtime.host, given))
    with runtime.ledger.write() as tx:
        made = ledger.create_collection(
            tx,
            name,
            config=frozen.wanted,
            frozen=frozen.config,
            fingerprints=frozen.fingerprints,
            dimension=frozen.dimension,
            plugins=frozen.plugins,
        )
        if made is not None:
            audit_trail.record(tx, event="collection.create", subject=name, detail={"config": made.config})
        return made


def list_all(
    runtime: Runtime, *, among: Group[str] | None = None, after: str | None = None, limit: int | None = None
) -> list[dict[str, Any]]:
    """Return at most ``limit`` collections by name, after the name ``after``, optionally only those in ``among``.

    Each is as :func:`show` returns it, but without ``outdated``, which needs plugins.
    """
    with runtime.ledger.read() as tx:
        found = collection_reports.list_collections(tx, among=among, after=after, limit=limit)
    return [_described(row) for row in found]


def show(runtime: Runtime, name: str) -> dict[str, Any]:
    """Return ``name``, ``config`` and its ``etag``, ``generations``, ``documents`` by status, ``chunks``, ``sources``
    and ``outdated``.

    ``outdated`` has the reasons why the active generation is outdated; empty if it is not. Raises UsageError for an
    unknown collection.
    """
    with runtime.ledger.read() as tx:
        ledger.get_collection(tx, name)
        found = [_described(row) for row in collection_reports.list_collections(tx, among=[name])]
    return {**found[0], "outdated": generations.outdated(runtime, name)}


def configuration(runtime: Runtime, name: str) -> dict[str, Any]:
    """Return a collection's configuration. Raises NotFound if it does not exist."""
    with runtime.ledger.read() as tx:
        return ledger.get_collection(tx, name).config


def configure(
    runtime: Runtime, name: str, changes: Mapping[str, Any], *, if_match: str | None = None
) -> dict[str, Any]:
    """Change a collection's configuration by dotted names (``None`` unsets a value); return what :func:`show` returns.

    Options that shape the output apply to generations built from now on (``outdated`` shows what a reindex would
    change); ``default_reranker`` and ``search`` apply immediately. With ``if_match``, the configuration must still have
    that etag, otherwise ChangedMeanwhile is raised.
    """
    while True:
        with runtime.ledger.read() as tx:
            before = ledger.get_collection(tx, name)
        wanted = generations.complete(runtime.host, configurations.changed(before.config, changes))
        generations.freeze(runtime.host, wanted)
        with runtime.ledger.write() as tx:
            present = ledger.lock_config(tx, before.id)
            if if_match is not None and present is not None and if_match != configurations.etag(present):
                raise ChangedMeanwhile(
                    f"The configuration of {name!r} was changed after it was read.",
                    "Read it again, and repeat your change.",
                )
            if present == before.config:  # otherwise it was changed concurrently: start again from the new one
                ledger.change_collection(tx, before.id, config=wanted)
                audit_trail.record(tx, event="collection.configure", subject=name, detail={"changes": dict(changes)})
                break
    return show(runtime, name)


def rename(runtime: Runtime, name: str, new_name: str) -> dict[str, Any]:
    """Rename a collection; searches under the old name fail from then on.

    A collection in the trash can be renamed too, to free its name. Raises Conflict if the new name is taken.
    """
    configurations.check_name(new_name)
    _refuse_taken(runtime, new_name)
    with runtime.ledger.write() as tx:
        found = ledger.find_collection(tx, name, trashed=True) or ledger.get_collection(tx, name)
        ledger.change_collection(tx, found.id, name=new_name)
        audit_trail.record(tx, event="collection.rename", subject=name, detail={"name": new_name})
    runtime.keyring.forget()  # cached principals refer to collections by name
    return {"id": found.id, "name": new_name, "previous_name": name}


def _described(row: dict[str, Any]) -> dict[str, Any]:
    """Return a collection for display: with its configuration's etag and the total of its documents."""
    by_status = row["documents"]
    counted = {"documents": by_status, "total": sum(by_status.values())}
    return {**row, **counted, "etag": configurations.etag(row["config"])}


def _refuse_taken(runtime: Runtime, name: str) -> None:
    with runtime.ledger.read() as tx:
        found = ledger.find_collection(tx, name, trashed=True)
    if found is not None and found.trashed_at is not None:
        raise Conflict(
            f"The collection {name!r} is in the trash.",
            "Restore, purge or rename that one, or give another name.",
        )
    if found is not None:
        raise Conflict(f"The collection {name!r} already exists.", "Give another name.")
