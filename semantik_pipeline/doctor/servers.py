"""The ledger, its clock, the broker and the blobs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from semantik_pipeline.doctor.examination import Check, Patient
from semantik_pipeline.doctor.findings import Finding, broken, warn, well
from semantik_pipeline.errors import ServiceUnavailable
from semantik_pipeline.ledger import Ledger
from semantik_pipeline.ledger.catalog import collections
from semantik_pipeline.ledger.database import schema, server
from semantik_pipeline.ledger.ingestion import sources
from semantik_pipeline.ledger.queue import workers
from semantik_pipeline.queue import looking

#: Seconds by which this host's clock may differ from the database's.
CLOCK = 5.0

#: Connections that are left for people and backups.
SPARE = 10

#: Seconds that a bell may wait while nobody has its stage in hand.
UNHEARD = 2.0


def look_at_ledger(patient: Patient) -> Iterator[Finding]:
    """Reachable, of this program's schema, with connections enough, its clock and ours together."""
    settings = patient.runtime.settings
    path = Path(settings.database_url.removeprefix("sqlite:///"))
    if settings.database_url.startswith("sqlite") and not path.exists():
        yield well("ledger", f"there is none yet; the first `semantik index` makes {path}")
        return
    ledger = Ledger(settings.database_url, check=False)
    try:
        began, asked = time.monotonic(), time.time()
        with ledger.read() as tx:
            about = server.about(tx)
        took = time.monotonic() - began
        yield well("ledger", f"{about.name}, {ledger.engine.url.render_as_string(hide_password=True)}", seconds=took)
        found = schema.current(ledger.engine)
        if found != schema.HEAD:
            newer = found is not None and found > schema.HEAD
            told = f"it is {found or 'missing'}, this program's is {schema.HEAD}"
            yield broken("schema", told, "Install the newer release." if newer else "Run `semantik migrate`.")
            return
        yield well("schema", schema.HEAD)
        with ledger.read() as tx:
            patient.generations = collections.list_generations(tx)
            patient.connectors = {source["connector"] for source in sources.list_sources(tx)}
            living = workers.living(tx)
        patient.ledger = True
        if about.connections is not None:
            yield _connections(about, len(living))
            yield _clock(about.now - (asked + took / 2))
    finally:
        ledger.close()


def _connections(about: server.ServerFacts, living: int) -> Finding:
    needed = living * server.MOST_CONNECTIONS
    told = f"{about.connections} of {about.limit} are open; {living} workers may open {needed}"
    if (about.limit or 0) >= needed + SPARE and (about.connections or 0) + SPARE <= (about.limit or 0):
        return well("ledger connections", told)
    return warn("ledger connections", told, f"Raise PostgreSQL's max_connections above {needed + SPARE}.")


def _clock(ahead: float) -> Finding:
    told = f"the database's is {abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} this host's"
    if abs(ahead) <= CLOCK:
        return well("clock", told)
    return warn("clock", told, "Let NTP set both; leases are on the database's, logs and blobs on each host's.")


def look_at_broker(patient: Patient) -> Iterator[Finding]:
    """Reachable; how many bells wait in each queue."""
    settings = patient.runtime.settings
    if not settings.shared_broker:
        yield well("broker", "inside each process")
        return
    try:
        with looking(settings) as line:
            began = time.monotonic()
            name = line.server()
            took = time.monotonic() - began
            waiting = line.all_waiting()
    except Exception as error:  # each broker's client has exceptions of its own
        told = " ".join(str(error).split()) or type(error).__name__
        raise ServiceUnavailable(f"{_address(settings.broker.url)} does not answer: {told}") from None
    held = ", ".join(f"{count} {queue}" for queue, count in waiting.items() if count) or "no bell"
    yield well("broker", f"{name}; {held} waits", seconds=took)


def _address(url: str) -> str:
    """Without the password that it may hold."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def look_at_queues(patient: Patient) -> Iterator[Finding]:
    """A bell that waits where nobody has its stage in hand is heard by nobody. (Where somebody has, all are busy.)"""
    runtime = patient.runtime
    if not runtime.settings.fleet:  # over a broker alone each command rings and hears by itself
        return
    with looking(runtime.settings) as line:
        before = {queue for queue, count in line.all_waiting().items() if count}
        if not before:
            return
        time.sleep(UNHEARD)
        still = before & {queue for queue, count in line.all_waiting().items() if count}
    with runtime.ledger.read() as tx:
        living = workers.living(tx)
    busy = {stage for row in living for stage in row.activity.get("in_hand", {}).get("stages", {})}
    unheard = sorted(still - busy - ({"sync"} if busy else set()))
    if not unheard:
        yield well("queues", "workers take their messages")
        return
    yield _unheard(unheard, living)


def _unheard(queues: list[str], living: list[workers.WorkerRow]) -> Finding:
    """Why messages of these queues wait while nobody is busy."""
    answered = {queue for row in living for queue in row.report.get("queues", ())}
    if missing := sorted(set(queues) - answered):
        told = f"no worker serves {', '.join(missing)}: no live worker has such a profile"
        return warn("queues", told, "Start a worker: `semantik worker`.")
    if held := [queue for queue in queues if not any(row.takes(queue) for row in living)]:
        states = ", ".join(f"{row.id} is {row.state}" for row in living if set(held) & set(row.report["queues"]))
        told = f"messages for {', '.join(held)} wait: {states}"
        return warn("queues", told, "`semantik fleet resume` lets drained workers go on.")
    told = f"messages for {', '.join(queues)} are not taken, although workers are idle"
    return warn(
        "queues", told, "See that workers have this broker.url and broker.prefix, then `semantik fleet restart`."
    )


def look_at_blobs(patient: Patient) -> Iterator[Finding]:
    """A body can be written, read and removed."""
    blobs = patient.runtime.blobs
    began = time.monotonic()
    blobs.probe()
    yield well("blobs", f"{blobs.url} can be written and read", seconds=time.monotonic() - began)


CHECKS = (
    Check(name="ledger", look=look_at_ledger, remedy="See that database.url names a PostgreSQL server that runs."),
    Check(name="broker", look=look_at_broker, remedy="See that broker.url names a Redis or RabbitMQ that runs."),
    Check(name="blobs", look=look_at_blobs, remedy="See that blob.url can be written by this user."),
)
