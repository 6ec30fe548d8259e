"""Worker processes as they report themselves, and what operators ask of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, delete, func, select, update

from semantik_pipeline.ledger.database import chores
from semantik_pipeline.ledger.database.connection import Transaction, now
from semantik_pipeline.ledger.tables import documents, sources, work, workers

#: A worker that has missed so many heartbeats is taken to be gone.
MISSED = 4

#: The profile of a worker inside a process that does more (``semantik serve``, a command without a fleet).
EMBEDDED = "embedded"

#: Seconds that a program which runs anew may take until its next sign of life.
LOADING = 30.0


@dataclass(frozen=True, kw_only=True)
class WorkerRow:
    """A worker process: what it said at its start (``report``) and with its last heartbeat (``activity``).

    ``age`` is the seconds since that heartbeat, ``up`` those since its start, both on the database's clock.
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
        """Whether it lives as far as anyone can tell."""
        return self.state != "stopped" and self.age < MISSED * self.report.get("heartbeat", 5.0)

    def takes(self, stage: str) -> bool:
        """Whether it answers a stage: of a profile that does, and neither starting nor drained. One that restarts works
        on until another is ready, or is back in a moment."""
        return stage in self.report.get("queues", ()) and self.state not in ("starting", "draining")


def announce(tx: Transaction, worker_id: str, *, host: str, pid: int, profile: str, report: dict[str, Any]) -> None:
    """A process has loaded its plugins, and is ``starting``: it takes no work before it hears the broker."""
    row = {"id": worker_id, "host": host, "pid": pid, "profile": profile, "report": report, "state": "starting"}
    tx.execute(delete(workers).where(workers.c.id == worker_id))
    tx.execute(workers.insert().values(**row, started_at=now(), heartbeat=now()))


def ready(tx: Transaction, worker_id: str, *, host: str, pid: int) -> None:
    """A process that was announced takes work from now on. One that runs its program anew ends, by that, the turn at
    restarting of what it was before."""
    before = _restarting(host, pid) & (workers.c.id != worker_id)
    tx.execute(update(workers).where(before).values(state="stopped", activity=None, command=None))
    tx.execute(update(workers).where(workers.c.id == worker_id).values(state="ready", heartbeat=now()))


def _restarting(host: str, pid: int) -> ColumnElement[bool]:
    return (workers.c.host == host) & (workers.c.pid == pid) & (workers.c.state == "restarting")


def keep_turn(tx: Transaction, *, host: str, pid: int) -> None:
    """The process is running its program anew, and has its turn at restarting (:func:`take_turn`) until it registers.
    It can't speak before its program is loaded, so it counts as alive some time longer than others would."""
    later = now() + LOADING
    tx.execute(update(workers).where(_restarting(host, pid)).values(activity=None, command=None, heartbeat=later))


def beat(tx: Transaction, worker_id: str, *, state: str, activity: dict[str, Any]) -> str | None:
    """Note a heartbeat; returns what an operator asks of the process. A row that was swept is not made again."""
    mine = workers.c.id == worker_id
    tx.execute(update(workers).where(mine).values(state=state, activity=activity, heartbeat=now()))
    return tx.execute(select(workers.c.command).where(mine)).scalar_one_or_none()


def obeyed(tx: Transaction, worker_id: str, command: str) -> None:
    """The process did what it was asked, unless it has been asked something else meanwhile."""
    asked = (workers.c.id == worker_id) & (workers.c.command == command)
    tx.execute(update(workers).where(asked).values(command=None))


def end(tx: Transaction, worker_id: str) -> None:
    """The process ends in an orderly way."""
    tx.execute(
        update(workers)
        .where(workers.c.id == worker_id)
        .values(state="stopped", activity=None, command=None, heartbeat=now())
    )


def list_workers(tx: Transaction) -> list[WorkerRow]:
    """Every row that is not swept yet, in the order of their starts."""
    columns = [column for column in workers.c if column.name not in ("started_at", "heartbeat")]
    ages = ((now() - workers.c.heartbeat).label("age"), (now() - workers.c.started_at).label("up"))
    rows = tx.execute(select(*columns, *ages).order_by(workers.c.started_at, workers.c.id)).mappings()
    return [WorkerRow(**{**row, "activity": row["activity"] or {}}) for row in rows]


def living(tx: Transaction) -> list[WorkerRow]:
    """Workers that are alive as far as anyone can tell."""
    return [worker for worker in list_workers(tx) if worker.alive]


def ask(tx: Transaction, worker_ids: Iterable[str], command: str) -> int:
    """Ask processes to ``drain``, ``resume`` or ``restart``; they hear it with their next heartbeat."""
    asked = workers.c.id.in_(sorted(worker_ids)) & (workers.c.state != "stopped")
    return tx.execute(update(workers).where(asked).values(command=command)).rowcount


def take_turn(tx: Transaction, worker_id: str) -> bool:
    """Whether a process may restart now: one at a time in the whole fleet, whether an operator or its memory asks for
    it. The turn ends when the process has ended, or is found dead.

    Call it in a transaction of its own, and end that at once: whoever else asks for the turn waits for it. They wait at
    a row that nobody else locks, since all workers' rows are locked by heartbeats and commands, in any order.
    """
    chores.note(tx, "restart turn")
    if any(worker.state == "restarting" and worker.id != worker_id for worker in living(tx)):
        return False
    tx.execute(update(workers).where(workers.c.id == worker_id).values(state="restarting"))
    return True


def in_hand(tx: Transaction, tokens: Sequence[str], *, limit: int) -> dict[str, Any]:
    """What is held under these tokens: units by stage, sources that are read (stage ``sync``) among them, and the names of
    some of the documents and sources."""
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


def served(row: WorkerRow, stage: str, which: int) -> str | None:
    """Why a worker does not do a stage of a generation, or the sync of a source; None if it does."""
    if stage not in row.report.get("queues", ()):
        return f"no worker with a profile that serves {stage} is running"
    if row.state in ("starting", "draining", "restarting"):
        return f"{row.id} is {row.state}"
    return row.activity.get("refusals", {}).get(f"{which}:{stage}")


def refusal(workers: Sequence[WorkerRow], stage: str, which: int) -> str | None:
    """Why none of them does a stage of a generation, or the sync of a source; empty for no worker at all; None if one
    does. That others are of another profile counts only where all are."""
    reasons = [served(worker, stage, which) for worker in workers]
    if None in reasons:
        return None
    able = [reason for worker, reason in zip(workers, reasons, strict=True) if stage in worker.report.get("queues", ())]
    return "; ".join(sorted({reason for reason in able or reasons if reason}))
