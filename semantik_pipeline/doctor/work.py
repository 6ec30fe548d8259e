"""Checks that work progresses: workers, the schedule, sources, and documents that are stuck."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from semantik_pipeline import __version__, fleet, maintenance
from semantik_pipeline.doctor.examination import Check, Patient
from semantik_pipeline.doctor.findings import Finding, broken, warn, well
from semantik_pipeline.doctor.servers import look_at_queues
from semantik_pipeline.errors import PipelineError
from semantik_pipeline.ledger.database import chores
from semantik_pipeline.ledger.documents import document_reports
from semantik_pipeline.ledger.ingestion import sources
from semantik_pipeline.plugins.state import read_state
from semantik_pipeline.runtime import Runtime

#: Missed ticks, and minimum seconds, after which the scheduler is considered stopped.
MISSED, STALLED = 4, 60.0

START = "Start one with `semantik worker`."
RESUME = "Run `semantik fleet resume`."
RESTART = "Run `semantik fleet restart`."
NO_GPU = (
    "Its log says why, such as a driver that does not answer (`nvidia-smi`) or a torch without CUDA. If you want the "
    "CPU, set the plugin's option `device: cpu`."
)


def look_at_workers(patient: Patient) -> Iterator[Finding]:
    """Check that workers run, serve every stage, have one release and current plugins, and that no unit is stuck."""
    runtime = patient.runtime
    view = fleet.view(runtime)
    workers = [worker for worker in view["workers"] if worker["state"] not in ("stopped", "lost")]
    if runtime.settings.fleet:
        yield from _there(workers, view["stages"], view["blocked"])
        yield from _alike(workers)
    for worker in workers:
        yield from _devices(runtime, worker)
        if worker["fatal_error"]:
            yield broken(f"worker {worker['id']}", worker["fatal_error"], "Fix that; the worker then starts again.")
    if runtime.settings.fleet:
        for one in view["blocked"]:
            what = "blocked sources" if one["stage"] == "sync" else "blocked documents"
            yield broken(what, fleet.why_blocked(one), "`semantik fleet status` shows the workers and their reasons.")
    stuck = [one for one in view["stuck"] if one["stage"] != "sync"]  # look_at_sources reports failing sources
    if stuck:
        first = stuck[0]
        many = f"{len(stuck)}{' or more' if len(view['stuck']) == fleet.NAMED else ''}"
        told = f"{many}, such as {first['document']} at {first['stage']}: {first['reason']}"
        yield warn("stuck documents", told, f"`semantik documents show {first['document']}` shows more.")


def _there(
    workers: list[dict[str, Any]], stages: dict[str, dict[str, Any]], blocked: list[dict[str, Any]]
) -> Iterator[Finding]:
    waiting = {stage: one["waiting"] for stage, one in stages.items()}
    if not workers:
        judge = broken if any(waiting.values()) else warn
        reading = waiting.pop("sync")
        told = f"none is running; {sum(waiting.values()):,.0f} documents and {reading:,.0f} sources are waiting"
        yield judge("workers", told, START)
        return
    profiles = sorted({worker["profile"] for worker in workers})
    if all(worker["state"] == "draining" for worker in workers):
        judge = broken if blocked else warn
        yield judge("workers", f"{len(workers)} running, but all are drained: none takes work", RESUME)
        return
    yield well("workers", f"{len(workers)} running, with the profiles {', '.join(profiles)}")
    for stage, one in stages.items():
        if not one["workers"]:
            judge = broken if waiting[stage] else warn
            drained = any(worker["state"] == "draining" and stage in worker["queues"] for worker in workers)
            units = "sources" if stage == "sync" else "documents"
            told = f"{'all are drained' if drained else 'none'}; {waiting[stage]:,.0f} {units} are waiting"
            yield judge(f"workers of {stage}", told, RESUME if drained else START)


def _alike(workers: list[dict[str, Any]]) -> Iterator[Finding]:
    stale = [worker["id"] for worker in workers if not worker["plugin_state_current"]]
    if stale:
        yield warn("plugin state", f"changed since these workers loaded it: {', '.join(stale)}", RESTART)
    versions = {str(worker["version"]) for worker in workers} | {__version__}
    if len(versions) > 1:
        yield warn("releases", f"workers and this program differ: {', '.join(sorted(versions))}", RESTART)
    for worker in workers:
        for plugin, reason in worker["plugin_failures"].items():
            yield warn(f"worker {worker['id']}", f"could not load {plugin}: {reason}", RESTART)


def _devices(runtime: Runtime, worker: dict[str, Any]) -> Iterator[Finding]:
    """Report models that run on the CPU of a worker with a GPU, unless the CPU is configured."""
    there = [one for one in worker["models"] or () if one.get("device") == "cpu"]
    if not (there and worker["gpus"]):
        return
    with suppress(PipelineError):  # another check reports a state file that can't be read
        state = read_state(runtime.settings.state_file)
        there = [one for one in there if state.config_of(one["plugin"]).get("device") != "cpu"]
    if names := ", ".join(dict.fromkeys(str(one.get("model") or one["plugin"]) for one in there)):
        yield warn(f"worker {worker['id']}", f"has a GPU, but these models run on the CPU: {names}", NO_GPU)


def look_at_schedule(patient: Patient) -> Iterator[Finding]:
    """Check for maintenance ticks, which start due syncs, free the leases of dead workers and ring for due work."""
    runtime = patient.runtime
    with runtime.ledger.read() as tx:
        age = chores.age(tx, maintenance.TICK)
        scheduled = sum(source["schedule"] is not None for source in sources.list_sources(tx))
    told = "no maintenance tick yet" if age is None else f"last maintenance tick {age:,.0f} s ago"
    told = f"{told}; {_sources(scheduled)} a schedule"
    fresh = age is not None and age < max(STALLED, MISSED * runtime.settings.schedule.tick)
    if fresh or not (runtime.settings.fleet or scheduled):
        yield well("schedule", told)
    else:
        alone = "Start `semantik serve` or `semantik scheduler`; either also does the work."
        remedy = "Start `semantik scheduler`, and check that a worker is running: it handles the ticks."
        yield warn("schedule", told, remedy if runtime.settings.fleet else alone)


def _sources(number: int) -> str:
    return "1 source has" if number == 1 else f"{number} sources have"


def look_at_sources(patient: Patient) -> Iterator[Finding]:
    """Report sources that are paused or failing."""
    with patient.runtime.ledger.read() as tx:
        found = sources.list_sources(tx)
    ill = [source for source in found if source["state"] in ("paused", "failing", "retrying")]
    lacking = [one for one in found if one["state"] == "waiting" and (one["last_error"] or {}).get("blocked")]
    yield well("sources", healthy(len(found), len(found) - len(ill) - len(lacking)))
    for source in ill:
        what = f"source {source['name']}"
        if source["state"] == "paused":
            resume = f"To resume it, run `semantik sources resume {source['id']}`."
            yield warn(what, f"paused: {source['paused_reason']}", resume)
        else:
            reason = (source["last_error"] or {}).get("message", "no reason is given")
            yield warn(what, f"{source['state']}: {reason}", f"`semantik sources show {source['id']}` shows more.")


def healthy(number: int, well: int) -> str:
    """Return the summary, for example ``1 source, healthy`` or ``3 sources, 2 of them healthy``."""
    if not number:
        return "none"
    told = "1 source" if number == 1 else f"{number} sources"
    if well == number:
        return f"{told}, healthy" if number == 1 else f"{told}, all healthy"
    return f"{told}, not healthy" if number == 1 else f"{told}, {well} of them healthy"


def look_at_quarantine(patient: Patient) -> Iterator[Finding]:
    """Report documents in quarantine."""
    with patient.runtime.ledger.read() as tx:
        found = document_reports.totals(tx)["collections"]
    for name, entry in found.items():
        count = entry["documents"].get("quarantined", 0)
        if count:
            remedy = (
                "`semantik documents list --status quarantined` shows why; `semantik documents retry` retries them."
            )
            yield warn(f"quarantine of {name!r}", f"{count:,} document{'s' if count > 1 else ''}", remedy)


_LEDGER = "Check that the database answers."

CHECKS = (
    Check(name="workers", look=look_at_workers, remedy=_LEDGER, of_ledger=True),
    Check(name="queues", look=look_at_queues, remedy="Check that broker.url names a running broker.", of_ledger=True),
    Check(name="schedule", look=look_at_schedule, remedy=_LEDGER, of_ledger=True),
    Check(name="sources", look=look_at_sources, remedy=_LEDGER, of_ledger=True),
    Check(name="quarantine", look=look_at_quarantine, remedy=_LEDGER, of_ledger=True),
)
