"""Checks of the ledger, its clock, the broker and the blobs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from semantik_pipeline.doctor.examination import Check, Patient
from semantik_pipeline.doctor.findings import Finding, broken, warn, well
from semantik_pipeline.errors import ServiceUnavailable, SettingsError
from semantik_pipeline.ledger import Ledger
from semantik_pipeline.ledger.catalog import collections
from semantik_pipeline.ledger.database import schema, server
from semantik_pipeline.ledger.ingestion import sources
from semantik_pipeline.ledger.queue import workers
from semantik_pipeline.queue import looking

#: Maximum seconds by which this host's clock may differ from the database's.
CLOCK = 5.0

#: Connections that should be left for other users, such as backups.
SPARE = 10

#: Seconds that a message may wait while no worker is busy with its stage.
UNHEARD = 2.0


def look_at_ledger(patient: Patient) -> Iterator[Finding]:
    """Check that the ledger is reachable and has the right schema, enough connections and a clock like this host's."""
    settings = patient.runtime.settings
    path = Path(settings.database_url.removeprefix("sqlite:///"))
    if settings.database_url.startswith("sqlite") and not path.exists():
        yield well("ledger", f"none yet; the first `semantik index` creates {path}")
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
            told = f"{found or 'missing'}; this program needs {schema.HEAD}"
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
    told = f"{about.connections} of {about.limit} are open; {living} workers can open up to {needed}"
    if (about.limit or 0) >= needed + SPARE and (about.connections or 0) + SPARE <= (about.limit or 0):
        return well("ledger connections", told)
    return warn("ledger connections", told, f"Raise PostgreSQL's max_connections above {needed + SPARE}.")


def _clock(ahead: float) -> Finding:
    told = f"the database's is {abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} this host's"
    if abs(ahead) <= CLOCK:
        return well("clock", told)
    return warn("clock", told, "Synchronise both with NTP: leases use the database's clock, logs use the host's.")


def look_at_broker(patient: Patient) -> Iterator[Finding]:
    """Check that the broker is reachable; report how many messages wait in each queue."""
    settings = patient.runtime.settings
    if not settings.shared_broker:
        yield well("broker", "memory, inside each process")
        return
    try:
        with looking(settings) as line:
            began = time.monotonic()
            name = line.server()
            took = time.monotonic() - began
            waiting = line.all_waiting()
    except SettingsError:  # the URL is not that of a broker
        raise
    except Exception as error:  # each broker's client has its own exception types
        told = " ".join(str(error).split()) or type(error).__name__
        raise ServiceUnavailable(f"{_address(settings.broker.url)} does not answer: {told}") from None
    held = ", ".join(f"{count} for {queue}" for queue, count in waiting.items() if count) or "none"
    yield well("broker", f"{name}; messages waiting: {held}", seconds=took)


def _address(url: str) -> str:
    """Return the URL without the password it may contain."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def look_at_queues(patient: Patient) -> Iterator[Finding]:
    """Check that no message waits while no worker is busy with its stage: workers do not take such a message."""
    runtime = patient.runtime
    if not runtime.settings.fleet:  # without a fleet, each command rings and receives its bells itself
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
    """Return why messages of these queues wait although no worker is busy."""
    answered = {queue for row in living for queue in row.report.get("queues", ())}
    if missing := sorted(set(queues) - answered):
        told = f"no live worker serves {', '.join(missing)}: none has a profile for it"
        return warn("queues", told, "Start a worker: `semantik worker`.")
    if held := [queue for queue in queues if not any(row.takes(queue) for row in living)]:
        states = ", ".join(f"{row.id} is {row.state}" for row in living if set(held) & set(row.report["queues"]))
        told = f"messages for {', '.join(held)} are waiting: {states}"
        return warn("queues", told, "Run `semantik fleet resume` to resume drained workers.")
    told = f"messages for {', '.join(queues)} are not taken, although workers are idle"
    return warn(
        "queues", told, "Check that workers have this broker.url and broker.prefix, then run `semantik fleet restart`."
    )


def look_at_blobs(patient: Patient) -> Iterator[Finding]:
    """Check that a body can be written, read and removed."""
    blobs = patient.runtime.blobs
    began = time.monotonic()
    blobs.probe()
    yield well("blobs", f"{blobs.url}, readable and writable", seconds=time.monotonic() - began)


CHECKS = (
    Check(name="ledger", look=look_at_ledger, remedy="Check that database.url names a running PostgreSQL server."),
    Check(name="broker", look=look_at_broker, remedy="Check that broker.url names a running Redis or RabbitMQ server."),
    Check(name="blobs", look=look_at_blobs, remedy="Check that this user can write to blob.url."),
)
