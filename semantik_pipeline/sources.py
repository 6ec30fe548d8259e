"""Adds, changes, syncs, pauses, resumes and removes sources, and does maintenance's work on them.

Every change is recorded in the audit trail.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from semantik_pipeline import configurations
from semantik_pipeline.errors import ChangedMeanwhile, Conflict, UsageError
from semantik_pipeline.isolation import Step, isolated
from semantik_pipeline.ledger.access import audit_trail
from semantik_pipeline.ledger.catalog import collections
from semantik_pipeline.ledger.ingestion import permissions, timetable
from semantik_pipeline.ledger.ingestion import sources as ledger
from semantik_pipeline.ledger.operations import lifecycle
from semantik_pipeline.ledger.queue.work import ASKED
from semantik_pipeline.ledger.retention import removal
from semantik_pipeline.schedules import Schedule

if TYPE_CHECKING:
    from semantik_pipeline.ledger import Transaction
    from semantik_pipeline.runtime import Runtime


@dataclass(frozen=True, kw_only=True)
class NewSource:
    """A source to add: its connector, its display name and its options (secrets only as ``*_env``).

    ``principals`` may read its documents, unless a document names its own (None: everybody).
    """

    connector: str
    name: str
    config: dict[str, Any] = field(default_factory=dict)
    schedule: Schedule | None = None
    weight: float = 1.0
    principals: Collection[str] | None = None


#: Maximum length of a source's name in characters.
MAX_NAME = 2_000

#: The fields of a new source that the audit trail records.
_GIVEN = ("connector", "config", "schedule", "weight", "principals")


def add(runtime: Runtime, new: NewSource, *, collection: str) -> dict[str, Any]:
    """Add a source; the collection is created if it does not exist.

    A source with an interval is due at once, one with a cron expression at its next time. Raises UsageError if the name
    is taken, PluginConfigError for invalid options.
    """
    check_name(new.name)
    runtime.host.effective_config(new.connector, new.config, kind="connector")
    check_weight(new.weight)
    if new.schedule is not None:
        new.schedule.check_length()
    found = runtime.collection(collection)
    with runtime.ledger.write() as tx:
        source_id = collections.add_source(tx, found.id, new.connector, new.name, new.config)
        if source_id is None:
            raise _taken(tx, found.id, collection, new.connector, new.name)
        ledger.change_source(tx, source_id, weight=new.weight, principals=names_of(new.principals))
        if new.schedule is not None:
            ledger.change_source(tx, source_id, schedule=new.schedule.stored())
            if new.schedule.every is not None:
                ledger.make_due(tx, source_id)
        added = ledger.find_source(tx, str(source_id))
        _note(tx, "source.add", added, {name: added[name] for name in _GIVEN})
    return added


def configuration(runtime: Runtime, source: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a source that users can change, with secrets redacted. Its etag is computed from this."""
    config = runtime.host.redacted(source["connector"], source["config"])
    return {"config": config, **{name: source[name] for name in ("name", "schedule", "weight", "principals")}}


def change(runtime: Runtime, source: dict[str, Any], *, if_match: str | None = None, **values: Any) -> dict[str, Any]:
    """Change ``name``, ``config``, ``weight``, ``schedule`` (a Schedule, or None) or ``principals`` of a source.

    Synced documents stay as they are. New principals apply to searches immediately; an operation writes them into the
    index. With ``if_match``, the source's :func:`configuration` must still have that etag, otherwise ChangedMeanwhile
    is raised.
    """
    if "name" in values:
        check_name(values["name"])
    if "config" in values:
        runtime.host.effective_config(source["connector"], values["config"], kind="connector")
    if "weight" in values:
        check_weight(values["weight"])
    if values.get("schedule"):
        values["schedule"].check_length()
    if "schedule" in values:
        values["schedule"] = values["schedule"].stored() if values["schedule"] else None
    if "principals" in values:
        values["principals"] = names_of(values["principals"])
    _refuse_removed(source)
    with runtime.ledger.write() as tx:
        before = ledger.lock_source(tx, source["id"])
        if if_match is not None:
            _refuse_changed(runtime, ledger.get_source(tx, source["id"]), if_match)
        if (name := values.get("name", source["name"])) != source["name"] and collections.find_source(
            tx, before["collection_id"], source["connector"], name
        ):
            raise _taken(tx, before["collection_id"], source["collection"], source["connector"], name)
        ledger.change_source(tx, source["id"], **values)
        told = dict(values)
        if values.get("principals", before["principals"]) != before["principals"]:
            told["operation"] = permissions.begin(tx, source["id"], before["collection_id"])
        _note(tx, "source.set", source, told)
        changed = ledger.find_source(tx, str(source["id"]))
    if "operation" in told:
        runtime.ring("maintenance")
    return changed


def sync(runtime: Runtime, source: dict[str, Any], *, allow_deletions: bool = False, full: bool = False) -> int:
    """Start a sync now; return the id of its operation.

    Syncs of a source never overlap: if one is running, its operation is returned, and a paused one is taken over.
    Raises UsageError for a source that is paused or being removed.
    """
    _refuse_removed(source)
    if source["paused_reason"] is not None:
        raise Conflict(
            f"The source {source['name']} is paused: {source['paused_reason'].rstrip('.')}.",
            f"Resume it with `semantik sources resume {source['id']}`.",
        )
    with runtime.ledger.write() as tx:
        now_there = ledger.lock_source(tx, source["id"])
        if now_there["operation"] is not None and now_there["held_by"] is None and not full:
            operation_id = now_there["operation"]
            if allow_deletions:
                ledger.allow_deletions(tx, source["id"])
        else:
            operation_id = _begin(tx, now_there, allow_deletions=allow_deletions, full=full)
        _note(tx, "source.sync", source, {"operation": operation_id, "allow_deletions": allow_deletions, "full": full})
    runtime.ring("sync")
    return operation_id


def _begin(tx: Transaction, source: dict[str, Any], **how: bool) -> int:
    operation_id = lifecycle.begin(tx, source["collection_id"], "sync")
    lifecycle.request_sync(tx, operation_id, source["id"], lane=ASKED, **how)
    return operation_id


def pause(runtime: Runtime, source: dict[str, Any], reason: str) -> dict[str, Any]:
    """Start no more syncs of the source until it is resumed. A running sync ends its slice and keeps its cursor.

    Raises UsageError for an empty reason.
    """
    if not reason.strip():
        raise UsageError("The reason of the pause is empty.", "Say why, or leave --reason out.")
    _refuse_removed(source)
    with runtime.ledger.write() as tx:
        ledger.pause(tx, source["id"], reason)
        _note(tx, "source.pause", source, {"reason": reason})
        return ledger.find_source(tx, str(source["id"]))


def resume(runtime: Runtime, source: dict[str, Any], *, allow_deletions: bool = False) -> int | None:
    """Resume a paused source. With ``allow_deletions``, sync it now and remove vanished documents, however many.

    Returns the operation of the sync that is running or was started, if any.
    """
    _refuse_removed(source)
    with runtime.ledger.write() as tx:
        now_there = ledger.lock_source(tx, source["id"])
        ledger.resume(tx, source["id"])
        operation_id = now_there["operation"]
        if allow_deletions and operation_id is not None:
            ledger.allow_deletions(tx, source["id"])
        elif allow_deletions:
            operation_id = _begin(tx, now_there, allow_deletions=True)
        _note(tx, "source.resume", source, {"allow_deletions": allow_deletions})
    runtime.ring("sync")
    return operation_id


def remove(runtime: Runtime, source: dict[str, Any], *, purge: bool = False) -> int:
    """Begin to remove a source; return the operation. It is not synced any more; the origin itself is untouched.

    Its documents leave the index, then the source is in the trash. With ``purge`` it is deleted permanently, together
    with its documents that are in the trash already.
    """
    trash = not purge and runtime.settings.retention.trash_days > 0
    with runtime.ledger.write() as tx:
        now_there = ledger.lock_source(tx, source["id"])
        operation_id = now_there["operation"]
        if now_there["removed_at"] is None or operation_id is None:
            operation_id = lifecycle.begin(tx, now_there["collection_id"], "delete")
            removal.begin(tx, source["id"], operation_id, trash=trash)
        elif purge:
            removal.forever(tx, source["id"])
        else:
            return operation_id
        _note(tx, "source.remove", source, {"operation": operation_id, "purge": not trash})
    runtime.ring("maintenance")
    return operation_id


def begin_due(runtime: Runtime) -> list[int]:
    """Start the scheduled syncs that are due; return their operations."""
    begun: list[int] = []
    while True:
        with runtime.ledger.write() as tx:
            some = timetable.begin_due(tx)
        begun += some
        if not some:
            return begun


def advance_removals(runtime: Runtime, *, seconds: float = float("inf")) -> bool:
    """Continue to remove sources, one step of each in turn, for about ``seconds`` seconds.

    Returns whether it could continue at once.
    """
    return _advance(runtime, "removals", removal.pending, removal.step, seconds)


def advance_permissions(runtime: Runtime, *, seconds: float = float("inf")) -> bool:
    """Like :func:`advance_removals`, for sources whose principals have changed."""
    return _advance(runtime, "permissions", permissions.pending, permissions.step, seconds)


def _advance(
    runtime: Runtime,
    name: Step,
    pending_of: Callable[[Transaction], list[int]],
    step: Callable[[Transaction, int], bool],
    seconds: float,
) -> bool:
    until = time.monotonic() + seconds
    with runtime.ledger.read() as tx:
        pending = deque(pending_of(tx))
    while pending and not runtime.stopping.is_set():
        source_id, more = pending.popleft(), False
        with isolated(runtime, name, f"source {source_id}"), runtime.ledger.write() as tx:
            more = step(tx, source_id)
        if more:
            pending.append(source_id)
        if pending and time.monotonic() >= until:
            return True
    return False


def _note(tx: Transaction, event: str, source: dict[str, Any], detail: dict[str, Any]) -> None:
    subject = f"{source['collection']}: {source['name']}"
    audit_trail.record(tx, event=event, subject=subject, detail={"source": source["id"], **detail})


def _taken(tx: Transaction, collection_id: int, collection: str, connector: str, name: str) -> Conflict:
    there = collections.find_source(tx, collection_id, connector, name)
    if there is not None and there.trashed_at is not None:
        return Conflict(
            f"The source {name!r} of {collection!r} is in the trash.",
            f"Restore it with `semantik sources restore {there.id}`, or give another name with --name.",
        )
    return Conflict(
        f"The collection {collection!r} already has a source {name!r}.",
        "Change it with `semantik sources set`, or give another name with --name.",
    )


def check_name(name: str) -> None:
    """Raise UsageError for a source name that is empty, too long or not printable; paths and URLs are valid."""
    if not name.strip() or len(name) > MAX_NAME or not name.replace(" ", "").isprintable():
        told = name if len(name) <= 40 else f"{name[:40]}…"
        raise UsageError(
            f"{told!r} can't be the name of a source.",
            f"A name has 1 to {MAX_NAME:,} visible characters. Give one with --name.",
        )


def check_weight(weight: Any) -> None:
    """Raise UsageError for a weight that is not a positive, finite number."""
    number = isinstance(weight, int | float) and not isinstance(weight, bool)
    if not number or not 0 < weight < float("inf"):
        told = f"{weight:g}" if number else repr(weight)
        raise UsageError(f"The weight {told} is not valid.", "Give a number above 0; the default is 1.")


def names_of(principals: Any) -> list[str] | None:
    """Return principals as the ledger stores them; None is everybody. Raises UsageError for invalid names."""
    if principals is None:
        return None
    several = isinstance(principals, list | tuple | set | frozenset)
    if not several or not all(isinstance(name, str) and name.strip() for name in principals):
        raise UsageError(f"{principals!r} is not a list of users or groups.", "Give a list of names, or none at all.")
    return sorted(set(principals))


def _refuse_changed(runtime: Runtime, source: dict[str, Any], if_match: str) -> None:
    if configurations.etag(configuration(runtime, source)) != if_match:
        raise ChangedMeanwhile(
            f"The source {source['name']} was changed after it was read.", "Read it again, and repeat your change."
        )


def _refuse_removed(source: dict[str, Any]) -> None:
    if source["removed_at"] is not None:
        raise Conflict(f"The source {source['name']} is being removed.", "Add it again once it is gone.")
