"""The operator's view of the fleet, and commands to its workers: rates, waiting work, and what is stuck and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from semantik_pipeline.errors import DataFolderInUse, PipelineError, UsageError
from semantik_pipeline.ledger.access import audit_trail
from semantik_pipeline.ledger.ingestion import sources
from semantik_pipeline.ledger.queue import backlog
from semantik_pipeline.ledger.queue import workers as ledger_workers
from semantik_pipeline.ledger.queue.workers import EMBEDDED, WorkerRow
from semantik_pipeline.ownership import index_name
from semantik_pipeline.plugins.state import read_state

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime

#: Seconds without progress after which a unit in trouble is shown as stuck.
STUCK = 30.0

#: Maximum number of stuck units that are listed.
NAMED = 20

NONE_RUNNING = "No worker is running. Start one on a host of the fleet: semantik worker"


def view(runtime: Runtime) -> dict[str, Any]:
    """Return the fleet's state, read from the ledger and the state file.

    The keys are ``distributed``, ``owner``, ``workers``, ``plugin_state``, ``stages``, ``sources``, ``operations``,
    ``blocked`` and ``stuck``. Without a fleet, ``blocked`` is empty, since the next command does the work, and
    ``owner`` is the process that owns the data folder, if any.
    """
    alone = not runtime.settings.fleet
    with runtime.ledger.read() as tx:
        rows = ledger_workers.list_workers(tx)
        living = [row for row in rows if row.alive]
        stages: dict[str, dict[str, Any]] = {"sync": backlog.of_sync(tx), **backlog.by_stage(tx)}
        syncs = sources.count_states(tx)
        blocked = [] if alone else backlog.blocked(tx, living)
        stuck = backlog.stuck(tx, longer_than=STUCK, limit=NAMED)
        operations = backlog.operations_open(tx)
    current = current_state(runtime)
    for stage, waiting in stages.items():
        waiting["workers"] = sum(row.takes(stage) for row in living)
        waiting["documents_per_second"] = round(sum(_rate(row, stage, "units_per_second") for row in living), 2)
        waiting["chunks_per_second"] = round(sum(_rate(row, stage, "chunks_per_second") for row in living), 2)
    return {
        "distributed": not alone,
        "owner": runtime.owner() if alone else None,
        "workers": [_worker(row, current) for row in rows],
        "plugin_state": current,
        "stages": stages,
        "sources": syncs,
        "operations": operations,
        "blocked": blocked,
        "stuck": stuck,
    }


def why_blocked(one: dict[str, Any]) -> str:
    """Describe an entry of ``blocked`` as a sentence."""
    if one["stage"] == "sync":
        return f"the source {one['source']!r} of {one['collection']!r} is waiting to be read: {one['reason']}"
    many = "1 document" if one["units"] == 1 else f"{one['units']:,} documents"
    verb = "is" if one["units"] == 1 else "are"
    return f"{many} of {one['collection']!r} {verb} waiting for {one['stage']}: {one['reason']}"


def _rate(row: WorkerRow, stage: str, name: str) -> float:
    return row.activity.get("stages", {}).get(stage, {}).get(name, 0.0)


def current_state(runtime: Runtime) -> dict[str, Any]:
    """Return revision and hash of the current shared state file, for comparison with what each worker loaded."""
    try:
        state = read_state(runtime.settings.state_file)
    except PipelineError as error:  # running workers keep what they loaded, but a new one could not start
        return {"revision": None, "hash": None, "error": str(error)}
    return {"revision": state.revision, "hash": state.digest, "error": None}


def _worker(row: WorkerRow, current: dict[str, Any]) -> dict[str, Any]:
    loaded, report = row.report.get("plugin_state", {}), row.report.get("plugins", {})
    return {
        "id": row.id,
        "host": row.host,
        "pid": row.pid,
        "profile": row.profile,
        "state": "lost" if gone(row) else row.state,
        "command": row.command,
        "uptime_seconds": round(row.up, 1),
        "heartbeat_age_seconds": round(max(row.age, 0.0), 1),
        "queues": row.report.get("queues", []),
        **{name: row.report.get(name, default) for name, default in (("gpus", []), ("cpus", None), ("children", None))},
        "version": row.report.get("version"),
        "plugin_state": loaded,
        "plugin_state_current": loaded.get("hash") == current["hash"],
        "plugins": {name: [entry["id"] for entry in entries] for name, entries in report.items()},
        "plugin_failures": {entry["id"]: entry["reason"] for entry in report.get("failed", ())},
        **{name: row.activity.get(name) for name in ("stages", "models", "fingerprints", "refusals")},
        "in_progress": row.activity.get("in_hand"),
        "fatal_error": row.activity.get("fatal"),
        "memory_bytes": row.activity.get("rss"),
    }


def own_index(runtime: Runtime, *, make: bool = False) -> dict[str, str] | None:
    """Return the embedded index of this process as its report shows it: ``{"id", "folder"}``; None for a shared store.

    With ``make``, an index without an id gets one; only the process that owns the index may do that.
    """
    settings = runtime.settings
    if settings.shared_store:
        return None
    return {"id": index_name(settings.data_dir, make=make), "folder": str(settings.index_dir)}


def others_at_index(runtime: Runtime) -> list[WorkerRow]:
    """Return workers that use this process's ledger with a different index.

    What they index is not found by searches here. A dead worker counts only if both indexes are embedded and it was
    active later than the last worker with this process's index.
    A ledger inside the data folder always has one index, because the folder has one owner.
    """
    if runtime.settings.database.url is None:
        return []
    mine = own_index(runtime)
    with runtime.ledger.read() as tx:
        rows = [row for row in ledger_workers.list_workers(tx) if "index" in row.report]
    others = [row for row in rows if (row.report["index"] or {}).get("id") != (mine or {}).get("id")]
    last = min((row.age for row in rows if row not in others), default=float("inf"))
    return [row for row in others if row.alive or (row.age < last and mine and row.report["index"])]


def other_index_words(row: WorkerRow) -> str:
    at = row.report["index"]
    own = f"its own embedded index, {at['folder']}," if at else "another store"
    when = "is using" if row.alive else f"was, until {row.age / 60:,.0f} minutes ago, using"
    return f"process {row.pid} on {row.host} {when} {own} with this ledger"


def refuse_second_index(runtime: Runtime) -> list[WorkerRow]:
    """Raise DataFolderInUse if a living process uses this ledger with a different index.

    An embedded index belongs to one host. Returns the processes that used another index before.
    """
    others = others_at_index(runtime)
    if living := [row for row in others if row.alive]:
        raise DataFolderInUse(
            f"The {other_index_words(living[0])}, so neither would find what the other indexes.",
            "Stop it first, or set the same SEMANTIK_QDRANT_URL for both, or another SEMANTIK_DATABASE_URL for this "
            "one.",
        )
    return others


def ask(runtime: Runtime, names: Sequence[str], command: str) -> list[str]:
    """Tell workers (all living ones, if ``names`` is empty) to ``drain``, ``resume`` or ``restart``; return their ids.

    A name is a worker's id, host or profile. Raises UsageError for a name that matches no living worker, and for a
    worker embedded in another process, which can't stop or start by itself.
    """
    with runtime.ledger.write() as tx:
        living = ledger_workers.living(tx)
        chosen: dict[str, WorkerRow] = {}
        for name in names:
            found = [row for row in living if name in (row.id, row.host, row.profile)]
            if not found:
                there = f"Running workers: {', '.join(row.id for row in living)}." if living else NONE_RUNNING
                raise UsageError(f"No running worker matches {name!r}.", there)
            chosen |= {row.id: row for row in found}
        if not names:
            chosen = {row.id: row for row in living if row.profile != EMBEDDED} or {row.id: row for row in living}
        for row in chosen.values():
            if row.profile == EMBEDDED:
                where = f"the process {row.pid} on {row.host}"
                raise UsageError(
                    f"The worker {row.id} is part of {where}, so it can't {command} by itself.",
                    "Stop that process and start it again: work in progress is finished or handed back.",
                )
        ids = sorted(chosen)
        ledger_workers.ask(tx, ids, command)
        for worker_id in ids:
            audit_trail.record(tx, event=f"worker.{command}", subject=worker_id)
    return ids


def lost(runtime: Runtime, ids: Sequence[str]) -> list[str]:
    """Return those of the workers that died: they did not stop properly and sent no heartbeat for too long."""
    with runtime.ledger.read() as tx:
        return [row.id for row in ledger_workers.list_workers(tx) if row.id in ids and gone(row)]


def gone(row: WorkerRow) -> bool:
    """Whether the worker is considered dead."""
    return not row.alive and row.state != "stopped"


def waiting_for(runtime: Runtime, ids: Sequence[str], command: str) -> list[str]:
    """Return those of the workers that have not yet carried out the command."""
    wanted = {"drain": "draining", "resume": "ready"}.get(command)
    with runtime.ledger.read() as tx:
        living = {row.id: row for row in ledger_workers.living(tx)}
    if wanted is None:  # a restarted worker gets a new id
        return [name for name in ids if name in living]
    busy = "draining" if command == "drain" else None
    return [
        name
        for name in ids
        if name in living
        and (living[name].state != wanted or (busy and living[name].activity.get("in_hand", {}).get("stages")))
    ]
