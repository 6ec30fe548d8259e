"""Collections: made, shown, configured, renamed. Their deletion and return are :mod:`trash`, their builds
:mod:`generations`. Every change is noted in the audit trail."""

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
    """Make a collection: ``config`` over the settings' defaults, then ``changes`` by dotted names; returns what
    :func:`show` does.

    Raises UsageError, PluginNotFoundError or PluginConfigError for what can't be, and Conflict if there is one of that
    name.
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
    """Make a collection, ``config`` over the settings' defaults; None if there is one of that name, in the trash too. It
    is noted who did, be it by the way. Raises what :func:`create` does for what can't be."""
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
    """Collections by name, as :func:`show` has them, without what takes plugins to say (``outdated``): all, or those
    ``among`` these, behind a name, at most so many."""
    with runtime.ledger.read() as tx:
        found = collection_reports.list_collections(tx, among=among, after=after, limit=limit)
    return [_described(row) for row in found]


def show(runtime: Runtime, name: str) -> dict[str, Any]:
    """``name``, ``config`` and its ``etag``, ``generations``, ``documents`` by status, ``chunks``, ``sources``, and why
    its active generation is ``outdated`` (empty: it is not). Raises UsageError for one that does not exist."""
    with runtime.ledger.read() as tx:
        ledger.get_collection(tx, name)
        found = [_described(row) for row in collection_reports.list_collections(tx, among=[name])]
    return {**found[0], "outdated": generations.outdated(runtime, name)}


def configuration(runtime: Runtime, name: str) -> dict[str, Any]:
    """What a collection is to be made of. Raises NotFound for one that does not exist."""
    with runtime.ledger.read() as tx:
        return ledger.get_collection(tx, name).config


def configure(
    runtime: Runtime, name: str, changes: Mapping[str, Any], *, if_match: str | None = None
) -> dict[str, Any]:
    """Change what a collection is to be made of, by dotted names (``None`` unsets); returns what :func:`show` does.

    What shapes the output counts for generations built from now on (``outdated`` says what a reindex would change);
    ``default_reranker`` counts at once. With ``if_match`` the configuration must still have that etag: else
    ChangedMeanwhile.
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
            if present == before.config:  # else somebody else changed it meanwhile: look again
                ledger.change_collection(tx, before.id, config=wanted)
                audit_trail.record(tx, event="collection.configure", subject=name, detail={"changes": dict(changes)})
                break
    return show(runtime, name)


def rename(runtime: Runtime, name: str, new_name: str) -> dict[str, Any]:
    """Call a collection otherwise; searches under the old name fail from then on. One in the trash may be renamed too,
    so that its name is free. Raises Conflict if the new name is taken."""
    configurations.check_name(new_name)
    _refuse_taken(runtime, new_name)
    with runtime.ledger.write() as tx:
        found = ledger.find_collection(tx, name, trashed=True) or ledger.get_collection(tx, name)
        ledger.change_collection(tx, found.id, name=new_name)
        audit_trail.record(tx, event="collection.rename", subject=name, detail={"name": new_name})
    runtime.keyring.forget()  # it knows collections by their names
    return {"id": found.id, "name": new_name, "previous_name": name}


def _described(row: dict[str, Any]) -> dict[str, Any]:
    """A collection as people see it: its configuration's etag, and the sum of its documents."""
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
