"""Worker processes: their reports and heartbeats, and the commands of operators."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, delete, func, select, update

from semantik_pipeline.ledger.database import chores
from semantik_pipeline.ledger.database.connection import Transaction, now
from semantik_pipeline.ledger.tables import documents, sources, work, workers

#: A worker that has missed this many heartbeats counts as dead.
MISSED = 4

#: The profile of a worker inside a process with other tasks (``semantik serve``, or a command without a fleet).
EMBEDDED = "embedded"

#: Seconds that a process that restarts its program may take until its next heartbeat.
LOADING = 30.0


@dataclass(frozen=True, kw_only=True)
class WorkerRow:
    """A worker process, with its ``report`` from its start and its ``activity`` from its last heartbeat.

    ``age``: seconds since that heartbeat. ``up``: seconds since its start. Both are on the database's clock.
    """

    id: str
    host: str
    pid: int
    profile: str
    state: str
    report: dict[str, Any]
    activity: dict[str, Any]
    command: str | None
    age: float
    up: float

    @property
    def alive(self) -> bool:
        """Whether the process seems to be running: not stopped, and its last heartbeat is recent."""
        return self.state != "stopped" and self.age < MISSED * self.report.get("heartbeat", 5.0)

    def takes(self, stage: str) -> bool:
        """Whether it takes work of a stage: its profile serves the stage, and it is neither starting nor draining.

        A restarting worker counts: it continues until its replacement is ready, or is back within moments.
        """
        return stage in self.report.get("queues", ()) and self.state not in ("starting", "draining")


def announce(tx: Transaction, worker_id: str, *, host: str, pid: int, profile: str, report: dict[str, Any]) -> None:
    """Register a process that has loaded its plugins as ``starting``. It takes no work until it hears the broker."""
    row = {"id": worker_id, "host": host, "pid": pid, "profile": profile, "report": report, "state": "starting"}
    tx.execute(delete(workers).where(workers.c.id == worker_id))
    tx.execute(workers.insert().values(**row, started_at=now(), heartbeat=now()))


def ready(tx: Transaction, worker_id: str, *, host: str, pid: int) -> None:
    """Set an announced process to ``ready``: it takes work from now on.

    If the process has restarted its program, this also ends the restart turn of its previous program.
    """
    before = _restarting(host, pid) & (workers.c.id != worker_id)
    tx.execute(update(workers).where(before).values(state="stopped", activity=None, command=None))
    tx.execute(update(workers).where(workers.c.id == worker_id).values(state="ready", heartbeat=now()))


def _restarting(host: str, pid: int) -> ColumnElement[bool]:
    return (workers.c.host == host) & (workers.c.pid == pid) & (workers.c.state == "restarting")


def keep_turn(tx: Transaction, *, host: str, pid: int) -> None:
    """Keep the restart turn (:func:`take_turn`) of a process that is restarting its program, until it registers.

    It can't send heartbeats before its program is loaded, so it counts as alive for LOADING seconds longer.
    """
    later = now() + LOADING
    tx.execute(update(workers).where(_restarting(host, pid)).values(activity=None, command=None, heartbeat=later))


def beat(tx: Transaction, worker_id: str, *, state: str, activity: dict[str, Any]) -> str | None:
    """Store a heartbeat; returns the operator's command for the process, if any. Does not recreate a swept row."""
    mine = workers.c.id == worker_id
    tx.execute(update(workers).where(mine).values(state=state, activity=activity, heartbeat=now()))
    return tx.execute(select(workers.c.command).where(mine)).scalar_one_or_none()


def obeyed(tx: Transaction, worker_id: str, command: str) -> None:
    """Clear a command that the process has carried out, unless another command has replaced it."""
    asked = (workers.c.id == worker_id) & (workers.c.command == command)
    tx.execute(update(workers).where(asked).values(command=None))


def end(tx: Transaction, worker_id: str) -> None:
    """Set a process that shuts down to ``stopped``."""
    tx.execute(
        update(workers)
        .where(workers.c.id == worker_id)
        .values(state="stopped", activity=None, command=None, heartbeat=now())
    )


def list_workers(tx: Transaction) -> list[WorkerRow]:
    """All workers that are not swept yet, ordered by their start."""
    columns = [column for column in workers.c if column.name not in ("started_at", "heartbeat")]
    ages = ((now() - workers.c.heartbeat).label("age"), (now() - workers.c.started_at).label("up"))
    rows = tx.execute(select(*columns, *ages).order_by(workers.c.started_at, workers.c.id)).mappings()
    return [WorkerRow(**{**row, "activity": row["activity"] or {}}) for row in rows]


def living(tx: Transaction) -> list[WorkerRow]:
    """Workers that seem to be running (:attr:`WorkerRow.alive`)."""
    return [worker for worker in list_workers(tx) if worker.alive]


def ask(tx: Transaction, worker_ids: Iterable[str], command: str) -> int:
    """Send processes the command ``drain``, ``resume`` or ``restart``; they receive it with their next heartbeat.

    Returns the number of processes.
    """
    asked = workers.c.id.in_(sorted(worker_ids)) & (workers.c.state != "stopped")
    return tx.execute(update(workers).where(asked).values(command=command)).rowcount


def take_turn(tx: Transaction, worker_id: str) -> bool:
    """Take the restart turn for a process; returns whether it may restart now.

    Only one process of the fleet restarts at a time, whether an operator or its memory use is the reason. The turn ends
    when the process has ended, or counts as dead.

    Call it in a separate short transaction, since other callers wait for it. They wait for a row of ``chores`` that
    nothing else locks, because heartbeats and commands lock the rows of ``workers`` in any order.
    """
    chores.note(tx, "restart turn")
    if any(worker.state == "restarting" and worker.id != worker_id for worker in living(tx)):
        return False
    tx.execute(update(workers).where(workers.c.id == worker_id).values(state="restarting"))
    return True


def in_hand(tx: Transaction, tokens: Sequence[str], *, limit: int) -> dict[str, Any]:
    """What these tokens hold: ``stages`` (stage -> number of units, sources as ``sync``), and the names of at most
    ``limit`` ``documents`` and ``sources``."""
    held = work.c.lease_token.in_(tokens)
    counts = tx.execute(select(work.c.stage, func.count()).where(held).group_by(work.c.stage)).all() if tokens else []
    names = select(documents.c.unique_id).join(work, work.c.document_id == documents.c.id).where(held).limit(limit)
    read = select(sources.c.name).where(sources.c.lease_token.in_(tokens)).order_by(sources.c.id)
    reading = list(tx.execute(read).scalars()) if tokens else []
    return {
        "stages": ({"sync": len(reading)} if reading else {}) | dict(map(tuple, counts)),
        "documents": list(tx.execute(names).scalars()) if counts else [],
        "sources": reading[:limit],
    }


#: Why nothing is claimed if there are no workers.
NOBODY = "no worker is running: `semantik worker` starts one"


def served(row: WorkerRow, stage: str, which: int) -> str | None:
    """Why a worker does not take a stage of a generation, or the sync of a source; None if it does.

    ``which``: the id of the generation or source.
    """
    if stage not in row.report.get("queues", ()):
        return f"no worker with a profile that serves {stage} is running"
    if row.state in ("starting", "draining", "restarting"):
        return f"{row.id} is {row.state}"
    return row.activity.get("refusals", {}).get(f"{which}:{stage}")


def refusal(workers: Sequence[WorkerRow], stage: str, which: int) -> str | None:
    """Why none of the workers takes a stage of a generation, or the sync of a source; None if one does.

    Workers whose profile does not serve the stage are mentioned only if no worker's profile does.
    """
    if not workers:
        return NOBODY
    reasons = [served(worker, stage, which) for worker in workers]
    if None in reasons:
        return None
    able = [reason for worker, reason in zip(workers, reasons, strict=True) if stage in worker.report.get("queues", ())]
    return "; ".join(sorted({reason for reason in able or reasons if reason}))
