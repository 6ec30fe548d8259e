"""Who holds what: questions to the ledger about the leases of worker processes."""

from __future__ import annotations

import time
from collections.abc import Iterable

from sqlalchemy import ColumnElement, Table, func, select

from semantik_pipeline.ledger import Ledger
from semantik_pipeline.ledger.tables import sources, work

#: What a process holds by a lease: ("document", document id), or ("source", source id) while it reads that source.
Held = tuple[str, int]


def held_by(ledger: Ledger, pid: int) -> list[Held]:
    """Return what a process holds. The ledger honors leases of dead processes, too, until they expire."""
    with ledger.read() as tx:
        documents = tx.execute(select(work.c.document_id).where(_of_process(work, pid))).scalars().all()
        reading = tx.execute(select(sources.c.id).where(_of_process(sources, pid))).scalars().all()
    return [
        *(("document", document_id) for document_id in documents),
        *(("source", source_id) for source_id in reading),
    ]


def chunks_at_embed(ledger: Ledger, pid: int) -> int:
    """Return the number of chunks of the documents that a process holds at the embed stage."""
    total = select(func.coalesce(func.sum(work.c.chunks), 0)).where(_of_process(work, pid), work.c.stage == "embed")
    with ledger.read() as tx:
        return int(tx.execute(total).scalar_one())


def pids_at(ledger: Ledger, stage: str) -> set[int]:
    """Return the ids of the processes that hold units of a stage; for ``sync``, of those that read a source."""
    table = sources if stage == "sync" else work
    names = select(table.c.worker).where(table.c.lease_token.is_not(None)).distinct()
    if stage != "sync":
        names = names.where(work.c.stage == stage)
    with ledger.read() as tx:
        return {pid_of(name) for name in tx.execute(names).scalars()}


def count_leases(ledger: Ledger) -> int:
    """Return the number of leases, of documents and of sources, that the ledger honors."""
    with ledger.read() as tx:
        counts = [select(func.count()).where(table.c.lease_token.is_not(None)) for table in (work, sources)]
        return sum(tx.execute(count).scalar_one() for count in counts)


def pid_of(worker: str) -> int:
    """Return the process id in a worker's name, which is ``host:pid:mark``."""
    return int(worker.split(":")[-2])


def wait_until_taken_up(ledger: Ledger, victim: int, *, first: float, last: float) -> list[float]:
    """Wait until everything that a dead process held has been claimed by another process or has progressed.

    Returns after how many seconds each unit was taken up. Fails if the first takes longer than ``first`` seconds or the
    last longer than ``last`` seconds. Units that were held together are suspects, and suspects run alone, one after
    another, so the last is taken up later than the first.
    """
    began = time.monotonic()
    before = _places(ledger, held_by(ledger, victim))
    waiting, taken = set(before), list[float]()
    while waiting:
        for one, (place, holder) in _places(ledger, waiting).items():
            if place != before[one][0] or (holder is not None and pid_of(holder) != victim):
                waiting.discard(one)
                taken.append(time.monotonic() - began)
        spent = time.monotonic() - began
        over = spent > (last if taken else first)
        assert not over, f"{len(waiting)} of {len(before)} units wait after {spent:.0f} s; taken up: {taken}"
        time.sleep(0.02)
    return taken


def _places(ledger: Ledger, held: Iterable[Held]) -> dict[Held, tuple[str, str | None]]:
    """Return how far each unit is, and the name of the worker that holds it now."""
    ids: dict[str, list[int]] = {"document": [], "source": []}
    for kind, its_id in held:
        ids[kind].append(its_id)
    units = select(work.c.document_id, work.c.stage, work.c.embedded, work.c.worker, work.c.lease_token)
    reading = select(sources.c.id, sources.c.operation_id, sources.c.cursor, sources.c.worker, sources.c.lease_token)
    found: dict[Held, tuple[str, str | None]] = {}
    with ledger.read() as tx:
        for row in tx.execute(units.where(work.c.document_id.in_(ids["document"]))):
            holder = row.worker if row.lease_token else None
            found["document", row.document_id] = (f"{row.stage} {row.embedded}", holder)
        for row in tx.execute(reading.where(sources.c.id.in_(ids["source"]))):
            holder = row.worker if row.lease_token else None
            found["source", row.id] = (f"{row.operation_id} {row.cursor}", holder)
    return found


def _of_process(table: Table, pid: int) -> ColumnElement[bool]:
    return table.c.worker.like(f"%:{pid}:%") & table.c.lease_token.is_not(None)
